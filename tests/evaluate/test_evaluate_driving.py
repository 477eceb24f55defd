"""What drives are judged by: exact geometry has no error, wrong cameras do, a way is put together right, and verdicts follow figures."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")

from armillary.errors import BadInput, Failed
from armillary.evaluate import odometry, sampson
from armillary.evaluate.rides import Ride
from armillary.evaluate.trajectory import BLIND, FOLLOWS, OPEN, evaluate_trajectory, judge
from armillary.evaluate.views import across, dream_rides, evaluate_views, strips, temporal
from armillary.types import Camera

SIZE, FPS = 48, 10.0
NAMES = ("front", "left", "right")
BEARINGS = {"front": 0.0, "left": -60.0, "right": 60.0}


def camera_pose(ego: np.ndarray, name: str) -> np.ndarray:
    """Camera-to-world of a camera 1.4 m above the ground, at the car's place (x, y, heading) and 1 m ahead of it."""
    x, y, heading = ego
    look = heading - np.deg2rad(BEARINGS[name])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (np.sin(look), -np.cos(look), 0), (0, 0, -1), (np.cos(look), np.sin(look), 0)
    pose[:3, 3] = x + np.cos(heading), y + np.sin(heading), 1.4
    return pose


def dome(pose: np.ndarray, lens: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth pattern on a round wall 30 m about the origin (far away), and the depth along the axis."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones_like(rows)], -1).reshape(-1, 3) @ np.linalg.inv(lens).T @ pose[:3, :3].T
    o, d = pose[:3, 3], rays / np.linalg.norm(rays, axis=1, keepdims=True)
    b = d @ o
    far = -b + np.sqrt(b * b - o @ o + 900.0)
    at = o + far[:, None] * d
    rng = np.random.default_rng(seed)
    grey = np.zeros(len(at))
    for _ in range(24):
        k, phase = rng.normal(size=3) * 0.5, rng.uniform(0, 6.28)
        grey += np.sin(at @ k + phase)
    picture = np.clip(128 + 22 * grey, 0, 255).astype(np.uint8)
    depth = far * (d @ pose[:3, 2])
    return np.repeat(picture.reshape(SIZE, SIZE, 1), 3, -1), depth.reshape(SIZE, SIZE)


def ride(seed: int = 0, frames: int = 5, speed: float = 0.4, turn: float = 0.02, key: str = "a") -> Ride:
    heading = turn * np.arange(frames + 80)
    ego = np.stack([np.cumsum(speed * np.cos(heading)), np.cumsum(speed * np.sin(heading)), heading], 1)
    ego[:, :2] -= ego[0, :2]
    focal = 0.5 * SIZE / np.tan(np.deg2rad(36))
    lens = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1.0]])
    poses = {n: np.stack([camera_pose(e, n) for e in ego[:frames]]) for n in NAMES}
    cameras = tuple(Camera(n, SIZE, SIZE, lens, poses[n]) for n in NAMES)
    way = np.zeros((frames, 64, 3), np.float32)
    for i in range(frames):
        c, s = np.cos(heading[i]), np.sin(heading[i])
        there = ego[i + 1 : i + 65, :2] - ego[i, :2]
        way[i, :, 0], way[i, :, 1] = there @ (c, s), there @ (-s, c)
    video = np.stack([np.stack([dome(p, lens, seed)[0] for p in poses[n]]) for n in NAMES])
    return Ride(key, video, cameras, way, ("a", "b", "c"), FPS)


@pytest.fixture(scope="module")
def pair() -> list[Ride]:
    return [ride(0), ride(7, speed=0.1, turn=-0.05, key="b")]


def test_exact_matches_have_no_error_and_a_wrong_camera_has(pair):
    r = pair[0]
    one, two = r.at(0, 0), r.at(0, 4)
    depth = [dome(c.pose, c.intrinsics, 0)[1] for c in (one, two)]
    matches = sampson.by_depth(one, depth[0], two, depth[1])
    assert len(matches.first) > 100
    assert sampson.sampson(sampson.fundamental(one, two), matches).max() < 1e-9
    turned = Camera("", SIZE, SIZE, two.intrinsics, r.at(0, 2).pose)
    assert np.median(sampson.sampson(sampson.fundamental(one, turned), matches)) > 0.02
    moved = sampson.Matches(matches.first, matches.second + np.array([0.0, 1.5]))
    error = sampson.sampson(sampson.fundamental(one, two), moved)
    assert 0.2 < np.median(error) < 1.5, "to first order the distance to a pair that fits"


