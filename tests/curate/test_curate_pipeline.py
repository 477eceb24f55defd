"""From files to a folder of clips: broken files, kills, repeats, workers, and what is written."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene

from armillary.curate import CurateConfig, curate, find_sources, load_clips, refilter
from armillary.curate.cut import CutConfig
from armillary.curate.rows import clip_from_json, read_table
from armillary.curate.runners import processes
from armillary.curate.sources import natural
from armillary.errors import BadInput
from armillary.media import probe, read_video, write_video
from armillary.presets import from_json, override, to_json

CONFIG = override(CurateConfig(), ["split.min_seconds=1", "text.ocr=false", "motion.max_shake=0.3"])


def settings(*assignments):
    return override(CONFIG, list(assignments))


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Two good files (one with a cut), a copy, a worn copy, a still one, a cut-off one, and three that are no video."""
    folder = tmp_path_factory.mktemp("footage")
    two = np.concatenate([scene(1, 30), scene(2, 25, pan=-2)])
    write_video(folder / "clip2.mp4", two, 15, gop=15)
    write_video(folder / "clip10.mp4", scene(3, 40), 15)
    (folder / "again.mp4").write_bytes((folder / "clip10.mp4").read_bytes())
    write_video(folder / "worn.mp4", scene(3, 40)[:30, ::1, ::1] // 8 * 7, 15, crf=34)
    write_video(folder / "still.mp4", np.repeat(scene(4, 1), 30, 0), 15)
    (folder / "sub").mkdir()
    data = write_video(folder / "sub/cut off.mp4", scene(5, 60), 15, gop=15).read_bytes()
    (folder / "sub/cut off.mp4").write_bytes(data[: int(len(data) * 0.7)])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "words.mp4").write_text("not a video")
    (folder / "odd\nname ü.mkv").write_bytes(os.urandom(4000))
    (folder / "clip2.txt").write_text("a pan over\ncoloured blobs")
    (folder / "notes.txt").write_text("no video suffix: not looked at")
    return folder


