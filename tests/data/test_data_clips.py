"""Clips from a folder, a curated folder and tar shards are the same frames, taken at one rate."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from armillary import media
from armillary.curate.rows import write_clips
from armillary.data import ClipsConfig
from armillary.errors import BadInput
from armillary.types import Clip, Rejection

SHARED = Path(__file__).resolve().parents[2] / "../shared/data/videos"


def film(path, fps, seconds, offset=0):
    """Grey frames whose brightness says the time: 20 levels a second."""
    frames = [np.full((32, 48, 3), min(250, offset + int(20 * i / fps)), np.uint8) for i in range(int(fps * seconds))]
    media.write_video(path, frames, fps)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    film(root / "a.mp4", 10, 3)
    film(root / "b.mp4", 25, 4)
    film(root / "sub" / "c.mp4", 30, 2) if (root / "sub").mkdir() is None else None
    (root / "b.txt").write_text("a grey wall grows lighter\n")
    (root / "broken.mp4").write_bytes(b"no video at all")
    return root


def config(root, **more):
    return ClipsConfig(str(root), **{"frames": 5, "size": (16, 24), "fps": 5.0, "held_out": 0.0, **more})


def test_one_rate_for_all_and_the_broken_one_is_named(folder, capsys):
    data = config(folder).build()
    assert "1 of 4 clips cannot be read" in capsys.readouterr().err
    assert {e.key: e.length for e in data.entries} == {"a.mp4#0": 15, "b.mp4#0": 20, "sub/c.mp4#0": 10}
    for entry in data.entries:
        frames = data.read(entry)
        assert frames.shape == (entry.length, 16, 24, 3)
        seconds = np.arange(entry.length) / 5.0
        np.testing.assert_allclose(frames.mean((1, 2, 3)), 20 * seconds, atol=3.5)
    texts = {e.key: e.texts for e in data.entries}
    assert texts["b.mp4#0"] == ("a grey wall grows lighter",) and texts["a.mp4#0"] == ()
    batch = data.batch(0, 6, 0)
    assert batch.video.shape == (6, 3, 5, 16, 24) and batch.actions is None and data.spec is None


def test_a_crop_is_a_part_of_the_window_anywhere_in_training_and_in_the_middle_when_held_out(folder, tmp_path):
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (32, 48, 3))
    for n in range(4):
        media.write_video(tmp_path / f"{n}.mp4", [ramp] * 10, 5.0)
    settings = {"size": (32, 48), "crop": (16, 16), "held_out": 0.3}
    train, held = (config(tmp_path, **settings).build(split) for split in ("train", "held-out"))
    assert train.size == held.size == (16, 16) and train.hash == config(tmp_path, size=(32, 48)).build().hash
    batch = train.batch(0, 24, 0)
    assert batch.video.shape == (24, 3, 5, 16, 16)
    lefts = ((batch.video[:, :, 0].mean((1, 2, 3)) + 1) * 127.5 / 5 - 7.5).round().int().tolist()
    assert min(lefts) <= 5 and max(lefts) >= 27 and len(set(lefts)) > 8
    assert ((batch.video - batch.video[:, :, :1]).abs() < 0.05).all(), "one place for a whole window"
    middle = ((held.batch(3, 4, 1).video[:, :, 0].mean((1, 2, 3)) + 1) * 127.5 / 5 - 7.5).round().int().tolist()
    assert middle == [16] * 4
    again = train.batch(0, 12, 0, rank=1, world=2)
    assert (again.video == batch.video[12:]).all(), "a row is the same whoever draws it"
    with pytest.raises(BadInput, match="lies within frames of 32x48; got 40x16"):
        config(tmp_path, size=(32, 48), crop=(40, 16)).build()


def test_long_videos_are_divided_without_a_gap(folder):
    data, cut = config(folder).build(), config(folder, stretch=1.5).build()
    whole = {e.key.split("#")[0]: data.read(e) for e in data.entries}
    for name, frames in whole.items():
        parts = [cut.read(e) for e in cut.entries if e.key.startswith(name)]
        assert len(parts) >= 1
        for n, part in enumerate(parts):  # stretch n begins at 1.5 n s
            begin = 7.5 * n
            expected = frames[int(np.ceil(begin - 1e-9)) :][: len(part)].mean((1, 2, 3)) if n % 2 == 0 else None
            if expected is not None:
                np.testing.assert_allclose(part[: len(expected)].mean((1, 2, 3)), expected, atol=1.5)


def test_curated_folder_and_shards_give_the_same_frames(folder, tmp_path):
    rows = [
        {"id": "one", "source": "s1.mp4", "path": "clips/a.mp4", "caption": "first", "rejected": []},
        {"id": "two", "source": "s2.mp4", "path": "clips/b.mp4", "caption": "second", "rejected": []},
    ]
    curated = tmp_path / "curated"
    (curated / "clips").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):
        (curated / "clips" / name).write_bytes((folder / name).read_bytes())
    kept = [Clip(r["id"], r["source"], 0.0, 1.0, path=str(curated / r["path"]), caption=r["caption"]) for r in rows[:2]]
    lost = Clip("bad", "s2.mp4", 0.0, 1.0, rejected=(Rejection("motion", "static"),))
    write_clips(curated / "clips.parquet", [*kept, lost], curated)
    one = config(curated).build()
    assert [(e.key, e.group, e.texts) for e in one.entries] == [
        ("one#0", "s1.mp4", ("first",)),
        ("two#0", "s2.mp4", ("second",)),
    ]

    shards = tmp_path / "shards" / "720p"
    shards.mkdir(parents=True)
    with tarfile.open(shards / "000.tar", "w") as tar:
        for row in rows:
            for suffix, content in {
                "mp4": (curated / row["path"]).read_bytes(),
                "json": json.dumps(row).encode(),
                "txt": row["caption"].encode(),
            }.items():
                info = tarfile.TarInfo(f"{row['id']}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    two = config(tmp_path / "shards").build()
    assert [(e.group, e.texts) for e in two.entries] == [(e.group, e.texts) for e in one.entries]
    for a, b in zip(one.entries, two.entries):
        np.testing.assert_array_equal(one.read(a), two.read(b))
    data = (shards / "000.tar").read_bytes()
    (shards / "000.tar").write_bytes(data[: len(data) // 3])
    with pytest.raises(BadInput, match="not a readable shard"):
        config(tmp_path / "shards").build()


def test_content_decides_the_hash(folder, tmp_path):
    root = tmp_path / "copy"
    root.mkdir()
    (root / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    first = config(root).build().hash
    assert config(root, frames=3).build("train").hash == first and config(root, fps=4.0).build().hash != first
    (root / "a.txt").write_text("words")
    assert config(root).build().hash != first


def test_what_cannot_work_is_said(tmp_path):
    with pytest.raises(BadInput, match="no folder"):
        config(tmp_path / "nowhere").build()
    with pytest.raises(BadInput, match="holds no clips"):
        config(tmp_path).build()
    film(tmp_path / "short.mp4", 10, 0.5)
    with pytest.raises(BadInput, match="the longest of 1 has 2"):
        config(tmp_path).build()
    with pytest.raises(BadInput, match="holds no window"):
        config(tmp_path, stretch=0.5).build()
    (tmp_path / "clips.parquet").write_text("{}\n")
    with pytest.raises(BadInput, match="no table"):
        config(tmp_path).build()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared videos are not here")
def test_real_files_of_every_kind():
    """Whatever lies in the folder: what can be read gives whole stretches, the rest is left out or named."""
    data = ClipsConfig(str(SHARED), frames=9, size=(32, 32), held_out=0.2, stretch=4.0).build()
    good = 0
    for name in (
        "edge_variable_frame_rate_a.mp4#0",
        "edge_rot90",
        "human_asl_again.mkv#0",
        "edge_alpha_vp9.webm#0",
        "edge_av1.mkv#0",
    ):
        for entry in data.entries:
            if entry.key.startswith(name):
                assert data.read(entry).shape == (entry.length, 32, 32, 3)
                good += 1
    assert good >= 2
