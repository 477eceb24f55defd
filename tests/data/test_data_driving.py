"""Drives with six cameras: what a simulator knows survives both layouts, and a camera that is missing, swapped or late is named."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")
pytest.importorskip("pyarrow")

from armillary import media, sims, tokenizers
from armillary.data import VIEWS, DrivingConfig, LatentsConfig, write_drive
from armillary.data.driving.folder import bearing
from armillary.data.driving.write import ego_poses, trajectories
from armillary.data.record import record
from armillary.errors import BadInput
from armillary.media import to_tensor
from armillary.sims import optics
from armillary.sims.driving import MOUNTS, trajectory
from armillary.types import Camera

FRAMES, SIZE, OUT = 8, 48, (24, 32)


@pytest.fixture(scope="module")
def drives():
    sim = sims.make("driving", smooth=False)
    return [sims.record_episode(sim, seed, "swerve", FRAMES, VIEWS, SIZE) for seed in (3, 4)]


@pytest.fixture(scope="module")
def folders(drives, tmp_path_factory):
    root = tmp_path_factory.mktemp("drives")
    for episode in drives:
        write_drive(root / episode.id, episode, ego_poses(episode.truth["ego"]), crf=8)
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded")
    return record("driving", root / "set", 2, seed=3, frames=FRAMES, policy="swerve", cameras=VIEWS, size=SIZE, workers=1)


@pytest.fixture
def copy(folders, tmp_path):
    """Both drives, to be spoilt; the first of them."""
    shutil.copytree(folders, tmp_path / "drives")
    return tmp_path / "drives" / "driving-000003"


def config(root, **more):
    return DrivingConfig(str(root), **{"frames": 5, "size": OUT, "held_out": 0.0, **more})


@pytest.mark.parametrize("layout", ["folders", "recorded"])
def test_everything_comes_back(layout, drives, request):
    data = config(request.getfixturevalue(layout)).build()
    assert data.views == 6 and data.fps == 10.0 and data.spec.names == ("steer_left", "accelerate")
    for entry, episode in zip(data.entries, drives):
        ego = ego_poses(episode.truth["ego"])
        for view, camera, true in zip(VIEWS, entry.cameras, episode.cameras):
            assert camera.name == view == true.name
            np.testing.assert_allclose(camera.pose, true.pose, atol=1e-6)
            np.testing.assert_allclose(
                np.linalg.inv(ego) @ camera.pose, np.broadcast_to(np.linalg.inv(ego[0]) @ true.pose[0], (8, 4, 4)), atol=1e-6
            )
            # 48 x 48 cropped to 36 x 48 and made smaller by 2/3
            scale = np.diag([2 / 3, 2 / 3, 1.0]) @ np.array([[1, 0, 0], [0, 1, -6.0], [0, 0, 1]])
            np.testing.assert_allclose(camera.intrinsics, scale @ true.intrinsics, atol=1e-6)
        np.testing.assert_array_equal(entry.actions, episode.actions)
        for start in range(FRAMES):
            np.testing.assert_allclose(entry.trajectory[start], trajectory(episode.truth["ego"], start), atol=1e-4)
        assert episode.caption in entry.texts
        assert entry.view_texts == tuple(episode.captions[v] for v in VIEWS) and len(set(entry.view_texts)) == 6
        frames = data.read(entry).reshape(6, FRAMES, *OUT, 3)
        for view, seen in zip(VIEWS, frames):
            difference = np.abs(seen.astype(int) - media.fit(episode.frames[view], OUT).astype(int))
            assert difference.mean() < 6, view


def test_sentences_of_views_survive_a_recording(recorded, drives):
    from armillary.data.lerobot.read import LeRobotDataset

    assert LeRobotDataset(recorded).episode(0, cameras=()).captions == drives[0].captions


def test_a_batch_holds_the_views_on_time(folders):
    data = config(folders).build()
    batch = data.batch(0, 3, 0)
    assert batch.video.shape == (3, 3, 30, 24, 32) and batch.views == 6
    assert (batch.grid.v, batch.grid.t, batch.grid.h, batch.grid.w) == (6, 5, 24, 32)
    assert (
        batch.poses.shape == (3, 30, 4, 4) and batch.intrinsics.shape == (3, 30, 3, 3) and batch.trajectory.shape == (3, 64, 3)
    )
    assert batch.actions.shape == (3, 5, 2) and len(batch.view_text) == 3 and len(batch.view_text[0]) == 6
    torch.testing.assert_close(batch.poses[:, 0], torch.eye(4).expand(3, 4, 4), atol=1e-6, rtol=0)
    for row, key in enumerate(batch.keys):
        name, start = key.split("@")
        entry = next(e for e in data.entries if e.key == name)
        whole = data.read(entry).reshape(6, FRAMES, *OUT, 3)[:, int(start) : int(start) + 5]
        assert torch.equal(batch.video[row], to_tensor(whole.reshape(30, *OUT, 3))[0])
        np.testing.assert_array_equal(batch.trajectory[row], entry.trajectory[int(start)])
    tight = config(folders, memory=0.0).build().batch(0, 3, 0)
    assert torch.equal(batch.video, tight.video) and batch.keys == tight.keys
    fewer = config(folders, views=("rear", "front")).build().batch(0, 3, 0)
    assert torch.equal(fewer.video[:, :, :5], batch.video[:, :, 15:20]) and torch.equal(
        fewer.video[:, :, 5:], batch.video[:, :, :5]
    )


def test_cameras_of_neighbouring_views_agree_about_the_world(folders, drives):
    """A car's place, seen from the front at frame 0, is where the batch's other cameras see it at frame 4: across views and time."""
    batch = config(folders).build().batch(1, 1, 0)
    name, start = batch.keys[0].split("@")
    episode = next(e for e in drives if e.id == name)
    first = episode.cameras[0].pose[int(start)]
    places = np.random.default_rng(0).uniform(-20, 20, (400, 3)) * (1, 1, 0.1) + first[:3, 3]
    inside = 0
    for v in range(6):
        for t in (0, 4):
            true = episode.cameras[v]
            at = optics.project(Camera("", SIZE, SIZE, true.intrinsics, true.pose[int(start) + t]), places)
            k, pose = (x[0, v * 5 + t].double().numpy() for x in (batch.intrinsics, batch.poses))
            ours = optics.project(Camera("", OUT[1], OUT[0], k, first @ pose), places)
            seen = np.isfinite(at).all(1) & (np.abs(at) < 500).all(1)
            inside += int(seen.sum())
            np.testing.assert_allclose(ours[seen], (at[seen] - (0, 6)) * 2 / 3, atol=2e-3)
    assert inside > 500


def test_trajectories_follow_a_curve_at_any_rate():
    """A circle of radius 20 at 5 m/s, from 30 poses a second: every 0.1 s a point of that circle, as seen from the car."""
    t = np.arange(300) / 30
    ego = np.stack([20 * np.sin(t / 4), 20 * (1 - np.cos(t / 4)), t / 4], 1)
    out = trajectories(ego_poses(ego), 30.0)
    s = 0.1 * np.arange(1, 65) / 4
    wanted = np.stack([20 * np.sin(s), 20 * (1 - np.cos(s)), 0 * s], 1)
    assert out.shape == (300, 64, 3) and out.dtype == np.float32
    np.testing.assert_allclose(out[:100], np.broadcast_to(wanted, (100, 64, 3)), atol=1e-3)
    np.testing.assert_allclose(out[-1], 0, atol=1e-6)  # it ended there


def test_bearings():
    for name, (angle, *_) in MOUNTS.items():
        sim = sims.make("driving")
        sim.reset(1)
        rig = np.linalg.inv(ego_poses(sim.ego[None])[0]) @ sim.camera(name, 8).pose
        assert (bearing(rig) - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def edit(folder, change):
    path = folder / "drive.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def swap(table, a, b):
    table[a], table[b] = table[b], table[a]


def swap_files(folder, a, b):
    for was, now in ((a, "x"), (b, a), ("x", b)):
        (folder / f"{was}.mp4").rename(folder / f"{now}.mp4")


def late(folder):
    frames = media.read_video(folder / "rear.mp4").frames
    media.write_video(folder / "rear.mp4", frames[:-1], 10)
    edit(folder, lambda t: t["videos"].clear())


def torn(folder):
    path = folder / "motion.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


SPOILT = {
    "no rear-left video": (lambda f: (f / "rear_left.mp4").unlink(), "lacks rear_left.mp4; there are front.mp4"),
    "no calibration": (lambda f: edit(f, lambda t: t["cameras"].pop("left")), "lacks the calibration of left"),
    "swapped calibration": (lambda f: edit(f, lambda t: swap(t["cameras"], "left", "right")), "left and right|right and left"),
    "swapped front and rear": (lambda f: edit(f, lambda t: swap(t["cameras"], "front", "rear")), "rear and front|front and rear"),
    "swapped neighbours": (
        lambda f: edit(f, lambda t: swap(t["cameras"], "rear", "rear_left")),
        "rear_left looks [+-]180 degrees, where rear belongs",
    ),
    "swapped files": (lambda f: swap_files(f, "left", "right"), "left.mp4 holds what right.mp4 was written as: their files are swapped"),
    "another file": (
        lambda f: media.write_video(f / "rear.mp4", np.zeros((8, 48, 48, 3), np.uint8), 10),
        "rear.mp4 is not the file it was written as",
    ),
    "late": (late, "rear.mp4 has 7 frames, the car 8 poses"),
    "torn": (torn, "motion.safetensors is missing or damaged"),
    "no json": (lambda f: (f / "drive.json").write_text("{"), "not readable JSON"),
    "other version": (lambda f: edit(f, lambda t: t.update(version=2)), "not of format 'armillary-drive', version 1"),
    "other rate": (lambda f: edit(f, lambda t: t.update(fps=12)), "it has 1[02] frames a second, most have 1[02]"),
    "no rotation": (lambda f: edit(f, lambda t: t["cameras"]["rear"].update(rig=np.zeros((4, 4)).tolist())), "is no rotation and shift"),
    "no lens": (lambda f: edit(f, lambda t: t["cameras"]["rear"].pop("intrinsics")), "not complete: 'intrinsics'"),
}  # fmt: skip


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_does_not_fit_is_named_and_the_other_drive_used(copy, spoilt, capsys):
    import re

    change, why = SPOILT[spoilt]
    change(copy)
    data = config(copy.parent).build()
    said = capsys.readouterr().err
    assert "1 of 2 drives are left out" in said and re.search(why, said), said
    assert len(data.entries) == 1 and (spoilt == "other rate" or data.entries[0].key == "driving-000004")
    data.batch(0, 1, 0)


def test_hyphens_and_unknown_views_and_too_few_cameras(copy, tmp_path):
    for name in ("rear_left", "rear_right"):
        (copy / f"{name}.mp4").rename(copy / f"{name.replace('_', '-')}.mp4")
    assert len(config(copy.parent).build().entries) == 2
    with pytest.raises(BadInput, match=r"No view named 'rear-left'\. Did you mean 'rear_left'"):
        config(copy.parent, views=("rear-left",)).build()
    with pytest.raises(BadInput, match="different ones"):
        config(copy.parent, views=("front", "front")).build()
    made = record("driving", tmp_path / "few", 1, frames=2, cameras=("front", "left"), size=16, workers=1)
    with pytest.raises(
        BadInput, match=r"lacks the cameras right, rear, rear_left, rear_right; it has front, left\. Record it with"
    ):
        config(made).build()
    assert config(made, views=("left",), frames=2).build().views == 1
    with pytest.raises(BadInput, match="holds no drives"):
        config(tmp_path / "nothing").build()


def test_the_writer_refuses_what_is_no_drive(drives, tmp_path):
    episode, ego = drives[0], ego_poses(drives[0].truth["ego"])
    without = dataclasses.replace(episode, frames={k: v for k, v in episode.frames.items() if k != "rear"})
    with pytest.raises(BadInput, match="lacks rear;"):
        write_drive(tmp_path / "a", without, ego)
    with pytest.raises(BadInput, match="moves on the car"):
        write_drive(tmp_path / "a", episode, ego[::-1])
    with pytest.raises(BadInput, match="ego poses are"):
        write_drive(tmp_path / "a", episode, ego[1:])
    with pytest.raises(BadInput, match="trajectory is"):
        write_drive(tmp_path / "a", episode, ego, trajectory=np.zeros((8, 10, 3), np.float32))
    assert not list(tmp_path.iterdir())
    longer = np.ones((8, 64, 3), np.float32)
    write_drive(tmp_path / "a", episode, ego, trajectory=longer, source="log 7")
    (entry,) = config(tmp_path).build().entries
    np.testing.assert_array_equal(entry.trajectory, longer)
    assert entry.group == "log 7" and entry.key == "a"


@pytest.mark.parametrize("kind", ["frame", "video"])
def test_latents_of_each_view_are_its_own(folders, tmp_path, kind):
    torch.manual_seed(0)
    shape = {"temporal": 1, "video": False} if kind == "frame" else {"temporal": 4, "levels": (8, 5, 5, 5)}
    small = tokenizers.TokenizerConfig(channels=4, patch=4, width=16, mult=(1, 2), blocks=1, decoder_blocks=1, **shape)
    tokenizers.save(tokenizers.build(small), tmp_path / "tok")
    data = LatentsConfig(config(folders), str(tmp_path / "tok"), cache=str(tmp_path / "cache")).build()
    tokenizer, batch = tokenizers.load(tmp_path / "tok"), data.batch(0, 2, 0)
    seen, each = (batch.latents, 5) if kind == "frame" else (batch.tokens, 2)
    assert (batch.grid.v, batch.grid.t) == (6, each) and batch.poses.shape == (2, 30, 4, 4) and batch.trajectory is not None
    length = data.encoder.length
    assert batch.context.shape == (2, 6 * length, data.text_dim)
    for row, key in enumerate(batch.keys):
        name, start = key.split("@")
        entry = next(e for e in data.source.entries if e.key == name)
        frames = data.source.read(entry).reshape(6, FRAMES, *OUT, 3)[:, int(start) : int(start) + 5]
        for v in range(6):
            said = tokenizer.encode(to_tensor(frames[v]))
            expected = said.values[0] if kind == "frame" else said.ids[0]
            torch.testing.assert_close(seen[row][..., v * each : (v + 1) * each, :, :], expected, rtol=2e-3, atol=2e-3)
            context, mask = data.encoder.encode([entry.view_texts[v]], cut=True)
            assert torch.equal(batch.context[row, v * length : (v + 1) * length], context[0])
            assert torch.equal(batch.context_mask[row, v * length : (v + 1) * length], mask[0])
