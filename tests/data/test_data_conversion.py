"""From layout to layout: what a target can hold comes back equal, packets untouched; what it cannot is said; breaks cost an episode."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from armillary import media, progress
from armillary.data.convert.convert import convert
from armillary.data.convert.sinks import SINKS
from armillary.data.convert.sources import open_source
from armillary.data.defects.validate import validate
from armillary.data.describe import describe
from armillary.data.lerobot.read import LeRobotDataset, LeRobotWriter
from armillary.errors import BadInput, Failed
from armillary.shards import read_shards
from armillary.types import ActionSpec, Camera, Episode

pytest.importorskip("pyarrow")
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
with_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="the sample data sets are not on this machine")
SPEC = ActionSpec(("dx", "dy"), ("m", "m"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(progress, "QUIET", True)


def episode(i: int, cameras=("front", "side")) -> Episode:
    n, rng = 9 + i, np.random.default_rng(i)
    frames = {c: np.kron(rng.integers(0, 256, (n, 6, 8, 3), dtype=np.uint8), np.ones((1, 8, 8, 1), np.uint8)) for c in cameras}
    return Episode(
        f"e{i}", 10.0, frames, rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32), SPEC,
        ("a", "b", "c"), rng.normal(size=n).astype(np.float32), bool(i % 2), f"do thing {i % 2}", f"Thing {i}, naïvely.",
        tuple(Camera(c, 64, 48, np.eye(3), np.broadcast_to(np.eye(4), (n, 4, 4)).copy()) for c in cameras),
        {"touch": rng.random((n, 2)) > 0.5},
    )  # fmt: skip


def write(root, count=3, cameras=("front", "side"), **options):
    with LeRobotWriter(root, 10.0, SPEC, cameras, state_names=("a", "b", "c"), robot_type="toy", **options) as writer:
        for i in range(count):
            writer.add(episode(i, cameras))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write(tmp_path_factory.mktemp("made") / "set")


def same(a: Episode, b: Episode, truth: bool = True):
    for name in ("actions", "states", "rewards"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("id", "fps", "success", "instruction", "caption", "spec", "state_names"):
        assert getattr(a, name) == getattr(b, name), name
    assert tuple(a.frames) == tuple(b.frames)
    assert all(np.array_equal(a.frames[c], b.frames[c]) for c in a.frames)
    assert [c.name for c in a.cameras] == [c.name for c in b.cameras]
    assert all(np.array_equal(x.pose, y.pose) and x.width == y.width for x, y in zip(a.cameras, b.cameras))
    if truth:
        assert set(a.truth) == set(b.truth) and all(np.array_equal(a.truth[k], b.truth[k]) for k in a.truth)


@pytest.mark.parametrize(("to", "cameras"), [*itertools.product(SINKS, (("front", "side"), ("front",)))])
def test_there_and_back(made, tmp_path, to, cameras):
    there = convert(made, tmp_path / "there", to, cameras=cameras)
    assert (there.episodes, there.frames, there.encoded, there.broken) == (3, 30, 0, ())
    assert there.copied == 3 * len(cameras)
    assert there.left_out == (("exact arrays of a simulator",) if to == "cosmos" else ())
    back = convert(tmp_path / "there", tmp_path / "back", "lerobot")
    assert (back.episodes, back.encoded, back.left_out) == (3, 0, ())
    for root in (tmp_path / "there", tmp_path / "back"):
        assert validate(root).defects == ()
    ours, theirs = LeRobotDataset(made), LeRobotDataset(tmp_path / "back")
    assert theirs.info["robot_type"] == "toy"
    for i in range(3):
        same(ours.episode(i, cameras), theirs.episode(i), truth=to != "cosmos")


@with_samples
@pytest.mark.parametrize(
    ("name", "to"),
    [
        *(("lerobot_v3_reference", to) for to in SINKS),
        ("lerobot/bridge_debug_64", "lerobot"),
        ("lerobot/bridge_debug_64", "cosmos"),
    ],
)
def test_what_others_recorded(tmp_path, name, to):
    """AV1 and H.264, v3.0 and v2.1: every frame and number comes through, and no pixel is encoded a second time."""
    assert convert(SHARED / name, tmp_path / "there", to).encoded == 0
    assert convert(tmp_path / "there", tmp_path / "back", "lerobot").encoded == 0
    ours, theirs = LeRobotDataset(SHARED / name), LeRobotDataset(tmp_path / "back")
    assert validate(tmp_path / "back").ok and theirs.version == "3.0" and len(ours) == len(theirs)
    assert ours.tasks == theirs.tasks and ours.spec == theirs.spec
    for i in range(0, len(ours), 4):
        same(ours.episode(i), theirs.episode(i))


def test_columns_without_a_name_here_come_through(made, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(shutil.copytree(made, tmp_path / "set"))
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    table = table.append_column("observation.force", pa.array(np.arange(len(table)) / 3, pa.float64()))
    pq.write_table(table.append_column("subtask", pa.array(["reach"] * len(table))), path)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.force"] = {"dtype": "float64", "shape": [1], "names": None}
    info["features"]["subtask"] = {"dtype": "string", "shape": [1], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    for to in ("lerobot", "folder"):
        told = convert(root, tmp_path / to, to)
        assert told.left_out == ("columns of words: subtask",)
        assert np.array_equal(open_source(tmp_path / to).take(1).extra["observation.force"].reshape(-1), np.arange(9, 19) / 3)


def test_what_cannot_be_copied_is_encoded(made, tmp_path):
    """One episode begins between key frames, because its neighbour's file was encoded as one."""
    root = Path(shutil.copytree(made, tmp_path / "set"))
    path = root / "videos/observation.images.front/chunk-000/file-000.mp4"
    whole = media.read_video(path).frames
    media.write_video(path, whole, 10, gop=250)
    told = convert(root, tmp_path / "out", "folder")
    assert told.broken == () and told.encoded >= 2 and told.copied >= 3
    ours = LeRobotDataset(root)
    for i in range(3):
        take = open_source(tmp_path / "out").take(i)
        frames = np.stack(list(take.pictures["front"]()))
        assert np.abs(frames.astype(int) - ours.episode(i, ("front",)).frames["front"]).mean() < 6
    other = convert(made, tmp_path / "vp9", "folder", cameras=("side",), codec="libvpx-vp9")
    assert other.encoded == 3 and describe(tmp_path / "vp9")["cameras"][0]["codec"] == "vp9"