def everything(out):
    """Every result file's bytes, by relative name; seconds apart."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".work" not in p.parts and p.name != "timing.json")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def done(footage, tmp_path_factory):
    out = tmp_path_factory.mktemp("done")
    return curate([footage], out, CONFIG), out


def test_every_source_is_accounted_for(done, footage, tmp_path):
    report, out = done
    by_name = {}
    for clip in report.clips:
        by_name.setdefault(Path(clip.source).name, []).append(clip)
    assert report.num_sources == 9
    assert [(round(c.start, 2), round(c.end, 2)) for c in by_name["clip2.mp4"]] == [(0, 2), (2, pytest.approx(3.67, abs=0.01))]
    assert not any(c.rejected for c in by_name["clip2.mp4"])
    assert {r.by for r in by_name["still.mp4"][0].rejected} == {"black", "motion"}
    assert [r.by for r in by_name["worn.mp4"][0].rejected] == ["dedup"] or [r.by for r in by_name["again.mp4"][0].rejected] == [
        "dedup"
    ]
    assert report.duplicates == ((str(footage / "clip10.mp4"), str(footage / "again.mp4")),)
    assert {Path(e["source"]).name: e["kind"] for e in report.errors} == {
        "empty.mp4": "empty_file",
        "words.mp4": "invalid_container",
        "odd\nname ü.mkv": "invalid_container",
        "cut off.mp4": "decode_error",
    }
    assert len(by_name["cut off.mp4"]) >= 1  # the part that decodes was used
    summary = json.loads((out / "summary.json").read_text())
    assert summary["sources_failed"] == 3 and summary["clips_kept"] == len(report.kept)
    assert report.ok
    failing = [footage / "empty.mp4", footage / "clip2.mp4"]
    assert curate(failing, tmp_path, settings("write=false", "max_error_rate=0.5")).ok
    assert not curate(failing, tmp_path, settings("write=false", "max_error_rate=0.4")).ok


def test_what_is_written_can_be_read_back(done):
    report, out = done
    rows = read_table(out / "clips.parquet")
    assert [r["clip_id"] for r in rows] == [c.id for c in report.clips]
    assert all((r["status"] == "kept") == (not c.rejected) for r, c in zip(rows, report.clips))
    assert all(bool(r["reason"]) == bool(c.rejected) for r, c in zip(rows, report.clips))
    assert all(r["end_frame"] - r["start_frame"] == c.num_frames for r, c in zip(rows, report.clips))
    assert {p.stem for p in (out / "thumbs").iterdir()} <= {c.id for c in report.clips}
    loaded = load_clips(out)
    for a, b in zip(loaded, report.clips):
        assert dataclasses.replace(a, embedding=None) == dataclasses.replace(b, embedding=None)
        assert (a.embedding is None) == bool(a.rejected)
    for clip in report.kept:
        video = read_video(clip.path)
        assert len(video.frames) == clip.num_frames == probe(clip.path).num_frames
        assert video.frames.shape[1:3] == (clip.height, clip.width)
        assert clip.caption
        assert np.linalg.norm(clip.embedding) == pytest.approx(1, abs=1e-4)
    assert {p.stem for p in (out / "clips").iterdir()} == {c.id for c in report.kept}
    assert all(Path(r["path"]).parts[0] == "clips" for r in rows if r["path"])
    sidecar = [c for c in report.kept if c.source.endswith("clip2.mp4")]
    assert {(c.caption, c.tags["caption_source"]) for c in sidecar} == {("a pan over coloured blobs", "sidecar")}
    measured = next(c for c in report.kept if c.tags["caption_source"] == "measured")
    assert measured.caption.startswith("A video clip of ")


def test_every_source_has_a_row_of_its_own(done, footage):
    rows = {Path(r["source"]).name: r for r in read_table(done[1] / "sources.parquet")}
    assert len(rows) == 9
    assert {n for n, r in rows.items() if r["status"] == "error"} == {"empty.mp4", "words.mp4", "odd\nname ü.mkv"}
    assert rows["cut off.mp4"]["status"] == "damaged" and "do not decode" in rows["cut off.mp4"]["reason"]
    assert rows["again.mp4"]["status"] == "ok" or rows["clip10.mp4"]["status"] == "ok"
    assert {rows["again.mp4"]["status"], rows["clip10.mp4"]["status"]} == {"ok", "duplicate"}
    assert rows["clip2.mp4"]["frames"] == 55 and rows["clip2.mp4"]["duration_s"] == pytest.approx(55 / 15, abs=1e-3)


def test_rejections_carry_score_and_threshold(done):
    report, _ = done
    for clip in report.clips:
        for r in clip.rejected:
            assert r.reason and r.score is not None and r.threshold is not None, (clip, r)


def test_processes_give_the_same_bytes(done, footage, tmp_path):
    curate([footage], tmp_path / "p", settings("workers=2"), "processes")
    assert everything(tmp_path / "p") == everything(done[1])


def test_a_second_run_decodes_nothing(done, footage, monkeypatch):
    import armillary.curate.pipeline as pipeline

    _, out = done
    before = everything(out)
    seen = []
    monkeypatch.setitem(pipeline.RUNNERS, "inline", lambda tasks, **_: seen.extend(tasks) or iter(()))
    curate([footage], out, CONFIG)
    # only what failed is tried again: its rows come from trying
    assert sorted((t["do"], Path(t["name"]).name) for t in seen) == [
        ("probe", n) for n in ("empty.mp4", "odd\nname ü.mkv", "words.mp4")
    ]
    monkeypatch.undo()
    curate([footage], out, CONFIG)
    assert everything(out) == before


def test_a_lost_clip_and_a_torn_record_are_made_again(footage, tmp_path):
    out = tmp_path / "o"
    curate([footage / "clip2.mp4", footage / "clip10.mp4"], out, CONFIG)
    before = everything(out)
    for kind in ("plans", "parts", "analysis"):
        record = min(p for p in out.glob(f".work/{kind}-*/**/*") if p.suffix in (".json", ".npz"))
        record.write_bytes(record.read_bytes()[:100])
    for path in [*out.glob("clips/*"), *out.glob(".work/clips-*/*")]:
        path.unlink()
    curate([footage / "clip2.mp4", footage / "clip10.mp4"], out, CONFIG)
    assert everything(out) == before


def test_other_settings_give_another_result_in_the_same_folder(footage, tmp_path):
    first = curate([footage / "clip2.mp4"], tmp_path, CONFIG)
    second = curate([footage / "clip2.mp4"], tmp_path, settings("split.min_seconds=1.9"))
    assert (len(first.kept), len(second.kept)) == (2, 1)
    assert {p.stem for p in (tmp_path / "clips").iterdir()} == {c.id for c in second.kept}


DRIVER = """
import sys
from armillary.curate import CurateConfig, curate
from armillary.presets import override
curate([sys.argv[1]], sys.argv[2], override(CurateConfig(), sys.argv[4:]), sys.argv[3])
"""


@pytest.mark.parametrize(("runner", "wait"), [("inline", 1.5), ("processes", 2.5)])
def test_killed_and_resumed_equals_not_killed(done, footage, tmp_path, runner, wait):
    """kill -9 somewhere in the middle; the second run must end with the very same bytes."""
    arguments = [
        str(footage),
        str(tmp_path / "k"),
        runner,
        "split.min_seconds=1",
        "text.ocr=false",
        "motion.max_shake=0.3",
        "workers=1",
    ]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None and not list(tmp_path.glob("k/.work/parts-*/*.json")):
        time.sleep(0.02)  # at least one source is finished, others are not
    time.sleep(wait / 50)
    process.send_signal(signal.SIGKILL)
    process.wait()
    curate([footage], tmp_path / "k", CONFIG)
    assert everything(tmp_path / "k") == everything(done[1])


def test_scaling_down_encodes(footage, tmp_path):
    report = curate([footage / "clip10.mp4"], tmp_path, settings("cut.short_side=64"))
    info = probe(report.kept[0].path)
    assert (info.width, info.height) == (92, 64) == (report.kept[0].width, report.kept[0].height)


def test_refilter_judges_again_without_decoding(footage, tmp_path, monkeypatch):
    """Another threshold, both ways: the same tables as a run with that setting from the start, and no frame analysed twice."""
    import armillary.curate.tasks as tasks

    files = [footage / "clip2.mp4", footage / "clip10.mp4", footage / "still.mp4"]
    curate(files, tmp_path / "a", CONFIG)
    before = everything(tmp_path / "a")
    monkeypatch.setattr(tasks, "observe", lambda *_: pytest.fail("a file was decoded again"))
    fewer = refilter(tmp_path / "a", ["split.min_seconds=1.9"])
    assert len(fewer.kept) == len(load_clips(tmp_path / "a")) - sum(bool(c.rejected) for c in fewer.clips)
    refilter(tmp_path / "a", ["split.min_seconds=1"])
    monkeypatch.undo()
    assert everything(tmp_path / "a") == before
    curate(files, tmp_path / "b", settings("split.min_seconds=1.9"))
    refilter(tmp_path / "a", ["split.min_seconds=1.9"])
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    with pytest.raises(BadInput):
        refilter(tmp_path / "nothing")
    with pytest.raises(BadInput):
        refilter(tmp_path / "a", ["split.min_secs=1"])


def test_windows_of_a_long_file_join_without_a_seam(tmp_path):
    """The same clips and scores whether a file is decoded in one go or in many places; a shot may lie across a boundary."""
    pictures = np.concatenate([scene(1, 150, pan=1.5), scene(2, 130, pan=1.5), scene(7, 140, pan=1.5)])
    source = write_video(tmp_path / "long.mp4", pictures, 15, gop=20)
    small = ["split.min_seconds=1", "analyse.window=4"]
    one = curate([source], tmp_path / "one", settings(*small, "analyse.segment=1000"))
    many = curate([source], tmp_path / "many", settings(*small, "analyse.segment=8"))
    assert len(list((tmp_path / "many").glob(".work/analysis-*/*/done-*.json"))) == 4
    assert len(list((tmp_path / "one").glob(".work/analysis-*/*/done-*.json"))) == 1
    assert [(c.start, c.end, c.scores, c.tags) for c in one.clips] == [(c.start, c.end, c.scores, c.tags) for c in many.clips]
    assert [c.num_frames for c in many.kept] == [150, 130, 140]
    for clip in many.kept:
        np.testing.assert_array_equal(read_video(clip.path).frames.shape[:1], [clip.num_frames])


def test_a_part_that_could_not_be_analysed_is_tried_again(tmp_path, monkeypatch):
    """What lies around it is used and the file is called damaged; the next run fills the hole and ends as if nothing had been."""
    import armillary.curate.tasks as tasks

    pictures = np.concatenate([scene(1, 150, pan=1.5), scene(2, 130, pan=1.5), scene(7, 140, pan=1.5)])
    source = write_video(tmp_path / "long.mp4", pictures, 15, gop=20)
    small = settings("split.min_seconds=1", "analyse.window=4", "analyse.segment=8")
    curate([source], tmp_path / "want", small)
    analyse, firsts = tasks.observe, []

    def fails_once(task, work, deadline):
        firsts.append(task["first"])
        if task["first"] == 2:
            raise RuntimeError("a decoder that died")
        analyse(task, work, deadline)

    monkeypatch.setattr(tasks, "observe", fails_once)
    report = curate([source], tmp_path / "out", small)
    assert [e["kind"] for e in report.errors] == ["internal"] and report.kept and report.ok
    assert not any(8 < c.start < 15.9 for c in report.clips)
    assert read_table(tmp_path / "out" / "sources.parquet")[0]["status"] == "damaged"
    monkeypatch.undo()
    curate([source], tmp_path / "out", small)
    assert firsts == [0, 2, 4, 6] and everything(tmp_path / "out") == everything(tmp_path / "want")


def test_addresses_are_fetched_and_named_as_given(footage, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.mp4", (footage / "clip2.mp4").read_bytes())
    memory.pipe("/bucket/deep/b.mp4", (footage / "clip10.mp4").read_bytes())
    memory.pipe("/bucket/notes.txt", b"no video")
    assert find_sources(["memory://bucket"]) == ["memory:///bucket/a.mp4", "memory:///bucket/deep/b.mp4"]
    report = curate(["memory://bucket/*.mp4"], tmp_path, CONFIG)
    assert {c.source for c in report.clips} == {"memory:///bucket/a.mp4"} and len(report.kept) == 2
    assert not list(tmp_path.glob(".work/inputs/*"))
    with pytest.raises(BadInput):
        find_sources(["memory://nothing/there"])
    with pytest.raises(BadInput):
        find_sources(["nosuchscheme://x"])


def test_sources_are_found_in_natural_order_and_never_in_the_output(footage, tmp_path):
    names = [Path(p).name for p in find_sources([footage / "clip*.mp4"])]
    assert names == ["clip2.mp4", "clip10.mp4"]
    assert natural(Path("a2")) < natural(Path("a10")) < natural(Path("b1"))
    assert [Path(p).name for p in find_sources([footage, footage / "clip2.mp4"])].count("clip2.mp4") == 1
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "a.mp4", scene(1, 30), 15)
    (folder / "link.mp4").symlink_to(footage / "clip2.mp4")
    first = curate([folder], folder / "out", CONFIG)
    assert first.num_sources == 1
    assert curate([folder], folder / "out", CONFIG).num_sources == 1
    for bad in ([], [tmp_path / "none.mp4"], [tmp_path / "*.avi"]):
        with pytest.raises(BadInput):
            find_sources(bad)


def test_what_cannot_work_is_said_before_the_work(footage, tmp_path):
    for changes, runner in ((['filters=["moton"]'], "inline"), ([], "inlin"), (["caption.by=endpoint"], "inline")):
        with pytest.raises(BadInput):
            curate([footage], tmp_path / "x", settings(*changes), runner)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        curate([footage], tmp_path / "file", CONFIG)
    with pytest.raises(BadInput):
        load_clips(tmp_path)
    with pytest.raises(BadInput):
        clip_from_json({"id": "x"})


def test_the_config_goes_through_json():
    assert from_json(CurateConfig, to_json(CONFIG)) == CONFIG
    assert CutConfig() == from_json(CutConfig, {})


WORKER = """
import os, signal, sys, time
from armillary.curate.worker import serve

