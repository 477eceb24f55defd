"""The cut is exact to the frame: every picture carries its number, and the clip must hold those of its span, at their times."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from curate_films import FRAMES, HEIGHT, WIDTH, clips_of, exact, film, number, read, seen

from armillary.curate.cut import Cut, CutConfig, avc, track
from armillary.curate.cut import source as sourcing
from armillary.curate.cut.decoder import Decoder
from armillary.curate.cut.edge import Encoder
from armillary.curate.cut.source import Source
from armillary.curate.cut.track import Unfit, check, decode_times
from armillary.curate.stage import Context
from armillary.media import Reader
from armillary.types import Clip, Rejection

SPANS = [(0, FRAMES), (1, 60), (24, 48), (47, 101), (48, 75), (49, 52), (95, 97), (53, 54), (96, 97), (70, FRAMES)]
KINDS = {
    "closed.mp4": "g=24,bf=3,keyint_min=24,preset=veryfast",
    "pyramid.mkv": "g=48,bf=7,preset=veryfast,x264-params=b-pyramid=normal:b-adapt=0:scenecut=0",
    "stream.ts": "g=24,bf=2",
    "apple.mov": "g=12,bf=0,profile=baseline",
    "main.mp4": "g=30,bf=3,profile=main,x264-params=slices=3:b-adapt=0:sps-id=1:aud=1",
    "full.mp4": "g=24,bf=2",
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {
        name: film(folder / name, options, pix_fmt="yuvj420p" if name == "full.mp4" else "yuv420p")
        for name, options in KINDS.items()
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_and_time(films: dict[str, Path], tmp_path: Path, name: str) -> None:
    done = clips_of(films[name], SPANS, tmp_path)
    keys = set(np.flatnonzero(seen(films[name]).keys))
    for (a, b), clip in zip(SPANS, done):
        assert (clip.tags["cut"] != "encode") == bool(keys & set(range(a, b)))  # copied wherever a decoder can begin
    assert {"smart", "encode"} <= {c.tags["cut"] for c in done}
    assert done[0].tags["cut"] == "copy"
    exact(films[name], SPANS, done, ticks=False)


def test_copied_frames_are_the_source_s_own(films: dict[str, Path], tmp_path: Path) -> None:
    """Between head and tail nothing is encoded: pixels are equal, and head and tail are near."""
    span = (13, 135)
    (clip,) = clips_of(films["closed.mp4"], [span], tmp_path)
    with av.open(str(films["closed.mp4"])) as a, av.open(clip.path) as b:
        source = [f.to_ndarray() for f in itertools.islice(a.decode(video=0), *span)]
        same = [np.array_equal(x, f.to_ndarray()) for x, f in zip(source, b.decode(video=0), strict=True)]
    first = same.index(True)
    assert span[0] + first == 24 and all(same[first:-4])
    with av.open(clip.path) as container:
        stream: Any = container.streams.video[0]
        assert stream.codec_context.codec_tag == "avc1"
        sets, length = avc.read_sets(stream.codec_context.extradata)
        assert length == 4 and len({i for _, i in sets}) == 2 and len(sets) == 4
        for packet in container.demux(stream):  # nothing in the band, no start codes
            assert all(u[0] & 31 not in (avc.SPS, avc.PPS) for u in avc.units(memoryview(packet), 4))


def test_colours_stay_as_tagged(tmp_path: Path) -> None:
    """Copied and encoded frames say the same of their colours, and so does the file."""
    names = ("color_primaries", "color_trc", "colorspace", "color_range")
    path = film(tmp_path / "a.mp4", "g=24,bf=2", color_primaries=9, color_trc=14, colorspace=9, color_range=1)
    done = clips_of(path, [(13, 60), (25, 40)], tmp_path / "o")
    assert [c.tags["cut"] for c in done] == ["smart", "encode"]
    for clip in done:
        with av.open(clip.path) as container:
            stream: Any = container.streams.video[0]
            assert tuple(int(getattr(stream.codec_context, name)) for name in names) == (9, 14, 9, 1)
            for frame in container.decode(stream):
                assert tuple(int(getattr(frame, name)) for name in names) == (9, 14, 9, 1)


def test_idr_pictures_side_by_side_have_other_numbers(films: dict[str, Path], tmp_path: Path) -> None:
    """As ISO 14496-10, 7.4.3 wants: whatever number the source's has, with a head or a tail of one frame."""
    spans = [(11, 36), (23, 48), (35, 60), (47, 72), (24, 26), (36, 38), (0, 2)]
    pairs = 0
    for name in ("closed.mp4", "apple.mov"):
        for clip in clips_of(films[name], spans, tmp_path / name):
            if clip.tags["cut"] == "encode":
                continue
            with av.open(clip.path) as container:
                stream: Any = container.streams.video[0]
                sets, _ = avc.read_sets(stream.codec_context.extradata)
                told = {i: avc.parse(unit) for (kind, i), unit in sets.items() if kind == avc.SPS}
                slices = [
                    next(u for u in avc.units(memoryview(p), 4) if u[0] & 31 in (avc.SLICE, avc.IDR))
                    for p in container.demux(stream)
                    if p.size
                ]
            for a, b in itertools.pairwise(slices):
                if a[0] & 31 == b[0] & 31 == avc.IDR:
                    pairs += 1
                    assert len({avc.picture_id(unit, next(iter(told.values()))) for unit in (a, b)}) == 2
    assert pairs >= 3