def test_the_broken_are_named_and_the_rest_converted(made, tmp_path):
    there = tmp_path / "there"
    convert(made, there, "folder")
    (there / "episode_000000.json").write_text((there / "episode_000000.json").read_text()[:200])
    (there / "episode_000001.side.mp4").write_bytes(b"")
    told = convert(there, tmp_path / "out", "lerobot")
    assert [b["episode"] for b in told.broken] == ["episode_000000", "episode_000001"] and told.episodes == 1
    assert "JSON" in told.broken[0]["why"] and "empty" in told.broken[1]["why"]
    assert {d.kind: d.where for d in validate(there).defects}.keys() == {"episode-unreadable"}
    same(LeRobotDataset(made).episode(2), LeRobotDataset(tmp_path / "out").episode(0))
    # Mended, the same command takes them up.
    shutil.copy(made / "truth" / "episode_000001.safetensors", tmp_path / "x")
    convert(made, tmp_path / "again", "folder")
    for name in ("episode_000000.json", "episode_000001.side.mp4"):
        shutil.copy(tmp_path / "again" / name, there / name)
    assert convert(there, tmp_path / "out", "lerobot").episodes == 3
    assert LeRobotDataset(tmp_path / "out").episode(2).id == "e1" and validate(tmp_path / "out").ok


# A process of its own, not a fork: threads that a fork leaves behind would hold their locks for ever.
CONVERT = "import sys; from armillary.data.convert.convert import convert; convert(*sys.argv[1:])"


def tree(root):
    return {
        p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".conversion.jsonl"
    }


