"""One picture a simulator for docs/simulators.md: a row a seed, an episode from left to right (driving: its six cameras at one moment).

.venv/bin/python tools/contact_sheets.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from armillary import sims
from armillary.sims.experiments import EXPERIMENTS
from armillary.sims.gripper.tasks import TASKS

OUT = Path(__file__).resolve().parents[1] / "docs" / "simulators"
SIZE, COLUMNS = 128, 6


def row(world: str, seed: int, frames: int, policy: str = "", **options: str) -> np.ndarray:
    """uint8 `SIZE  COLUMNS*SIZE  3`."""
    sim = sims.make(world, **options)
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    act = sim.policies[policy or next(iter(sim.policies))]
    shown = []
    for t in range(frames + 1):
        if world == "driving":
            if t == frames:
                shown = list(sim.render(sim.cameras, SIZE).values())
        elif t % max(1, frames // (COLUMNS - 1)) == 0 and len(shown) < COLUMNS:
            shown.append(sim.render(sim.cameras[:1], SIZE)[sim.cameras[0]])
        sim.step(act(sim, rng))
    return np.concatenate(shown[:COLUMNS], 1)


def views(world: str, seed: int, frames: int) -> np.ndarray:
    """All cameras at two moments, side by side: uint8 `SIZE  COLUMNS*SIZE  3`."""
    sim = sims.make(world)
    sim.reset(seed)
    rng = np.random.default_rng(seed)
    shown = []
    for t in range(frames + 1):
        if t in (frames // 2, frames):
            shown += sim.render(sim.cameras, SIZE).values()
        sim.step(sim.policies["expert"](sim, rng))
    return np.concatenate(shown[:COLUMNS], 1)


def main() -> None:
    sheets = {
        "tabletop": [row("tabletop", seed, 30) for seed in range(4)],
        "tabletop-gripper": [
            *(row("tabletop-gripper", seed, 25, "expert", task=task) for seed, task in enumerate(TASKS, 20)),
            views("tabletop-gripper", 20, 20),
        ],
        "physics": [row("physics", 11 + n, 50, experiment=name) for n, name in enumerate(EXPERIMENTS)],
        "rooms": [row("rooms", seed, 50) for seed in (20, 21, 23, 25)],
        "driving": [row("driving", seed, 20) for seed in (0, 3, 4, 5, 7, 9)],
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name, rows in sheets.items():
        Image.fromarray(np.concatenate(rows, 0)).save(OUT / f"{name}.jpg", quality=85)


if __name__ == "__main__":
    main()