def test_points_are_followed_over_time_and_across_views(pair):
    r = pair[0]
    error = temporal(r.frames, r, 0)
    assert len(error) > 200 and np.median(error) < 0.15
    shared = strips(r)
    assert set(shared) == {(0, 1), (0, 2)}, "left and right do not meet"
    own, agree = across(r.frames, r.frames, r, shared, 0)
    other, chance = across(r.frames, pair[1].frames, r, shared, 0)
    assert len(own) > 20 and np.median(own) < 0.5 and agree > 0.9
    assert len(other) < len(own) and chance < agree - 0.3
    drifted = r.frames.copy()
    drifted[0] = np.roll(drifted[0], 3, axis=1)
    assert across(drifted, drifted, r, shared, 0)[1] < agree


def test_a_way_is_put_together_as_it_was_driven(pair):
    for r in pair:
        path = odometry.path_of(odometry.driven(r))
        first = odometry.body_of(r.at(0, 0).pose)
        true = np.stack([(np.linalg.inv(first) @ r.at(0, i).pose)[:2, 3] for i in range(1, len(r))])
        np.testing.assert_allclose(path, true, atol=1e-9)


def test_a_mirror_exchanges_left_and_right(pair):
    seen = odometry.flows(pair[0].frames)
    assert seen.shape == (4, 3, 8, 8, 3)
    flipped = odometry.flows(pair[0].frames[[0, 2, 1], :, :, ::-1])
    mirror, motion = odometry.mirrored(seen, odometry.driven(pair[0]), NAMES)
    assert np.corrcoef(mirror[..., 0].ravel(), flipped[..., 0].ravel())[0, 1] > 0.9
    assert (motion[:, 2] == -odometry.driven(pair[0])[:, 2]).all()
    assert odometry.mirrored(seen, motion, ("front", "left", "rear")) is None


def test_an_odometer_reads_turns_it_has_not_seen():
    turns = np.linspace(-0.12, 0.12, 9)
    learn = [ride(s, 6, 0.3, t, str(s)) for s, t in enumerate(turns)]
    reader = odometry.Odometer(learn, every=1)
    kept = [ride(31, 5, 0.3, 0.08), ride(32, 5, 0.3, -0.1), ride(33, 5, 0.3, 0.0)]
    assert reader.measure(kept)[2] > 0.8
    with pytest.raises(BadInput, match="read 3 views"):
        reader.read(kept[0].frames[:2])
    with pytest.raises(BadInput, match="pairs of frames to learn from"):
        odometry.Odometer(learn[:1])


def told(ratio, swapped=None, truth=20.0):
    of = lambda x: None if x is None else {"mean": x[1], "low": x[0], "high": x[2], "n": 5}  # noqa: E731
    error = {"truth": {"mean": truth}, "usual": {"mean": 100.0}}
    return {"error_cm": error, "ratio": of(ratio), "swapped_ratio": of(swapped)}


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        (told((0.2, 0.3, 0.4), (0.3, 0.4, 0.6)), FOLLOWS),
        (told((0.9, 1.0, 1.1), (0.9, 1.02, 1.2)), BLIND),
        (told((0.6, 0.7, 0.8)), OPEN),
        (told((0.2, 0.3, 0.4), truth=60.0), OPEN),
        (told((0.2, 0.3, 0.4), (0.6, 0.8, 0.95)), OPEN),
    ],
)
def test_verdicts(metrics, verdict):
    assert judge(metrics)[0] == verdict


class Obedient:
    """Reads a world whose pictures say how fast it goes straight on: what `evaluate_trajectory` makes of dreams is then known."""

    about = "By the colour."

    def way(self, ride, frames, first):
        if frames is ride.frames:  # the truth, whose pictures are none of that world's
            return np.arange(1, 5), odometry.path_of(odometry.driven(ride)[first:])
        steps = frames[0, first + 1 :, 0, 0, 0].astype(float) / 100.0
        return np.arange(1, 5), np.stack([np.cumsum(steps), 0 * steps], 1)


