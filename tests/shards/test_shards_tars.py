"""Shards: the same bytes for the same clips, every clip once for some rank, and going on where one stopped."""

from __future__ import annotations

import itertools
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armillary.errors import BadInput, Failed
from armillary.shards import ShardReader, read_manifest, read_shards, write_shards
from armillary.store import sha256_file
from armillary.types import Clip, Rejection

SIZES = [(1280, 720, 7.0), (640, 480, 3.0), (720, 1280, 40.0)]


@pytest.fixture
def clips(tmp_path):
    """Eleven clips of three buckets, and one that was rejected."""
    out = []
    for i in range(12):
        w, h, seconds = SIZES[i % 3]
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(bytes([i]) * (1000 + 100 * i))
        out.append(
            Clip(
                f"id{i:02d}",
                "src.mp4",
                1.0,
                1.0 + seconds,
                str(path),
                w,
                h,
                24.0,
                10,
                {"motion": i / 7},
                {"camera": "static"},
                f"clip é {i}",
            )
        )
    out[11] = out[11].replace(rejected=(Rejection("motion", "static"),))
    return out


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def test_bytes_do_not_depend_on_order_place_or_time(clips, tmp_path):
    a = write_shards(clips, tmp_path / "a", 9000)
    write_shards(clips[::-1], tmp_path / "elsewhere" / "b", 9000)
    assert files(tmp_path / "a") == files(tmp_path / "elsewhere" / "b")
    write_shards(clips, tmp_path / "a", 9000)
    assert files(tmp_path / "a") == files(tmp_path / "elsewhere" / "b")
    assert [s.sha256 for s in a] == [sha256_file(s.path) for s in a]


def test_buckets_sizes_and_members(clips, tmp_path):
    shards = write_shards(clips, tmp_path / "s", 12_000)
    assert {s.bucket for s in shards} == {"720p_16x9_5-10s", "480p_4x3_2-5s", "720p_9x16_30s-"}
    assert sum(s.num_clips for s in shards) == 11
    assert len(shards) > 3
    for s in shards:
        with tarfile.open(s.path) as tar:
            members = tar.getmembers()
            assert sum(m.size for m in members) <= 12_000
            assert [m.name for m in members] == [f"{k}.{x}" for k in s.keys for x in ("json", "mp4", "txt")]
            assert {(m.mtime, m.uid, m.uname, m.mode) for m in members} == {(0, 0, "", 0o644)}
    assert all(s.num_clips == 1 for s in write_shards(clips, tmp_path / "t", 1))
    assert read_manifest(tmp_path / "s", verify=True) == shards


def test_samples_come_back_whole(clips, tmp_path):
    write_shards(clips, tmp_path / "s")
    got = dict(read_shards(tmp_path / "s"))
    assert sorted(got) == [c.id for c in clips[:11]]
    for c in clips[:11]:
        sample = got[c.id]
        assert sample["mp4"] == Path(c.path).read_bytes()
        assert sample["txt"] == c.caption
        assert sample["json"]["scores"] == dict(c.scores) and sample["json"]["source"] == "src.mp4"
        assert "path" not in sample["json"] and "embedding" not in sample["json"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=st.integers(1, 5), seed=st.integers(0, 99), stop=st.integers(0, 14))
def test_ranks_share_nothing_and_resuming_is_going_on(clips, tmp_path, world, seed, stop):
    folder = tmp_path / "s"
    if not folder.exists():
        write_shards(clips, folder, 9000)
    runs = [[k for k, _ in ShardReader(folder, r, world, seed, epochs=2)] for r in range(world)]
    for epoch in range(2):
        halves = [run[len(run) // 2 * epoch : len(run) // 2 * (epoch + 1)] for run in runs]
        assert sorted(itertools.chain(*halves)) == [c.id for c in clips[:11]]
    for rank, run in enumerate(runs):
        reader = ShardReader(folder, rank, world, seed, epochs=2)
        head = [k for k, _ in itertools.islice(reader, stop)]
        state = json.loads(json.dumps(reader.state()))
        tail = [k for k, _ in ShardReader(folder, rank, world, state["seed"], epochs=2, position=state["position"])]
        assert head + tail == run


def test_epochs_and_seeds_differ(clips, tmp_path):
    write_shards(clips, tmp_path / "s")
    reader = ShardReader(tmp_path / "s", seed=1)
    assert reader.order(0) != reader.order(1) != ShardReader(tmp_path / "s", seed=2).order(1)
    endless = ShardReader(tmp_path / "s", epochs=0, bucket="480p_4x3_2-5s")
    assert len(list(itertools.islice(endless, 23))) == 23
    with pytest.raises(BadInput, match="480p"):
        ShardReader(tmp_path / "s", bucket="nothing")
    with pytest.raises(BadInput):
        ShardReader(tmp_path / "s", rank=2, world=2)


def test_what_cannot_be_packed_is_said_and_leaves_nothing(clips, tmp_path):
    bad = [
        [],
        [clips[11]],
        [clips[0], clips[0]],
        [clips[0].replace(path="")],
        [clips[0].replace(id="../up")],
    ]
    for given_clips in bad:
        with pytest.raises(BadInput):
            write_shards(given_clips, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(BadInput):
        write_shards(clips, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_damage_is_found(clips, tmp_path):
    shards = write_shards(clips, tmp_path / "s")
    path = Path(shards[0].path)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[700] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(BadInput, match="sha256"):
        read_manifest(tmp_path / "s", verify=True)
    path.write_bytes(good[:2000])
    with pytest.raises(Failed):
        list(read_shards(tmp_path / "s"))
    path.unlink()
    with pytest.raises(BadInput, match="missing"):
        read_manifest(tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    manifest["shards"][0]["path"] = "../0.mp4"
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="outside"):
        read_manifest(tmp_path / "s")