@pytest.mark.parametrize("to", SINKS)
def test_a_killed_conversion_goes_on_to_the_same_bytes(tmp_path, to):
    src = write(tmp_path / "set", 8, ("front",))
    convert(src, tmp_path / "whole", to)
    running = subprocess.Popen([sys.executable, "-c", CONVERT, str(src), str(tmp_path / "cut"), to])
    journal = tmp_path / "cut" / ".conversion.jsonl"
    while running.poll() is None and (not journal.is_file() or journal.read_text().count("\n") < 4):
        time.sleep(0.001)
    running.kill()
    assert running.wait(30) == -9
    assert convert(src, tmp_path / "cut", to).episodes == 8
    whole, cut = tree(tmp_path / "whole"), tree(tmp_path / "cut")
    assert whole.keys() == cut.keys() and all(whole[k] == cut[k] for k in whole)
    again = convert(src, tmp_path / "cut", to)
    assert again.copied == again.encoded == 0 and again.frames == 100 and tree(tmp_path / "cut") == whole


def test_shards_are_the_shards_of_this_house_and_others_are_read(made, tmp_path):
    convert(made, tmp_path / "tars", "webdataset", cameras=("front",), max_bytes=1)
    assert sorted(p.name for p in tmp_path.glob("tars/*.tar")) == ["000000.tar", "000001.tar", "000002.tar"]
    samples = dict(read_shards(tmp_path / "tars"))
    assert samples["episode_000001"]["txt"] == "Thing 1, naïvely." and samples["episode_000001"]["json"]["frames"] == 10
    # Parallel tars with actions as arrays, as others write them.
    folder = tmp_path / "other"
    clip = samples["episode_000002"]["mp4"]
    actions = io.BytesIO()
    np.save(actions, np.arange(20, dtype=np.float32).reshape(10, 2))
    for name, members in (
        ("video", {"a.mp4": clip, "a.npy": actions.getvalue()}),
        ("metas", {"a.json": b'{"caption": "a thing"}'}),
    ):
        (folder / name).mkdir(parents=True)
        with tarfile.open(folder / name / "000000.tar", "w") as tar:
            for member, data in members.items():
                header = tarfile.TarInfo(member)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    take = open_source(folder).take(0)
    assert take.episode.caption == "a thing" and take.episode.actions.shape == (11, 2) and (take.episode.actions[-1] == 0).all()
    data = LeRobotDataset(convert(folder, tmp_path / "set", "lerobot").out)
    assert data.tasks == ("a thing",) and data.cameras == ("video",) and validate(data.root).ok


