"""One episode of a simulator, with everything it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from armillary.errors import BadInput, lookup
from armillary.sims.base import Sim
from armillary.types import Camera, Episode


def record_episode(
    sim: Sim,
    seed: int,
    policy: str | Callable[[Any, np.random.Generator], np.ndarray],
    frames: int = 33,
    cameras: Sequence[str] = ("front",),
    size: int = 128,
) -> Episode:
    """Act in `sim` from the reset of `seed` on and keep `frames` frames.

    Frame `i`, state `i` and truth `i` are from before action `i`; reward `i` came of action `i`. The action of the last frame is
    taken too, so that all arrays have `frames` rows; what it led to is not seen. The episode does not stop at success.

    Args:
        policy: a name of `sim.policies` (empty: its first), or any `policy(sim, rng) -> action`. Its random numbers come from
            `seed` as well.
        size: pixels a side.

    Returns:
        `success`: whether the task stood solved after any action. `truth`: `Sim.truth` of the first camera at 64 pixels, stacked.

    Raises:
        BadInput: for an unknown policy or camera, or no frames.
    """
    act = lookup(sim.policies, policy or next(iter(sim.policies)), "policy") if isinstance(policy, str) else policy
    cameras = tuple(cameras)
    if frames < 1:
        raise BadInput(f"An episode needs at least 1 frame; got {frames}.")
    if not cameras or len(set(cameras)) < len(cameras):
        raise BadInput(f"An episode wants one or more different cameras of {', '.join(sim.cameras)}; got {list(cameras)}.")
    sim.reset(seed)
    rng = np.random.default_rng([0xAC7, int(seed)])
    seen: dict[str, list[np.ndarray]] = {name: [] for name in cameras}
    views: dict[str, list[Camera]] = {name: [] for name in cameras}
    truth: dict[str, list[np.ndarray]] = {}
    actions, states, rewards, success = [], [], [], False
    for _ in range(frames):
        for name, picture in sim.render(cameras, size).items():
            seen[name].append(picture)
            views[name].append(sim.camera(name, size))
        for key, value in sim.truth(cameras[0]).items():
            truth.setdefault(key, []).append(value)
        states.append(sim.state())
        action = np.clip(np.asarray(act(sim, rng), np.float32), sim.spec.low, sim.spec.high).astype(np.float32)
        reward, solved = sim.step(action)
        actions.append(action)
        rewards.append(reward)
        success |= solved
    return Episode(
        id=f"{sim.name}-{seed:06d}",
        fps=sim.fps,
        frames={name: np.stack(pictures) for name, pictures in seen.items()},
        actions=np.stack(actions),
        states=np.stack(states),
        spec=sim.spec,
        state_names=sim.state_names,
        rewards=np.asarray(rewards, np.float32),
        success=success,
        instruction=sim.instruction,
        caption=sim.caption,
        captions={name: said for name, said in getattr(sim, "captions", {}).items() if name in cameras},
        cameras=tuple(_joined(v) for v in views.values()),
        truth={key: np.stack(values) for key, values in truth.items()},
    )


def _joined(views: Sequence[Camera]) -> Camera:
    """One camera over time: a single pose when it stands still, else `t 4 4`."""
    first, poses = views[0], np.stack([v.pose for v in views])
    still = bool((poses == poses[0]).all())
    return Camera(first.name, first.width, first.height, first.intrinsics, first.pose if still else poses)