def test_times_are_kept_to_the_tick(tmp_path: Path) -> None:
    """Variable frame rate, and time bases of which mp4 knows only multiples."""
    rng = np.random.default_rng(3)
    spans = [(0, 40), (7, 77), (30, 149)]
    uneven = np.cumsum(rng.integers(900, 7000, FRAMES)).tolist()
    a = film(tmp_path / "a.mp4", "g=24,bf=3,preset=veryfast", stamps=uneven, base=Fraction(1, 90_000))
    b = film(tmp_path / "b.mkv", "g=24,bf=3,preset=veryfast", stamps=[int(u // 90) for u in uneven], base=Fraction(1, 1000))
    c = film(tmp_path / "c.mp4", "g=24,bf=3", stamps=[k * 1001 for k in range(FRAMES)], base=Fraction(1, 30_000))
    for path in (a, b, c):
        done = clips_of(path, spans, tmp_path / path.stem)
        assert all(k.tags["cut"] in ("copy", "smart") for k in done)
        exact(path, spans, done)


def test_open_groups_are_entered_only_at_an_idr_picture(tmp_path: Path) -> None:
    """libx264 writes one IDR picture and then recovery points: only a clip that holds the first can be copied."""
    path = film(tmp_path / "open.mp4", "g=24,bf=3,preset=veryfast,x264-params=open-gop=1:scenecut=0:b-adapt=0")
    whole = seen(path)
    assert whole.keys.sum() > 3
    spans = [(0, 60), (20, 80), (48, 140)]
    done = clips_of(path, spans, tmp_path / "o")
    assert done[0].tags["cut"] in ("copy", "smart") and [c.tags["cut"] for c in done[1:]] == ["encode", "encode"]
    exact(path, spans, done, ticks=False)


def test_a_refresh_in_columns_is_no_place_to_begin(tmp_path: Path) -> None:
    """Recovery points without an intra picture: clips begin and can be sought only where a picture is whole."""
    path = film(tmp_path / "refresh.mp4", "g=24,preset=veryfast,x264-params=intra-refresh=1")
    with av.open(str(path)) as container:
        assert sum(p.is_keyframe for p in container.demux(video=0)) > 3
    spans = [(0, 60), (70, 120)]
    done = clips_of(path, spans, tmp_path / "o")
    assert [c.tags["cut"] for c in done] == ["copy", "encode"]
    exact(path, spans, done, ticks=False)


@pytest.mark.parametrize(
    ("name", "options", "more"),
    [
        ("hevc.mp4", "g=24,x265-params=log-level=none:pools=1:frame-threads=1", {"codec": "libx265"}),
        ("deep.mp4", "g=24", {"pix_fmt": "yuv420p10le"}),
        ("turned.mp4", "g=24,bf=2", {"rotation": 180}),
        ("fields.mp4", "g=24,flags=+ildct+ilme,x264-params=tff=1", {}),
        ("wide.mp4", "g=24,bf=2", {"sample_aspect_ratio": Fraction(2, 1)}),
    ],
)
def test_other_sources_are_encoded_whole(tmp_path: Path, name: str, options: str, more: dict[str, Any]) -> None:
    path = film(tmp_path / name, options, **more)
    (clip,) = clips_of(path, [(10, 40)], tmp_path / "o")
    assert clip.tags["cut"] == "encode"
    with av.open(clip.path) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    if not more.get("rotation") and name != "wide.mp4":
        exact(path, [(10, 40)], [clip], ticks=False)


def test_same_bytes_again(films: dict[str, Path], tmp_path: Path) -> None:
    spans = [(1, 60), (49, 101)]
    one, two = (clips_of(films["closed.mp4"], spans, tmp_path / n) for n in "ab")
    (alone,) = clips_of(films["closed.mp4"], spans[1:], tmp_path / "c")
    assert [Path(c.path).read_bytes() for c in one] == [Path(c.path).read_bytes() for c in two]
    assert Path(alone.path).read_bytes() == Path(one[1].path).read_bytes()


def test_a_damaged_middle_is_not_copied(films: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(films["closed.mp4"].read_bytes())
    with av.open(str(films["closed.mp4"])) as container:
        keys: Any = (p for p in container.demux(video=0) if p.is_keyframe)
        for packet in itertools.islice(keys, 2, 3):
            data[packet.pos + 4 : packet.pos + packet.size] = bytes(packet.size - 4)
    path = tmp_path / "worn.mp4"
    path.write_bytes(bytes(data))
    whole: Any = seen(path)
    assert whole.lost > 0
    start, end = float(whole.times[13]), float(whole.times[-10])
    n = whole.within(start, end)
    clip = Clip(id="clip", source="s", start=start, end=end, width=WIDTH, height=HEIGHT, fps=25, num_frames=n.stop - n.start)
    (done,) = Cut().process([clip], Context(whole, path, "worn", "c", tmp_path))
    assert done.tags["cut"] == "encode"
    assert read(done.path)[0] == read_kept(path, start, end)
    whole.lost = 0  # and where nobody noticed, the packets do not read or the cut's own check does not pass
    (done,) = Cut().process([clip], Context(whole, path, "worn", "c", tmp_path))
    assert done.tags["cut"] == "encode"


def read_kept(path: Path, start: float, end: float) -> list[int]:
    with Reader(path) as reader:
        return [number(frame) for _, frame in reader.frames(start, end)]


def test_the_check_sees_what_is_wrong(films: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame too few, a time off by a tick, another first picture, missing parameter sets: none passes, nothing is left behind."""
    source, times = films["closed.mp4"], seen(films["closed.mp4"]).times[13:60]
    target, encoder, asked = tmp_path / "x.mp4", Encoder(18, "veryfast", Fraction(25)), []

    def spy(*given: Any) -> None:
        asked.append(given[1:])
        check(*given)

    def halved(path: Path, template: Any, parts: Any, last: int, sets: avc.Sets) -> None:
        track.write(path, template, parts, last, {name: unit for name, unit in sets.items() if name[1] != 1})

    monkeypatch.setattr(sourcing, "check", spy)
    with Source(source) as opened:
        assert opened.cut(target, times, float(times[-1]) + 0.04, encoder) == "smart"
        base, stamps, parts = asked[0]
        check(target, base, stamps, parts)
        late = stamps.copy()
        late[5] += 1
        for wrong in (stamps[:-1], late):
            with pytest.raises(Unfit, match="span's"):
                check(target, base, wrong, parts)
        for k, part in enumerate(parts):
            wrong = dataclasses.replace(part, picture=[255 - plane for plane in part.picture])
            with pytest.raises(Unfit, match="picture"):
                check(target, base, stamps, [*parts[:k], wrong, *parts[k + 1 :]])
        monkeypatch.setattr(sourcing, "write", halved)
        with pytest.raises(Unfit):
            opened.cut(target, times, float(times[-1]) + 0.04, encoder)
    (clip,) = clips_of(source, [(13, 60)], tmp_path / "o")
    assert clip.tags["cut"] == "encode" and read(clip.path)[0] == list(range(13, 60))
    assert [p.name for p in (tmp_path / "o").iterdir()] == [f"{clip.id}.mp4"]


def test_settings(films: dict[str, Path], tmp_path: Path) -> None:
    spans = [(13, 60)]
    (small,) = clips_of(films["closed.mp4"], spans, tmp_path / "a", CutConfig(short_side=48))
    assert (small.tags["cut"], small.width, small.height) == ("encode", 80, 48)
    (whole,) = clips_of(films["closed.mp4"], spans, tmp_path / "b", CutConfig(copy=False))
    assert whole.tags["cut"] == "encode" and read(whole.path)[0] == list(range(13, 60))
    coarse, fine = (clips_of(films["closed.mp4"], spans, tmp_path / f"{q}", CutConfig(edge_crf=q))[0] for q in (24, 8))
    assert coarse.tags["cut"] == fine.tags["cut"] == "smart"
    assert Path(coarse.path).stat().st_size < Path(fine.path).stat().st_size
    most = [clips_of(films["closed.mp4"], [(25, 54)], tmp_path / f"most{q}", CutConfig(edge_crf=q))[0] for q in (24, 8)]
    assert [c.tags["cut"] for c in most] == ["smart", "smart"]  # 23 of 29 frames are encoded: as whole clips are
    assert Path(most[0].path).read_bytes() == Path(most[1].path).read_bytes()
    rejected = Clip(id="r", source="s", start=0, end=1, rejected=(Rejection("length", "short", 0, 1),))
    context = Context(Any, films["closed.mp4"], "s", "c", tmp_path)  # type: ignore[arg-type]
    assert Cut(CutConfig(copy=False)).process([rejected], context) == [rejected]


def test_decode_times() -> None:
    """Rising, never after the frame is shown, with no more delay than the order needs."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        shown = np.cumsum(rng.integers(1, 9, 30)).tolist()
        order = sorted(range(30), key=lambda k: k // 4 * 4 + rng.integers(0, 4))
        pts = [shown[k] for k in order]
        dts = decode_times(pts, 5)
        assert all(b > a for a, b in itertools.pairwise(dts)) and all(d <= p for d, p in zip(dts, pts))
        assert any(d == p for d, p in zip(dts, pts))
    assert decode_times([0, 3, 6], 3) == [0, 3, 6]


def test_parameter_sets_read_as_written(tmp_path: Path) -> None:
    """Against what the decoder says of the same stream, and both forms of extra data against each other."""
    for name, options, progressive in (
        ("a.mp4", "", True),
        ("b.ts", "profile=high", True),
        ("c.mkv", "flags=+ildct+ilme", False),
    ):
        path = film(tmp_path / name, options, stamps=[512 * k for k in range(3)])
        with av.open(str(path)) as container:
            extradata = container.streams.video[0].codec_context.extradata
        sets, length = avc.read_sets(extradata or b"")
        (unit,) = [u for (kind, _), u in sets.items() if kind == avc.SPS]
        told = avc.parse(unit)
        assert length == (0 if name.endswith("ts") else 4)
        assert told.size[0] * 16 - 2 * (told.crop[0] + told.crop[1]) == WIDTH and told.progressive is progressive
        rows = told.size[1] * 16 * (1 if progressive else 2)
        assert rows - 2 * (1 if progressive else 2) * (told.crop[2] + told.crop[3]) == HEIGHT
        assert avc.read_sets(avc.record(sets)) == (sets, 4)
    for broken in (b"\x01d", b"\x01d\0\x1f\xff\xe1\0\x30abc", b"junk"):
        with pytest.raises((ValueError, IndexError)):
            avc.record(avc.read_sets(broken)[0])


def test_one_group_of_pictures_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans within one group, one after the other: the same files as from a decoder of their own, from half the pictures."""
    path = film(tmp_path / "long.mp4", f"g={FRAMES},bf=3,preset=veryfast,x264-params=scenecut=0:b-pyramid=normal")
    times = seen(path).times
    fed: list[int] = []
    feed = Decoder._feed
    monkeypatch.setattr(Decoder, "_feed", lambda self, packet: fed.append(len(out := feed(self, packet))) or out)
    spans = [(10, 30), (30, 55), (60, 90), (93, 120)]
    encoder = Encoder(18, "ultrafast", Fraction(24))

    def written(source: Source, k: int, name: str) -> bytes:
        a, b = spans[k]
        assert source.cut(tmp_path / name, times[a:b], float(times[b]), encoder, encoder) == "encode"
        return (tmp_path / name).read_bytes()

    with Source(path) as source:
        together = [written(source, k, f"t{k}.mp4") for k in range(len(spans))]
    once = sum(fed)
    fed.clear()
    for k, expected in enumerate(together):
        with Source(path) as source:
            assert written(source, k, f"a{k}.mp4") == expected
    assert once <= spans[-1][1] < sum(fed) * 0.7