@pytest.mark.parametrize(("obeys", "verdict"), [(True, FOLLOWS), (False, BLIND)])
def test_a_world_that_goes_its_own_way_is_blind(pair, obeys, verdict):
    rides = [ride(i, 5, s, 0.0, str(i)) for i, s in enumerate((0.1, 0.3, 0.5, 0.7, 0.9, 1.1))]

    def dream(given, way, texts, seed):
        speed = way[0, 0] if way is not None and obeys else 0.6 + 0.01 * (seed % 2)
        out = np.zeros((3, 4, SIZE, SIZE, 3), np.uint8)
        out[..., 0] = round(100 * speed)
        return out

    dreamed = dream_rides(dream, rides, past=1, steps=4)
    report = evaluate_trajectory(dreamed, Obedient())
    assert report.metrics["verdict"] == verdict, report.metrics["why"]
    if obeys:
        assert report.metrics["error_cm"]["dream"]["mean"] < 2 < report.metrics["error_cm"]["free"]["mean"]
        assert report.metrics["error_cm"]["swapped"]["mean"] < 2 < report.metrics["error_cm"]["deaf"]["mean"]


def test_a_report_of_views_has_its_floor_and_its_chance(pair):
    def dream(given, way, texts, seed):
        assert texts == ("a", "b", "c") and given.shape == (3, 1, SIZE, SIZE, 3)
        return np.repeat(given, 4, axis=1)

    dreamed = dream_rides(dream, pair, past=1, steps=4, reconstruct=lambda x: x // 2 * 2)
    m = evaluate_views(dreamed).metrics
    assert m["quality"]["dream"] == m["quality"]["copy"] and set(m["quality"]["copy"]) == {*NAMES, "all"}
    assert m["quality"]["reconstruction"]["all"]["psnr"]["mean"] > 45 > m["quality"]["copy"]["all"]["psnr"]["mean"]
    assert m["temporal"]["truth"]["px"]["mean"] < m["temporal"]["dream"]["px"]["mean"], "what stands still does not drive"
    assert m["agreement"]["chance"]["mean"] < m["agreement"]["truth"]["mean"]
    assert m["cross"]["truth"]["matches"] > m["cross"]["chance"]["matches"]


def test_what_is_refused(pair):
    with pytest.raises(BadInput, match="want rides of 9; the shortest of 2 has 5"):
        dream_rides(lambda *_: None, pair, past=1, steps=8)
    with pytest.raises(Failed, match="was asked for uint8"):
        dream_rides(lambda *_: np.zeros((3, 2, SIZE, SIZE, 3), np.uint8), pair, past=1, steps=4)
    with pytest.raises(BadInput, match="nothing to judge"):
        evaluate_trajectory([], Obedient())


def test_a_twin_finds_the_car_in_what_was_recorded(tmp_path):
    """Of recorded frames, which went through a codec, the place is found again; of frames that show another way, that one is."""
    pytest.importorskip("mujoco")
    pytest.importorskip("pyarrow")
    from armillary.data import DrivingConfig
    from armillary.data.record import record
    from armillary.evaluate import rides as drives
    from armillary.evaluate import twin

    views = ("front", "left", "right")
    root = record("driving", tmp_path / "set", 1, seed=7, frames=7, policy="swerve", cameras=views, size=32, workers=1)
    data = DrivingConfig(str(root), views=views, frames=2, size=(32, 32), held_out=0.0, actions=False).build()
    kept = drives.rides(data, 5)[0]
    found = twin.Twins(root)
    at, path = found.way(kept, kept.frames, 0)
    truth = odometry.path_of(odometry.driven(kept))
    assert list(at) == [4] and np.linalg.norm(path[0] - truth[3]) < 0.6
    car = twin.Twin(root, kept)
    other = twin.moved(car.ego[0], 0.5 * float(np.linalg.norm(truth[3])), 0.1)
    elsewhere = kept.frames.copy()
    elsewhere[:, 4] = np.stack([car._put(4, other).render((v,), 32)[v] for v in views])
    place = car.find(elsewhere, 0)[0]
    assert np.linalg.norm(place[:2] - other[:2]) < 0.6 < np.linalg.norm(place[:2] - car.ego[4][:2])
    exact = list(drives.replay(root, kept, 32))
    (one, depth, _), (two, more, _) = exact[0]["front"], exact[0]["left"]
    matches = sampson.by_depth(one, depth, two, more, every=1)
    assert len(matches.first) and sampson.sampson(sampson.fundamental(one, two), matches).max() < 1e-9
    with pytest.raises(BadInput, match="no recorded simulator"):
        twin.Twin(tmp_path, kept)
