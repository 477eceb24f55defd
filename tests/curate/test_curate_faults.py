"""What happens on the way: a full disk, hostile names, files that are the same to the letter, odd streams."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene

from armillary.curate import CurateConfig, curate, load_clips
from armillary.curate.rows import read_table
from armillary.errors import BadInput
from armillary.media import read_video, write_video
from armillary.presets import override

CONFIG = override(CurateConfig(), ["split.min_seconds=1", "text.ocr=false", "dedup.on=false"])


def files(out: Path) -> dict[str, bytes]:
    kept = (p for p in sorted(out.rglob("*")) if p.is_file() and ".work" not in p.parts and p.name != "timing.json")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in kept}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on_later(small_disk, tmp_path):
    footage = tmp_path / "footage"
    for k in range(6):
        write_video(footage / f"{k}.mp4", scene(k, 60), 15, crf=4)
    want = curate([footage], tmp_path / "want", CONFIG)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 600_000)
    try:
        report = curate([footage], small_disk / "out", CONFIG)
        assert not report.ok or any("full" in e["reason"] for e in report.errors)
    except BadInput as error:
        assert "full" in str(error)
    assert not [p for p in small_disk.rglob("*") if ".tmp" in p.name]
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    report = curate([footage], small_disk / "out", CONFIG)
    assert not report.errors and len(report.kept) == len(want.kept) == 6
    assert files(small_disk / "out") == files(tmp_path / "want")


def test_names_are_only_names(tmp_path):
    """Whatever a file is called, its clips are named by hashes and lie in the output; names that only look alike are two files."""
    folder = tmp_path / "in"
    composed, apart = unicodedata.normalize("NFC", "café.mp4"), unicodedata.normalize("NFD", "café.mp4")
    names = ["-leading.mp4", "new\nline.mp4", "%00.mp4", "😀.mp4", "a" * 251 + ".mp4", composed, apart, "a..mp4.mp4"]
    folder.mkdir()
    for k, name in enumerate(names):
        write_video(tmp_path / "one.mp4", scene(k, 24), 15)
        os.replace(tmp_path / "one.mp4", folder / name)
    odd = os.fsencode(folder) + b"/bad\xff.mp4"
    write_video(tmp_path / "one.mp4", scene(20, 24), 15)
    os.replace(tmp_path / "one.mp4", odd)
    before = {p for p in tmp_path.rglob("*")}
    report = curate([folder], tmp_path / "out", CONFIG, "processes")
    assert not report.errors, report.errors
    assert len(report.kept) == len(names) + 1 and len({c.id for c in report.kept}) == len(names) + 1
    assert {p for p in tmp_path.rglob("*") if tmp_path / "out" not in (p, *p.parents)} == before
    assert [p.name for p in (tmp_path / "out" / "clips").iterdir() if not p.stem.isalnum()] == []
    rows = read_table(tmp_path / "out" / "sources.parquet")
    assert len(rows) == len(names) + 1 and len(load_clips(tmp_path / "out")) == len(names) + 1


def test_a_variable_frame_rate_keeps_its_clock(tmp_path):
    """24 to 60 frames a second in one file: bounds are times of frames, and the cut keeps every time."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 24], 240))
    source = write_video(tmp_path / "v.mp4", np.concatenate([scene(1, 120), scene(2, 120)]), 30, times=list(times), gop=30)
    first, second = curate([source], tmp_path / "out", CONFIG).kept
    assert (first.num_frames, second.num_frames, second.start_frame) == (120, 120, 120)
    assert second.start == pytest.approx(times[120] - times[0], abs=1e-3)
    np.testing.assert_allclose(read_video(second.path).times, times[120:] - times[120], atol=1.5e-3)


def test_a_source_is_the_same_wherever_its_folder_lies(tmp_path):
    """Ids, shard bytes and captions come from content and names, not from folders."""
    from armillary.shards import write_shards

    tars = []
    for place in ("a", "b/c"):
        write_video(tmp_path / place / "x.mp4", scene(5, 45), 15)
        report = curate([tmp_path / place], tmp_path / f"out-{place[0]}", CONFIG)
        tars.append([s.sha256 for s in write_shards(report.kept, tmp_path / f"out-{place[0]}" / "shards")])
    assert tars[0] == tars[1]
