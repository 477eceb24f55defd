"""Exports: the layouts of others, to the byte, and never half of one."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.media import read_video, write_video
from armillary.shards import export
from armillary.shards.export import EXPORTS, bin_of, captions_of, export_cosmos, export_cosmos_curate
from armillary.types import Clip, Rejection


@pytest.fixture
def clips(tmp_path):
    out = []
    for i, name in enumerate("cab"):
        frames = np.full((12, 32, 48, 3), 40 * i, np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None, None] * 10
        path = write_video(tmp_path / "clips" / f"{name}.mp4", frames, 6.0)
        size = (48, 32) if name != "b" else (1280, 720)
        out.append(
            Clip(name, f"/secret/{name}.mp4", 0.0, 2.0, str(path), *size, 6.0, num_frames=12, caption=f"a caption of {name}")
        )
    return [*out, Clip("r", "r", 0, 2, rejected=(Rejection("motion", "static"),))]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def test_the_cosmos_folder(clips, tmp_path):
    made = export_cosmos(clips, tmp_path / "out")
    assert (made.num_clips, made.num_samples, made.left_out) == (3, 3, ())
    found = contents(tmp_path / "out")
    assert set(found) == {"export.json"} | {
        f"{d}/{x}_0_11.{s}" for x in "abc" for d, s in (("videos", "mp4"), ("metas", "txt"))
    }
    for clip in clips[:3]:
        assert found[f"videos/{clip.id}_0_11.mp4"] == Path(clip.path).read_bytes()
        assert found[f"metas/{clip.id}_0_11.txt"].decode() == clip.caption


def test_a_window_has_its_own_frames(clips, tmp_path):
    rows = [{"start_frame": 0, "end_frame": 5, "caption": "dark"}, {"start_frame": 5, "end_frame": 12, "caption": "light"}]
    clip = clips[0].replace(tags={"captions": json.dumps(rows)}, caption="dark")
    made = export_cosmos([clip], tmp_path / "out")
    assert (made.num_clips, made.num_samples) == (1, 2)
    whole = read_video(clip.path).frames
    for first, last, text in captions_of(clip):
        part = read_video(tmp_path / "out" / "videos" / f"c_{first}_{last}.mp4")
        assert part.frames.shape == whole[first : last + 1].shape
        assert np.abs(part.frames.astype(int) - whole[first : last + 1]).mean() < 3
        assert np.allclose(part.times, np.arange(last - first + 1) / 6, atol=1e-3)
        assert (tmp_path / "out" / "metas" / f"c_{first}_{last}.txt").read_text() == text


def test_the_cosmos_curate_tars(clips, tmp_path):
    made = export_cosmos_curate(clips, tmp_path / "out")
    names = set(contents(tmp_path / "out"))
    small = "v0/resolution_lt_720/aspect_ratio_4_3/duration_0_5"
    large = "v0/resolution_720/aspect_ratio_16_9/duration_0_5"
    assert names == {"export.json"} | {f"{b}/{d}/part_000000/000000.tar" for b in (small, large) for d in ("video", "metas")}
    video, metas = (members(tmp_path / "out" / small / d / "part_000000/000000.tar") for d in ("video", "metas"))
    assert list(video) == ["a.mp4", "c.mp4"] and list(metas) == ["a.json", "c.json"]
    assert video["c.mp4"] == Path(clips[0].path).read_bytes()
    record = json.loads(metas["c.json"])
    assert record["windows"] == [{"start_frame": 0, "end_frame": 12, "caption": "a caption of c"}]
    assert record["source_video"] == "c.mp4" and b"secret" not in metas["c.json"]
    assert made.num_bytes == sum(len(v) for k, v in contents(tmp_path / "out").items() if k != "export.json")


def test_tars_are_cut_at_their_size_and_parts_at_their_number(clips, tmp_path):
    same = [c.replace(width=48, height=32) for c in clips]
    export_cosmos_curate(same, tmp_path / "out", max_bytes=1, max_tars=2)
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("video/*/*.tar"))
    assert [f[-22:] for f in found] == ["part_000000/000000.tar", "part_000000/000001.tar", "part_000001/000000.tar"]


@pytest.mark.parametrize(
    ("width", "height", "seconds", "expected"),
    [
        (1920, 1080, 5.0, "resolution_1080/aspect_ratio_16_9/duration_5_10"),
        (720, 1280, 10.0, "resolution_720/aspect_ratio_9_16/duration_5_10"),
        (1919, 1079, 10.1, "resolution_720/aspect_ratio_16_9/duration_10_30"),
        (640, 480, 31.0, "resolution_lt_720/aspect_ratio_4_3/duration_30_inf"),
        (500, 500, 2.0, "resolution_lt_720/aspect_ratio_1_1/duration_0_5"),
    ],
)
def test_bins(width, height, seconds, expected):
    assert bin_of(Clip("x", "s", 1.0, 1.0 + seconds, width=width, height=height)) == expected


@pytest.mark.parametrize("layout", sorted(EXPORTS))
def test_the_same_clips_give_the_same_bytes(clips, tmp_path, layout):
    EXPORTS[layout](clips, tmp_path / "one")
    os.utime(clips[0].path, (1, 1))
    EXPORTS[layout](clips[::-1], tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("layout", sorted(EXPORTS))
def test_text_embeddings_go_along(clips, tmp_path, layout):
    folder = tmp_path / "t5"
    folder.mkdir()
    for x in "ab":
        (folder / f"{x}.pickle").write_bytes(b"\x80" + x.encode())
    with pytest.raises(BadInput, match="no text embedding c"):
        EXPORTS[layout](clips, tmp_path / "out", t5=folder)
    assert not (tmp_path / "out").exists()
    (folder / "c.pickle").write_bytes(b"\x80c")
    EXPORTS[layout](clips, tmp_path / "out", t5=folder)
    found = {k: v for k, v in contents(tmp_path / "out").items() if "t5_xxl" in k}
    if layout == "cosmos":
        assert found == {f"t5_xxl/{x}_0_11.pickle": b"\x80" + x.encode() for x in "abc"}
    else:
        paths = sorted((tmp_path / "out").rglob("t5_xxl/*/*.tar"))
        assert {k for p in paths for k in members(p)} == {"a.pickle", "b.pickle", "c.pickle"} and len(paths) == len(found)


@pytest.mark.parametrize("layout", sorted(EXPORTS))
def test_never_half_an_export(clips, tmp_path, layout, monkeypatch):
    out = tmp_path / "out"
    EXPORTS[layout](clips, out)
    before = contents(out)

    def full(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "sha256_file", full)  # the last thing an export does
    with pytest.raises(BadInput, match="full"):
        EXPORTS[layout](clips[:1], out)
    assert contents(out) == before
    monkeypatch.undo()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".out")]
    EXPORTS[layout](clips[:1], out)  # an export is replaced whole
    assert not any("/a" in n or "/b" in n for n in contents(out) if n.endswith(("mp4", "txt")))


@pytest.mark.parametrize("layout", sorted(EXPORTS))
def test_what_cannot_be_exported(clips, tmp_path, layout):
    write = EXPORTS[layout]
    with pytest.raises(BadInput, match="no clips"):
        write(clips[3:], tmp_path / "out")
    with pytest.raises(BadInput, match="id c"):
        write([clips[0], clips[0]], tmp_path / "out")
    with pytest.raises(BadInput, match="file name"):
        write([clips[0].replace(id="../x")], tmp_path / "out")
    with pytest.raises(BadInput, match="cut it first"):
        write([clips[0].replace(path="gone.mp4")], tmp_path / "out")
    with pytest.raises(BadInput, match="caption"):
        write([clips[0].replace(caption="", tags={"caption_error": "HTTP 500"})], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="other things"):
        write(clips, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_clip_without_a_caption_is_named(clips, tmp_path):
    made = export_cosmos([clips[0], clips[1].replace(caption="")], tmp_path / "out")
    assert (made.num_clips, made.left_out) == (1, ("a",))
    assert json.loads((tmp_path / "out" / "export.json").read_text())["without_caption"] == ["a"]
