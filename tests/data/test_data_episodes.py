"""Episodes from a LeRobot data set, through one camera."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from armillary import media
from armillary.data import EpisodesConfig
from armillary.errors import BadInput
from armillary.types import ActionSpec, Episode

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
SHARED = Path(__file__).resolve().parents[2] / "../shared/data/lerobot"
SPEC = ActionSpec(("x", "y"), ("m/s", "m/s"), "world", 10.0, "delta", (-2.0, -2.0), (2.0, 2.0))


def episode(i):
    rng = np.random.default_rng(i)
    length = 12 if i else 4
    pictures = {c: np.full((length, 32, 48, 3), 20 * k + i, np.uint8) for k, c in enumerate(("front", "side"), 1)}
    for t in range(length):
        pictures["front"][t, :, 8 + t : 16 + t] = 220
    contact = np.zeros((length, 3), bool)
    contact[length // 2, 1] = i % 2 == 1
    return Episode(
        f"e{i}", 10.0, pictures, rng.uniform(-2, 2, (length, 2)).astype(np.float32), np.zeros((length, 1), np.float32), SPEC,
        state_names=("s",), instruction=f"push {i}", caption="a bar moves", truth={"contact": contact},
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    from armillary.data.lerobot.write import LeRobotWriter

    folder = tmp_path_factory.mktemp("set") / "episodes"
    with LeRobotWriter(folder, 10.0, SPEC, ("front", "side"), state_names=("s",)) as writer:
        for i in range(7):
            writer.add(episode(i))
    return folder


def config(root, **more):
    return EpisodesConfig(str(root), **{"frames": 5, "size": (16, 16), "held_out": 0.2, **more})


def test_frames_actions_and_sentences_are_the_episodes(root):
    data = config(root, held_out=0.0).build()
    assert [e.length for e in data.entries] == [12] * 6  # the one of 4 frames holds no window
    for entry in data.entries:
        i = int(entry.key.split("_")[1])
        wanted = episode(i)
        np.testing.assert_allclose(entry.actions, wanted.actions, atol=1e-6)
        assert set(entry.texts) == {f"push {i}", "a bar moves"}
        np.testing.assert_allclose(data.read(entry), media.fit(wanted.frames["front"], (16, 16)), atol=12)
    batch = data.batch(0, 4, 0)
    assert batch.video.shape == (4, 3, 5, 16, 16) and batch.actions.shape == (4, 5, 2)


def test_camera_choice(root):
    assert config(root, camera="side").build().batch(0, 2, 0).video.max() < -0.4
    assert config(root).build().hash != config(root, camera="side").build().hash
    with pytest.raises(BadInput, match=r"no camera 'top'.*front, side"):
        config(root, camera="top").build()


def test_normaliser_comes_from_the_training_episodes_alone(root):
    train, held = config(root).build(), config(root).build("held-out")
    joined = np.concatenate([e.actions for e in train.entries])
    np.testing.assert_allclose(train.spec.mean, joined.mean(0), atol=1e-5)
    np.testing.assert_allclose(train.spec.std, joined.std(0), atol=1e-5)
    assert held.spec == train.spec
    watching = config(root, actions=False).build()
    assert watching.spec is None and watching.batch(0, 2, 0).actions is None


def test_focus_follows_contact(root):
    data = config(root, focus=1.0, held_out=0.0).build()
    keys = {k for step in range(30) for k in data.batch(step, 3, 0).keys}
    for key in keys:
        name, start = key.split("@")
        assert int(name[-1]) % 2 == 1 and int(start) < 6 < int(start) + 5


def test_no_data_set(tmp_path):
    with pytest.raises(BadInput, match="no LeRobot data set"):
        config(tmp_path).build()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(("name", "width"), [("bridge_debug_64", 7), ("metaworld_demos_64", 4), ("language_table_1ep", 2)])
def test_others_data_sets(name, width):
    data = EpisodesConfig(str(SHARED / name), frames=5, size=(32, 32), held_out=0.0).build()
    data = dataclasses.replace(EpisodesConfig(str(SHARED / name), frames=5, size=(32, 32), held_out=0.0), memory=0.1).build()
    batch = data.batch(0, 2, 0)
    assert batch.actions.shape == (2, 5, width) and data.spec.dim == width == len(data.spec.std) and min(data.spec.std) > 0


def test_short_and_broken_episodes_are_named_and_the_others_used(root, tmp_path, capsys):
    whole = config(root, held_out=0.0).build()
    assert "1 episodes are shorter than 5 frames and left out: episode_000000 (4)" in capsys.readouterr().err
    bent = shutil.copytree(root, tmp_path / "bent")
    path = bent / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    actions = table["action"].to_pylist()
    actions[4 + 12] = [float("nan"), 0.0]  # the first row of episode 2
    at = table.column_names.index("action")
    pq.write_table(table.set_column(at, "action", pa.array(actions, table.schema.field(at).type)), path)
    part = config(bent, held_out=0.0).build()
    assert "1 of 7 episodes" in (said := capsys.readouterr().err) and "Episode 2 has actions that are NaN" in said
    assert [e.key for e in part.entries] == [e.key for e in whole.entries if e.key != "episode_000002"]
    assert part.batch(0, 4, 0).actions.isfinite().all()


def test_a_simulators_captions_are_drawn_in_further_wordings(tmp_path):
    from armillary.data.lerobot.write import LeRobotWriter

    caption = "A robot arm on a wooden table pushes the red bar to the left; a blue tee lies nearby."
    with LeRobotWriter(tmp_path / "told", 10.0, SPEC, ("front", "side"), state_names=("s",)) as writer:
        for i in (1, 2):
            writer.add(dataclasses.replace(episode(i), caption=caption if i == 1 else "a bar moves"))
    told, strange = config(tmp_path / "told", held_out=0.0, said="caption", retold=2).build().entries
    assert (
        told.texts[0] == caption
        and len(told.texts) >= 4
        and all("red" in t or "crimson" in t or "ruby" in t for t in told.texts[:2])
    )
    assert strange.texts == ("a bar moves",), "what no simulator wrote stays as it is"


def test_a_split_by_another_name_is_refused(root):
    with pytest.raises(BadInput, match="'train' or 'held-out'; got 'val'"):
        config(root).build("val")
