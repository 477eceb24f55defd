"""Frames by their times: every sample set against a decode of its files from beginning to end, in any order, at any delta."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armillary.data.lerobot.read import LeRobotDataset, LeRobotWriter
from armillary.data.lerobot.sample import sample
from armillary.errors import BadInput
from armillary.types import ActionSpec, Episode

pytest.importorskip("pyarrow")
import av

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SETS = {
    "v3": SHARED / "lerobot_v3_reference",
    **{p: SHARED / "lerobot" / p for p in ("bridge_debug_64", "language_table_1ep", "metaworld_demos_64")},
}
with_samples = pytest.mark.skipif(not SETS["v3"].is_dir(), reason="the sample data sets are not on this machine")


def decoded(path):
    """Every frame of a file in the order of showing, by PyAV alone."""
    with av.open(str(path)) as video:
        return [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]


@with_samples
@pytest.mark.parametrize("name", SETS)
def test_frames_are_those_of_a_decode_from_beginning_to_end(name):
    data = LeRobotDataset(SETS[name])
    seen: dict[Path, list[np.ndarray]] = {}
    used: dict[Path, int] = {}
    for i in range(min(len(data), 6)):
        for camera in data.cameras:
            path = data.video_path(i, camera)
            whole = seen.setdefault(path, decoded(path))
            first = used.get(path, 0)
            frames = data.episode(i, (camera,)).frames[camera]
            assert (frames == np.stack(whole[first : first + len(frames)])).all(), (i, camera)
            used[path] = first + len(frames)


SPEC = ActionSpec(("x",), ("1",), "world", 10.0, "delta", (-1.0,), (1.0,))


@pytest.fixture(scope="module", params=["libx264", "libsvtav1"])
def made(request, tmp_path_factory):
    if request.param not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {request.param}")
    folder = tmp_path_factory.mktemp("made") / request.param
    with LeRobotWriter(folder, 10.0, SPEC, ("front",), state_names=("s",), codec=request.param) as writer:
        for i, n in enumerate((70, 5, 41)):
            rng = np.random.default_rng(i)
            frames = np.kron(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.ones((1, 8, 8, 1), np.uint8))
            actions = np.arange(n, dtype=np.float32)[:, None] + 100 * i
            writer.add(Episode(f"e{i}", 10.0, {"front": frames}, actions, actions, SPEC, ("s",), instruction="go"))
    return LeRobotDataset(folder)


def test_seeking_gives_the_same_frames_as_reading_on(made):
    whole = decoded(made.video_path(0, "front"))
    starts = np.cumsum([0] + [r["length"] for r in made.episodes])
    rng = np.random.default_rng(0)
    for _ in range(12):
        i = int(rng.integers(3))
        n = made.episodes[i]["length"]
        frame, steps = int(rng.integers(n)), rng.integers(-30, 30, 4)
        got = sample(made, i, frame, {name: (steps / 10).tolist() for name in ("front", "action")})
        at = (frame + steps).clip(0, n - 1)
        assert (got["front"] == np.stack([whole[starts[i] + k] for k in at])).all()
        assert (got["action"][:, 0] == at + 100 * i).all()
        assert (got["front_is_pad"] == (at != frame + steps)).all() and (got["action_is_pad"] == got["front_is_pad"]).all()


def test_what_is_no_delta_is_said(made):
    assert sample(made, 1, 0, {"observation.images.front": (0.0,)})["observation.images.front"].shape == (1, 64, 64, 3)
    with pytest.raises(BadInput, match=r"multiples of 1/fps, 0\.1 s; got 0\.05 s"):
        sample(made, 0, 0, {"front": (0.0, 0.05)})
    with pytest.raises(BadInput, match="frames 0 to 4"):
        sample(made, 1, 5, {"front": (0.0,)})
    with pytest.raises(BadInput, match="Did you mean 'action'"):
        sample(made, 1, 0, {"acton": (0.0,)})