def test_cosmos_layouts_of_others(made, tmp_path):
    convert(made, tmp_path / "flat", "folder", cameras=("front",))
    root = tmp_path / "cosmos"
    for name in ("videos", "metas", "t5_xxl"):
        (root / name).mkdir(parents=True)
    for i in range(2):
        shutil.copy(tmp_path / "flat" / f"episode_00000{i}.mp4", root / "videos" / f"clip{i}.mp4")
        (root / "metas" / f"clip{i}.txt").write_text(f"Clip {i}.")
        (root / "t5_xxl" / f"clip{i}.pickle").write_bytes(b"\x80never opened")
    rows = [
        {"uuid": "c0", "vision_path": "videos/clip0.mp4", "t2w_windows": [{"start_frame": 0, "end_frame": 4, "caption": "first"},
         {"start_frame": 5, "end_frame": 8, "caption_json": {"temporal_caption": "then"}}]},
        {"uuid": "out", "vision_path": "../../etc/passwd.mp4", "t2w_windows": [{"caption": "no"}]},
        {"uuid": "late", "vision_path": "videos/clip1.mp4", "t2w_windows": [{"start_frame": 3, "end_frame": 99, "caption": "late"}]},
    ]  # fmt: skip
    told = convert(root, tmp_path / "a", "lerobot")
    assert (
        told.source == "cosmos"
        and told.left_out == ("text embeddings",)
        and LeRobotDataset(told.out).tasks == ("Clip 0.", "Clip 1.")
    )
    kept = convert(root, tmp_path / "b", "cosmos")
    assert kept.left_out == () and (tmp_path / "b/t5_xxl/clip1.pickle").read_bytes() == b"\x80never opened"
    (root / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    told = convert(root / "train.jsonl", tmp_path / "c", "lerobot")
    assert told.episodes == 2 and [b["episode"] for b in told.broken] == ["out", "late"]
    data = LeRobotDataset(told.out)
    assert [data.episode(i).instruction for i in range(2)] == ["first", "then"] and [
        len(data.episode(i)) for i in range(2)
    ] == [5, 4]
    # What is written for Cosmos 3 counts its last frame in, and its paths begin at the file.
    row = json.loads((tmp_path / "b/dataset.jsonl").read_text().splitlines()[0])
    assert (
        row["t2w_windows"][0]["end_frame"] == 8 and (tmp_path / "b" / row["vision_path"]).is_file() and row["duration"] == 0.9
    )


GROWN = """
import sys
from pathlib import Path
from armillary.data.convert.convert import convert

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))

short, long, out = map(Path, sys.argv[1:])
convert(short, out / "x", "lerobot", codec="libx265")
before = peak()
convert(long, out / "y", "lerobot", codec="libvpx-vp9", crf=50)
print(peak() - before)
"""


def test_memory_stays_small(tmp_path):
    """A hundred megabytes of pictures of one episode pass through a few, decoded, encoded and looked at."""
    n, h, w = 1500, 144, 176
    for name, count in (("short", 20), ("long", n)):
        frames = (np.full((h, w, 3), k % 251, np.uint8) for k in range(count))
        (tmp_path / name).mkdir()
        media.write_video(tmp_path / name / "a.mp4", frames, 10, preset="ultrafast", gop=250)
    told = subprocess.run(
        [sys.executable, "-c", GROWN, str(tmp_path / "short"), str(tmp_path / "long"), str(tmp_path)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert int(told.stdout.splitlines()[-1]) < 60_000 < n * h * w * 3 / 1024  # kB


def test_records_of_any_shape_cost_an_episode_at_most(made, tmp_path):
    convert(made, tmp_path / "there", "folder", cameras=("front",))
    good = json.loads((tmp_path / "there" / "episode_000000.json").read_text())
    odd = [
        {"fps": "x"},
        {"actions": {"a": 1}},
        {"actions": [[1], [1, 2]]},
        {"cameras": 5},
        {"spec": {"names": 3}},
        {"columns": {"a": 1}},
    ]
    for n, change in enumerate(
        [*odd, {"actions": [[float("nan"), 0.0]] * 9}, {"spec": 4}, {"state_names": 7}, {"cameras": {"front": 1}}]
    ):
        shutil.copy(tmp_path / "there" / "episode_000000.mp4", tmp_path / "there" / f"odd{n}.mp4")
        (tmp_path / "there" / f"odd{n}.json").write_text(json.dumps({**good, **change}))
    told = convert(tmp_path / "there", tmp_path / "out", "lerobot")
    broken = {b["episode"] for b in told.broken}
    assert (
        told.episodes + len(broken) == 13 and broken >= {f"odd{n}" for n in (0, 1, 2, 4, 5, 6, 7, 8)} and validate(told.out).ok
    )
    assert {d.where for d in validate(tmp_path / "there").defects} >= {"odd0", "odd6"}


def test_what_cannot_be_done_is_said(made, tmp_path):
    with pytest.raises(BadInput, match="Did you mean 'lerobot'"):
        convert(made, tmp_path / "x", "lerobott")
    with pytest.raises(BadInput, match="holds no episodes"):
        convert(tmp_path, tmp_path / "x", "folder")
    with pytest.raises(BadInput, match=r"no-such.*does not exist"):
        describe(tmp_path / "no-such")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="other things in it"):
        convert(made, tmp_path / "full", "folder")
    with pytest.raises(Failed, match=r"None of the 3 .*no camera 'top'"):
        convert(made, tmp_path / "y", "folder", cameras=("top",))
    convert(made, tmp_path / "z", "folder")
    with pytest.raises(BadInput, match=r"other settings.*crf"):
        convert(made, tmp_path / "z", "folder", crf=30)