def work(task):
    if task["name"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task["name"] == "once":
        if not os.path.exists(task["flag"]):
            open(task["flag"], "w").close()
            os._exit(3)
    if task["name"] == "hang":
        time.sleep(60)
    print("a library that talks to standard output")
    return {} if task["name"] in ("good", "once") else {"kind": "bad", "reason": task["name"]}

serve(work)
"""


def test_a_worker_that_dies_or_hangs_costs_one_row(tmp_path, monkeypatch):
    (tmp_path / "poison_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("armillary.curate.runners.GRACE", 0.3)
    names = ["good", "crash", "good", "hang", "bad row", "once", "good"]
    tasks = [{"name": n, "flag": str(tmp_path / "flag")} for n in names]
    for workers in (2,):
        (tmp_path / "flag").unlink(missing_ok=True)
        answers = dict(processes(tasks, workers=workers, timeout=1.0, retries=1, module="poison_worker"))
        assert sorted(answers) == list(range(7))
        assert [answers[i].get("kind") for i in range(7)] == [None, "crash", None, "timeout", "bad", None, None]
        assert "signal 11" in answers[1]["reason"] and "tried 2 times" in answers[1]["reason"]


def test_a_source_over_its_time_is_a_row_in_both_runners(footage, tmp_path):
    for runner in ("inline", "processes"):
        report = curate([footage / "clip10.mp4"], tmp_path / runner, settings("timeout=0.000001", "retries=0"), runner)
        assert [e["kind"] for e in report.errors] == ["timeout"]
        assert not report.clips and not report.ok
