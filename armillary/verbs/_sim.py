"""`armillary sim record`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def sim_record(
    world: str = "tabletop",
    /,
    *,
    episodes: int = 20,
    out: Path = Path("episodes"),
    seed: int = 0,
    frames: int = 33,
    policy: str = "",
    cameras: tuple[str, ...] = (),
    size: int = 128,
    workers: int | None = None,
) -> dict[str, Any]:
    """Record episodes of an exact simulator as a LeRobot v3 dataset.

    The result depends on the seed alone, not on the number of workers; an interrupted recording goes on where it was.

    Example: armillary sim record tabletop --episodes 50 --out episodes

    Args:
        world: a name in `sims.SIMS`.
        episodes: how many in all.
        out: the dataset's folder.
        seed: of the first episode; the others follow.
        frames: of each episode.
        policy: one of the simulator's own (tabletop: `mix`, `expert`, `play`; tabletop-gripper, also `-joints`: `mix`, `expert`,
            `play`, `noise`; physics: `watch`; rooms: `wander`, `joystick`; driving: `cruise`, `swerve`); empty: the first.
        cameras: which to render; none named: the first one (rooms: `eye`, all others: `front`).
        size: pixels a side.
        workers: processes; one per core by default.
    """
    import time

    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.data.record import record

    began = time.monotonic()
    folder = record(world, out, episodes, seed=seed, frames=frames, policy=policy, cameras=cameras, size=size, workers=workers)
    made = LeRobotDataset(folder)
    return {
        "out": str(folder),
        "world": world,
        "episodes": len(made),
        "frames": len(made) * frames,
        "cameras": list(made.cameras),
        "fps": made.fps,
        "seconds": round(time.monotonic() - began, 2),
    }


sim = sim_record
