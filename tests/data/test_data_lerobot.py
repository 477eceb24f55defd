"""LeRobot data sets: what others wrote is read, what we write is what others read."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from armillary.data.lerobot import stats as st
from armillary.data.lerobot.read import LeRobotDataset, LeRobotWriter, write_piece
from armillary.errors import BadInput
from armillary.types import ActionSpec, Camera, Episode

pq = pytest.importorskip("pyarrow.parquet")
import av  # noqa: E402
import pyarrow as pa  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
REFERENCE, OLD = SHARED / "lerobot_v3_reference", SHARED / "lerobot"
with_samples = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the sample data sets are not on this machine")

SPEC = ActionSpec(("dx", "dy"), ("m", "m"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0))


def make_episode(seed: int, n: int = 9, cameras=("front", "side"), size: int = 48, truth: bool = True) -> Episode:
    """Frame t of camera c is a flat grey of its own, so that a frame out of place shows."""
    rng = np.random.default_rng(seed)
    level = 40 + 6 * ((np.arange(n) * 5 + 7 * seed) % 30)
    frames = {
        c: np.broadcast_to((level + 3 * k)[:, None, None, None], (n, size, size, 3)).astype(np.uint8)
        for k, c in enumerate(cameras)
    }
    return Episode(
        id=f"made-{seed}",
        fps=10.0,
        frames=frames,
        actions=rng.normal(size=(n, 2)).astype(np.float32),
        states=rng.normal(size=(n, 3)).astype(np.float32),
        spec=SPEC,
        state_names=("a", "b", "c"),
        rewards=rng.normal(size=n).astype(np.float32),
        success=bool(seed % 2),
        instruction=f"do thing {seed % 2}",
        caption=f"Thing {seed} is done, naïvely.",
        cameras=tuple(Camera(c, size, size, np.eye(3), np.broadcast_to(np.eye(4), (n, 4, 4)).copy()) for c in cameras),
        truth={"pose": rng.normal(size=(n, 2, 7)), "touch": rng.random((n, 2)) > 0.5} if truth else {},
    )


def write(folder, seeds, **options):
    with LeRobotWriter(folder, 10.0, SPEC, ("front", "side"), state_names=("a", "b", "c"), **options) as writer:
        for seed in seeds:
            writer.add(make_episode(seed, 5 + seed))
    return LeRobotDataset(folder)


def assert_same(a: Episode, b: Episode):
    for name in ("actions", "states", "rewards"):
        assert (getattr(a, name) == getattr(b, name)).all(), name
    for name in ("id", "fps", "success", "instruction", "caption", "spec", "state_names"):
        assert getattr(a, name) == getattr(b, name), name
    assert set(a.truth) == set(b.truth) and all(
        (a.truth[k] == b.truth[k]).all() and a.truth[k].dtype == b.truth[k].dtype for k in a.truth
    )
    assert [c.name for c in a.cameras] == [c.name for c in b.cameras]
    assert all((x.pose == y.pose).all() and x.width == y.width for x, y in zip(a.cameras, b.cameras))
    for camera in b.frames:
        assert a.frames[camera].shape == b.frames[camera].shape
        assert np.abs(a.frames[camera].astype(int) - b.frames[camera].astype(int)).max() <= 3, camera


# Our own, there and back -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write(tmp_path_factory.mktemp("made") / "set", range(5), batch=2)


def test_there_and_back(made):
    assert len(made) == 5 and made.cameras == ("front", "side") and made.tasks == ("do thing 0", "do thing 1")
    assert made.spec == SPEC and made.fps == 10.0
    for i in (4, 0, 3, 1, 2):
        assert_same(make_episode(i, 5 + i), made.episode(i))
    assert list(made.episode(1, ("side",)).frames) == ["side"] and made.episode(1, ()).frames == {}


def test_layout_is_that_of_v3(made):
    root = made.root
    info = json.loads((root / "meta" / "info.json").read_text())
    assert (
        info["codebase_version"] == "v3.0" and info["total_episodes"] == 5 and info["total_frames"] == 35 and info["fps"] == 10
    )
    files = sorted(p.relative_to(root).as_posix() for p in root.glob("data/**/*.parquet"))
    assert files == [f"data/chunk-000/file-00{k}.parquet" for k in range(3)]
    table = pq.ParquetFile(root / files[0])
    assert table.num_row_groups == 2 and [table.metadata.row_group(g).num_rows for g in range(2)] == [5, 6]
    described = json.loads(table.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert list(described) == table.schema_arrow.names == [k for k, f in info["features"].items() if f["dtype"] != "video"]
    assert str(table.schema_arrow.field("action").type) == "fixed_size_list<element: float>[2]"
    assert (
        table.schema_arrow.field("next.reward").type == pa.float32()
        and table.schema_arrow.field("next.done").type == pa.bool_()
    )
    every = pa.concat_tables([pq.read_table(root / f) for f in files])
    assert every["index"].to_pylist() == list(range(35))
    assert sum(every["next.done"].to_pylist()) == 5
    assert "naïve" in made.episode(0, ()).caption and not list(root.glob("**/.*"))


@with_samples
def test_tables_are_those_of_the_reference(made):
    for name in ("data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"):
        ours, theirs = (pq.read_schema(r / name) for r in (made.root, REFERENCE))
        rename = {"front": "top", "side": "wrist"}
        for field in ours:
            if "next.success" in field.name:
                continue
            other = field.name
            for a, b in rename.items():
                other = other.replace(f"images.{a}", f"images.{b}")
            assert other in theirs.names, field.name
            kind = theirs.field(other).type
            if field.name not in ("observation.state", "__index_level_0__"):
                assert field.type == kind, (field.name, field.type, kind)
    ours, theirs = (json.loads((r / "meta" / "info.json").read_text()) for r in (made.root, REFERENCE))
    assert set(theirs) <= set(ours)
    assert ours["features"]["observation.images.front"].keys() == theirs["features"]["observation.images.top"].keys()
    ours, theirs = (json.loads((r / "meta" / "stats.json").read_text()) for r in (made.root, REFERENCE))
    assert set(ours["action"]) == set(theirs["action"])
    assert np.shape(ours["observation.images.front"]["mean"]) == np.shape(theirs["observation.images.top"]["mean"]) == (3, 1, 1)


def test_threads_that_want_different_files_do_not_close_each_others(made):
    assert len({made.data_path(i) for i in range(len(made.episodes))}) > 1
    wanted = [made.rows(i)["action"] for i in range(len(made.episodes))]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            order = [i % len(wanted) for i in range(1500)]
            for i, rows in zip(order, pool.map(made.rows, order)):
                np.testing.assert_array_equal(rows["action"], wanted[i])
    finally:
        sys.setswitchinterval(usual)


def test_statistics_are_true(made):
    stats = json.loads((made.root / "meta" / "stats.json").read_text())
    actions = np.concatenate([made.episode(i, ()).actions for i in range(5)]).astype(np.float64)
    assert np.allclose(stats["action"]["mean"], actions.mean(0)) and np.allclose(stats["action"]["std"], actions.std(0))
    assert np.allclose(stats["action"]["max"], actions.max(0)) and stats["action"]["count"] == [35]


def test_joined_video_plays_on_without_a_gap(made):
    path = made.root / "videos" / "observation.images.front" / "chunk-000" / "file-000.mp4"
    with av.open(str(path)) as video:
        times = [float(f.time) for f in video.decode(video=0)]
    assert np.allclose(times, np.arange(11) / 10, atol=1e-6)


@pytest.mark.parametrize("codec", ["libsvtav1"])
def test_other_codecs(tmp_path, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    data = LeRobotWriter(tmp_path, 10.0, SPEC, ("front",), state_names=("a", "b", "c"), codec=codec)
    episodes = [make_episode(s, 6, ("front",), 64) for s in range(2)]
    with data as writer:
        for episode in episodes:
            writer.add(episode)
    data = LeRobotDataset(tmp_path)
    assert data.features["observation.images.front"]["info"]["video.codec"] == "av1"
    for i, episode in enumerate(episodes):
        assert_same(episode, data.episode(i))


def test_an_interrupted_writer_is_taken_up(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write(whole, range(5), batch=2)
    with LeRobotWriter(broken, 10.0, SPEC, ("front", "side"), state_names=("a", "b", "c"), batch=2) as first:
        first.add(make_episode(0, 5))
        first.add(make_episode(1, 6))
    assert len(LeRobotDataset(broken)) == 2
    # Killed while it was at it: one whole piece, a half one, half a file, and a piece that had gone into the files already.
    write_piece(broken, 3, make_episode(3, 8))
    (broken / ".pieces" / ".episode_000004.x1.tmp").mkdir(parents=True)
    (broken / ".pieces" / ".episode_000004.x1.tmp" / "front.mp4").write_bytes(b"half")
    (broken / "data" / "chunk-000" / ".file-001.abc.tmp.parquet").write_bytes(b"half")
    write_piece(broken, 0, make_episode(0, 5))
    assert len(LeRobotDataset(broken)) == 2  # readable all the while
    with LeRobotWriter(broken, 10.0, SPEC, ("front", "side"), state_names=("a", "b", "c"), batch=2) as again:
        assert [again.has(i) for i in range(5)] == [True, True, False, True, False]
        for i in (2, 4):
            write_piece(broken, i, make_episode(i, 5 + i))
    for path in sorted(p for p in whole.rglob("*") if p.is_file()):
        assert (broken / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert len(list(broken.rglob("*"))) == len(list(whole.rglob("*")))


def test_a_gap_is_not_papered_over(tmp_path):
    with LeRobotWriter(tmp_path, 10.0, SPEC, ("front", "side"), state_names=("a", "b", "c")) as writer:
        writer.add(make_episode(0))
        write_piece(tmp_path, 2, make_episode(2))
    assert len(LeRobotDataset(tmp_path)) == 1 and (tmp_path / ".pieces" / "episode_000002").is_dir()


def test_writers_refuse_what_does_not_fit(tmp_path, made):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="not begun by this writer"):
        LeRobotWriter(tmp_path / "other", 10.0, SPEC, ("front",))
    with pytest.raises(BadInput, match=r"other settings.*fps"):
        LeRobotWriter(made.root, 12.0, SPEC, ("front", "side"), state_names=("a", "b", "c"))
    with pytest.raises(BadInput, match="codec"):
        LeRobotWriter(tmp_path / "new", 10.0, SPEC, ("front",), codec="mpeg")
    with LeRobotWriter(tmp_path / "set", 10.0, SPEC, ("front",), state_names=("a", "b", "c")) as writer:
        with pytest.raises(BadInput, match="cameras"):
            writer.add(make_episode(0))
        short = make_episode(0, cameras=("front",))
        with pytest.raises(BadInput, match="rows of pose"):
            writer.add(Episode(**{**vars(short), "truth": {"pose": np.zeros((2, 3))}}))
        writer.add(short)
        with pytest.raises(BadInput, match="picture sizes"):
            writer.add(make_episode(1, cameras=("front",), size=32))
        with pytest.raises(BadInput, match="picture sizes"):
            writer.add(Episode(**{**vars(make_episode(1, cameras=("front",))), "rewards": None}))
    assert len(LeRobotDataset(tmp_path / "set")) == 1 and not (tmp_path / "set" / ".pieces").exists()


@settings(max_examples=25, deadline=None)
@given(some.lists(some.integers(1, 9), min_size=1, max_size=5), some.integers(0, 99))
def test_joined_statistics_are_those_of_the_whole(lengths, seed):
    parts = [np.random.default_rng([seed, i]).normal(i, 1 + i, (n, 3)) for i, n in enumerate(lengths)]
    joint, whole = st.joined([st.of_numbers(p) for p in parts]), st.of_numbers(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        assert np.allclose(joint[name], whole[name])
    assert (joint["q10"] <= joint["q90"]).all()


def test_picture_statistics_against_numpy():
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    stats, pixels = st.of_pictures(frames), frames.reshape(-1, 3) / 255
    assert np.allclose(stats["mean"].ravel(), pixels.mean(0)) and np.allclose(stats["std"].ravel(), pixels.std(0))
    assert np.allclose(stats["min"].ravel(), pixels.min(0)) and np.allclose(stats["max"].ravel(), pixels.max(0))
    assert np.allclose(stats["q50"].ravel(), np.quantile(pixels, 0.5, axis=0), atol=0.01)


# What others wrote -----------------------------------------------------------------------------------------------------------------


@with_samples
def test_reference_v3():
    data = LeRobotDataset(REFERENCE)
    assert len(data) == 2 and data.cameras == ("top", "wrist") and data.tasks == ("push the block",)
    table = pq.read_table(REFERENCE / "data" / "chunk-000" / "file-000.parquet").to_pylist()
    videos = {c: decoded(REFERENCE / f"videos/observation.images.{c}/chunk-000/file-000.mp4") for c in data.cameras}
    for i in range(2):
        episode, rows = data.episode(i), table[12 * i : 12 * i + 12]
        assert len(episode) == 12 and episode.instruction == "push the block" and episode.state_names == ("x", "y", "vx", "vy")
        assert np.allclose(episode.actions, [r["action"] for r in rows])
        assert np.allclose(episode.states, [r["observation.state"] for r in rows])
        for camera in data.cameras:
            near = np.abs(episode.frames[camera].astype(int) - videos[camera][12 * i : 12 * i + 12]).mean()
            assert near < 6  # two converters to RGB; a frame of noise out of place would be off by 60
    assert data.spec.names == ("ax", "ay") and data.spec.rate == 10 and data.spec.frame == "unknown"
    assert np.allclose(data.spec.low, [-2.4204068, -1.7384926])


def decoded(path):
    with av.open(str(path)) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)]).astype(int)


@with_samples
@pytest.mark.parametrize(
    "name, episodes, cameras, action, state",
    [("bridge_debug_64", 13, 3, 7, 7), ("metaworld_demos_64", 18, 1, 4, 0), ("language_table_1ep", 1, 1, 2, 0)],
)
def test_v2_samples(name, episodes, cameras, action, state):
    data = LeRobotDataset(OLD / name)
    assert len(data) == episodes and len(data.cameras) == cameras and data.spec.dim == action
    last = data.episode(episodes - 1)
    assert last.actions.shape == (len(last), action) and last.states.shape == (len(last), state)
    assert len(last.frames) == cameras
    for key, frames in zip(data.keys.values(), last.frames.values()):
        path = data.path("video_path", "", data.episodes[-1], "", key)
        assert frames.shape[0] == len(last) and np.abs(frames - decoded(path)).mean() < 6
    assert last.instruction in (*data.tasks, "")


@pytest.fixture
def bent(tmp_path, made):
    """A copy of a v3 set, to be bent out of shape, without what only our reader knows."""
    root = tmp_path / "bent"
    shutil.copytree(made.root, root)
    (root / "meta" / "armillary.json").unlink()
    shutil.rmtree(root / "truth")
    return root


def edit(root, change):
    info = json.loads((root / "meta" / "info.json").read_text())
    change(info)
    (root / "meta" / "info.json").write_text(json.dumps(info))


def edit_tables(root, pattern, change):
    for path in root.glob(pattern):
        pq.write_table(change(pq.read_table(path)), path)


def test_without_our_extras_a_set_is_still_a_set(bent):
    data = LeRobotDataset(bent)
    episode = data.episode(3)
    assert episode.truth == {} and episode.success is True and episode.state_names == ("a", "b", "c")
    assert data.spec.names == ("dx", "dy") and data.spec.units == ("unknown", "unknown") and np.isfinite(data.spec.std).all()


def test_tolerated_deviations(bent):
    other = {"observation.images.front": "observation.image.front", "action": "action.joint_position"}

    def rename(info):
        info["data_path"] = "data/chunk-{episode_chunk:03d}/file-{episode_file:03d}.parquet"
        info["video_path"] = "videos/{video_key}/chunk-{episode_chunk:03d}/file-{episode_file:03d}.mp4"
        info["features"] = {other.get(k, k): f for k, f in info["features"].items()}
        info["features"]["action.gripper"] = {"dtype": "float32", "shape": [], "names": None}
        info["features"]["timestamp"]["dtype"] = "float64"

    def split(table):
        table = table.rename_columns([other.get(n, n) for n in table.column_names])
        table = table.append_column("action.gripper", pa.array(np.arange(len(table)), pa.float32()))
        times = table.column("timestamp").cast(pa.float64())
        return table.set_column(table.column_names.index("timestamp"), "timestamp", times)

    def forget(table):
        table = table.select([n for n in table.column_names if not n.endswith("_timestamp") and not n.startswith("stats/")])
        return table.rename_columns(
            [n.replace("observation.images.front", "observation.image.front") for n in table.column_names]
        )

    edit(bent, rename)
    edit_tables(bent, "data/**/*.parquet", split)
    edit_tables(bent, "meta/episodes/**/*.parquet", forget)
    (bent / "videos" / "observation.images.front").rename(bent / "videos" / "observation.image.front")
    (bent / "meta" / "stats.json").unlink()
    data = LeRobotDataset(bent)
    assert data.cameras == ("front", "side") and data.spec.dim == 3
    for i in range(5):
        want, got = make_episode(i, 5 + i), data.episode(i)
        assert (got.actions[:, :2] == want.actions).all() and got.actions.shape[1] == 3
        for camera in data.cameras:
            assert np.abs(got.frames[camera].astype(int) - want.frames[camera].astype(int)).max() <= 3
    assert data.spec.high[2] == 14  # the longest table has 15 rows


def test_pictures_in_the_table(bent):
    import io

    from PIL import Image

    def png(picture):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        return {"bytes": out.getvalue(), "path": None}

    def add(table):
        cells = [
            png(np.full((8, 8, 3), 5 * k + e, np.uint8))
            for k, e in zip(*(table[c].to_pylist() for c in ("frame_index", "episode_index")))
        ]
        return table.append_column("observation.images.still", pa.array(cells))

    edit_tables(bent, "data/**/*.parquet", add)
    edit(
        bent,
        lambda i: i["features"].update({"observation.images.still": {"dtype": "image", "shape": [8, 8, 3], "names": None}}),
    )
    episode = LeRobotDataset(bent).episode(3, ("still",))
    assert episode.frames["still"].shape == (8, 8, 8, 3) and (episode.frames["still"][:, 0, 0, 0] == 5 * np.arange(8) + 3).all()


def test_what_is_wrong_is_said(bent, tmp_path):
    with pytest.raises(BadInput, match=r"no meta/info\.json"):
        LeRobotDataset(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"Did you mean .*bent"):
        LeRobotDataset(tmp_path)
    data = LeRobotDataset(bent)
    with pytest.raises(BadInput, match="no episode 5"):
        data.episode(5)
    with pytest.raises(BadInput, match="Did you mean 'front'"):
        data.episode(0, ("fron",))
    # A video that ends too soon, one that is missing, a row short, a template that leads out, a version to come.
    video = bent / "videos" / "observation.images.front" / "chunk-000"
    shutil.copy(video / "file-000.mp4", video / "file-001.mp4")
    with pytest.raises(BadInput, match="has no frame"):
        data.episode(3)
    (video / "file-000.mp4").unlink()
    with pytest.raises(BadInput, match="which is not there"):
        data.episode(0)
    edit_tables(bent, "data/**/file-001.parquet", lambda t: t.slice(1))
    with pytest.raises(BadInput, match="has 6 rows; the table of episodes says 7"):
        LeRobotDataset(bent).episode(2)
    edit(bent, lambda i: i.update(data_path="../../{episode_index}.parquet"))
    with pytest.raises(BadInput, match="leads out"):
        LeRobotDataset(bent).episode(0)
    edit(bent, lambda i: i.update(data_path="data/{secret}.parquet"))
    with pytest.raises(BadInput, match="placeholder"):
        LeRobotDataset(bent).episode(0)
    edit(bent, lambda i: i.update(codebase_version="v4.0"))
    with pytest.raises(BadInput, match=r"v4\.0"):
        LeRobotDataset(bent)
