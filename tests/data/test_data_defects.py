"""Planted defects: each alone is found by its kind and by no other, a clean data set has none, and nothing crashes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from armillary import media, progress
from armillary.data.defects.validate import KINDS, validate
from armillary.data.lerobot.read import LeRobotWriter
from armillary.errors import BadInput
from armillary.types import ActionSpec, Episode

pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
with_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="the sample data sets are not on this machine")
SPEC = ActionSpec(("dx", "dy"), ("m", "m"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(progress, "QUIET", True)


def episode(i: int, n: int) -> Episode:
    rng = np.random.default_rng(i)
    front = np.full((n, 48, 64, 3), (200, 120, 60), np.uint8)
    side = np.full((n, 48, 64, 3), (50, 90, 170), np.uint8)
    for t in range(n):
        front[t, 8:24, 2 * t : 2 * t + 12] = 20
        side[t, 20:40, 40 - 2 * t : 56 - 2 * t] = 240
    return Episode(
        f"e{i}", 10.0, {"front": front, "side": side}, rng.normal(size=(n, 2)).astype(np.float32),
        rng.normal(size=(n, 3)).astype(np.float32), SPEC, ("a", "b", "c"), instruction=f"do thing {i % 2}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean") / "set"
    with LeRobotWriter(root, 10.0, SPEC, ("front", "side"), state_names=("a", "b", "c"), batch=3) as writer:
        for i in range(5):
            writer.add(episode(i, 10 + i))
    return root


@pytest.fixture
def root(clean, tmp_path):
    return Path(shutil.copytree(clean, tmp_path / "set"))


def info(root, change: Callable[[dict], object]):
    path = root / "meta" / "info.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def table(root, pattern: str, change):
    paths = sorted(root.glob(pattern))
    assert paths
    for path in paths[:1]:
        pq.write_table(change(pq.read_table(path)), path, row_group_size=1 << 20)


def column(name: str, change):
    """A table with the values of a column changed by `change(list)`."""

    def apply(t):
        values = t.column(name).to_pylist()
        change(values)
        at = t.column_names.index(name)
        return t.set_column(at, t.schema.field(at), pa.array(values, t.schema.field(at).type))

    return apply


def at(row: int, value):
    def change(values):
        values[row] = value(values[row]) if callable(value) else value

    return change


def video(camera: str, file: int = 0) -> str:
    return f"videos/observation.images.{camera}/chunk-000/file-{file:03d}.mp4"


def recode(root, name: str, frames=None, fps=10.0, size=None, codec="libx264"):
    kept = media.read_video(root / name).frames
    kept = kept[frames] if frames is not None else kept
    media.write_video(root / name, media.fit(kept, size) if size else kept, fps, codec)


def swap(root, *names: str):
    a, b = (root / n for n in names)
    a.rename(root / "x")
    b.rename(a)
    (root / "x").rename(b)


def chop(root, name: str, share: float = 0.6):
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: int(len(data) * share)])


def scramble(root, name: str):
    """Zeros in the packets of the frames after the first."""
    data = bytearray((root / name).read_bytes())
    begin = data.index(b"mdat")
    for k in range(begin + (len(data) - begin) // 2, len(data) - 64, 5):
        data[k] = 0xAA
    (root / name).write_bytes(data)


def retag(root, name: str, old: bytes, new: bytes):
    data = (root / name).read_bytes()
    assert old in data
    (root / name).write_bytes(data.replace(old, new))


def wrong_stats(root) -> str:
    stats = json.loads((root / "meta/stats.json").read_text())
    stats["action"]["mean"][0] += 1
    return json.dumps(stats)


DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
FRONT = "observation.images.front"
# What is done to a clean set of five episodes (three in the first file) -> the one kind it is told as, and a word of where or why.
PLANTED: dict[str, tuple[Callable, str, str]] = {
    "camera file missing": (lambda r: (r / video("side", 1)).unlink(), "missing-video", "episodes 3-4"),
    "cameras swapped": (lambda r: swap(r, video("front"), video("side")), "swapped-cameras", "front and side, episodes 0-2"),
    "one camera's file copied over the other's": (
        lambda r: shutil.copy(r / video("front"), r / video("side")),
        "same-video", "side",
    ),
    "episode too short": (lambda r: None, "short-episode", "episode 0"),
    "times of another rate": (
        lambda r: table(r, DATA, column("timestamp", lambda v: v.__setitem__(slice(10, 21), [k / 12 for k in range(11)]))),
        "timestamps", "12 frames a second",
    ),
    "a time that jumps": (lambda r: table(r, DATA, column("timestamp", at(14, 0.435))), "timestamps", "row 4"),
    "a NaN action": (lambda r: table(r, DATA, column("action", at(12, [float("nan"), 0.0]))), "not-finite", "episode 1"),
    "an infinite state": (
        lambda r: table(r, DATA, column("observation.state", at(0, [0.0, 0.0, float("inf")]))),
        "not-finite", "state",
    ),
    "unknown codec": (lambda r: retag(r, video("front"), b"avc1", b"zzzz"), "codec-undecodable", "episodes 0-2"),
    "another codec than declared": (lambda r: recode(r, video("front"), codec="libsvtav1"), "codec-differs", "av1"),
    "placeholders of another writer": (
        lambda r: info(r, lambda a: a.update(data_path="data/chunk-{episode_chunk:03d}/file-{episode_file:03d}.parquet")),
        "placeholders", "episode_file",
    ),
    "unknown placeholder": (lambda r: info(r, lambda a: a.update(data_path="data/{shard}.parquet")), "placeholders", "shard"),
    "an index twice": (lambda r: table(r, DATA, column("index", at(5, 4))), "index", "1 numbers twice"),
    "frame numbers that skip": (lambda r: table(r, DATA, column("frame_index", at(5, 9))), "frame-index", "episode 0"),
    "an episode not listed": (
        lambda r: table(r, EPISODES, lambda t: pa.concat_tables([t.slice(0, 1), t.slice(2)])),
        "episode-gap", "Episode 1",
    ),
    "an episode listed twice": (
        lambda r: table(r, EPISODES, lambda t: pa.concat_tables([t, t.slice(1, 1)])),
        "episode-duplicate", "Episode 1",
    ),
    "task out of range": (lambda r: table(r, DATA, column("task_index", at(3, 7))), "task-index", "7"),
    "the wrong task": (
        lambda r: table(r, DATA, column("task_index", lambda v: v.__setitem__(slice(0, 10), [1] * 10))),
        "task-mismatch", "do thing 1",
    ),
    "no statistics": (lambda r: (r / "meta/stats.json").unlink(), "stats-missing", "stats.json"),
    "wrong statistics": (
        lambda r: (r / "meta/stats.json").write_text(wrong_stats(r)),
        "stats-wrong", "action mean",
    ),
    "frames miscounted": (lambda r: info(r, lambda a: a.update(total_frames=61)), "frame-count", "61"),
    "episodes miscounted": (lambda r: info(r, lambda a: a.update(total_episodes=6)), "episode-count", "5 are listed"),
    "tasks miscounted": (lambda r: info(r, lambda a: a.update(total_tasks=3)), "task-count", "2 are listed"),
    "split beyond the end": (lambda r: info(r, lambda a: a.update(splits={"train": "0:9"})), "splits", "0:9"),
    "video too short": (lambda r: recode(r, video("front"), slice(0, 25)), "video-short", "episode 2"),
    "video too long": (lambda r: recode(r, video("front"), np.r_[0:33, 32, 32]), "video-long", "2 frames"),
    "video of another rate": (lambda r: recode(r, video("front"), fps=12.0), "video-fps", "12"),
    "video of another size": (lambda r: recode(r, video("front"), size=(32, 32)), "video-size", "32x32"),
    "table of rows cut short": (lambda r: chop(r, DATA), "table-unreadable", "episodes 0-2"),
    "table of episodes cut short": (lambda r: chop(r, EPISODES), "table-unreadable", EPISODES),
    "table of rows missing": (lambda r: (r / DATA).unlink(), "missing-file", "episodes 0-2"),
    "a row lost": (
        lambda r: table(r, DATA, lambda t: pa.concat_tables([t.slice(0, 20), t.slice(21)])),
        "row-count", "episode 1",
    ),
    "video cut short": (lambda r: chop(r, video("front")), "video-damaged", "cut short"),
    "packets scrambled": (lambda r: scramble(r, video("front")), "video-damaged", "do not decode"),
    "no file at all but a text": (lambda r: (r / video("front")).write_text("gone"), "video-unreadable", "front"),
    "a version to come": (lambda r: info(r, lambda a: a.update(codebase_version="v4.2")), "unknown-version", "v4.2"),
    "info.json cut short": (lambda r: chop(r, "meta/info.json"), "info-unreadable", "info.json"),
    "no fps": (lambda r: info(r, lambda a: a.update(fps=None)), "info-fields", "fps"),
    "a column gone": (lambda r: table(r, DATA, lambda t: t.drop_columns(["next.done"])), "column-missing", "next.done"),
    "a column undeclared": (lambda r: info(r, lambda a: a["features"].pop("next.done")), "column-undeclared", "next.done"),
    "a shape declared wrong": (
        lambda r: info(r, lambda a: a["features"]["action"].update(shape=[3], names=None)),
        "column-width", "action",
    ),
    "a type declared wrong": (
        lambda r: info(r, lambda a: a["features"]["action"].update(dtype="float64")),
        "column-type", "float32",
    ),
    "names too few": (
        lambda r: info(r, lambda a: a["features"]["action"].update(names=["x"])),
        "feature-names", "2 components",
    ),
    "video times not told": (
        lambda r: table(r, EPISODES, lambda t: t.drop_columns([f"videos/{FRONT}/from_timestamp"])), "video-times-missing", FRONT,
    ),
    "video times told wrong": (
        lambda r: table(r, EPISODES, column(f"videos/{FRONT}/to_timestamp", at(1, 9.9))),
        "video-span", "9.9",
    ),
    "rows told wrong": (lambda r: table(r, EPISODES, column("dataset_from_index", at(1, 3))), "episode-span", "episode 1"),
    "tasks gone": (lambda r: (r / "meta/tasks.parquet").unlink(), "tasks-missing", "meta"),
    "a file too many": (lambda r: shutil.copy(r / DATA, r / "data/chunk-000/file-007.parquet"), "unused-file", "file-007"),
}  # fmt: skip


def test_a_clean_set_has_none(clean):
    health = validate(clean)
    assert health.ok and health.summary() == {
        "path": str(clean), "what": "LeRobot", "ok": True, "version": "3.0", "episodes": 5, "frames": 60, "defects": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_each_alone_is_found(root, name):
    plant, kind, word = PLANTED[name]
    plant(root)
    health = validate(root, window=11 if kind == "short-episode" else 9)
    assert {d.kind for d in health.defects} == {kind}, health.defects
    assert any(word in d.where + d.meaning for d in health.defects), health.defects
    assert not health.ok and all(d.meaning.endswith(KINDS[d.kind]) for d in health.defects)


def test_many_at_once_are_all_found(root):
    for name in ("camera file missing", "a NaN action", "task out of range", "frames miscounted", "a time that jumps"):
        PLANTED[name][0](root)
    assert {d.kind for d in validate(root).defects} == {
        "missing-video",
        "not-finite",
        "task-index",
        "frame-count",
        "timestamps",
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.data())
def test_nothing_makes_it_crash(clean, tmp_path, draw):
    """Any value in info.json, any bytes in any file: an answer, and one that says that something is wrong where a table was cut short."""
    root = tmp_path / "fuzz"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(clean, root)
    about = json.loads((root / "meta/info.json").read_text())
    odd = some.one_of(
        some.none(),
        some.integers(-2, 10**6),
        some.text(max_size=6),
        some.lists(some.integers(), max_size=3),
        some.builds(lambda: {"a": []}),  # a new one each time: the same one within itself is no JSON
    )
    for _ in range(draw.draw(some.integers(0, 3))):
        place = (
            draw.draw(some.sampled_from([about, about["features"], *about["features"].values()]))
            if isinstance(about["features"], dict)
            else about
        )
        if isinstance(place, dict) and place:
            place[draw.draw(some.sampled_from(sorted(place)))] = draw.draw(odd)
            about["features"] = about["features"] if isinstance(about["features"], dict) else {}
    (root / "meta/info.json").write_text(json.dumps(about))
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "info.json" and "truth" not in p.parts)
    path = draw.draw(some.sampled_from(files))
    data = bytearray(path.read_bytes())
    for _ in range(draw.draw(some.integers(0, 4))):
        data[draw.draw(some.integers(0, len(data) - 1))] = draw.draw(some.integers(0, 255))
    keep = draw.draw(some.integers(0, len(data)))
    path.write_bytes(data[: len(data) if keep % 2 else keep])
    health = validate(root)
    assert health.ok == (not health.defects)
    if path.suffix == ".parquet" and not keep % 2 and keep < len(data):
        assert not health.ok


def test_a_quick_look_decodes_nothing_and_still_counts(root, monkeypatch):
    assert validate(root, decode=False).ok
    recode(root, video("front"), slice(0, 25))
    assert {d.kind for d in validate(root, decode=False).defects} == {"video-short"}


def test_what_is_no_data_set_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        validate(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="at least 1"):
        validate(tmp_path, window=0)


@with_samples
@pytest.mark.parametrize(
    "name", ["lerobot_v3_reference", "lerobot/bridge_debug_64", "lerobot/language_table_1ep", "lerobot/metaworld_demos_64"]
)
def test_what_others_wrote_is_clean(name):
    assert validate(SHARED / name).defects == ()


@with_samples
def test_cameras_swapped_without_statistics(tmp_path):
    """Bridge carries none of its pictures: one episode's views look like the others' views of the other camera."""
    root = Path(shutil.copytree(SHARED / "lerobot" / "bridge_debug_64", tmp_path / "set"))
    swap(root, *(f"videos/chunk-000/observation.images.image_{c}/episode_000004.mp4" for c in (0, 2)))
    (root / "data/chunk-000/episode_000007.parquet").write_bytes(b"PAR1")
    kinds = {d.kind: d.where for d in validate(root).defects}
    assert (
        set(kinds) == {"swapped-cameras", "table-unreadable"} and "image_0 and image_2, episode 4" in kinds["swapped-cameras"]
    )
