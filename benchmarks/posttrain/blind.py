"""Is a training on meaningless actions caught? Actions of a dataset replaced by noise, then `armillary posttrain action` as ever.

    python benchmarks/posttrain/blind.py --data EPISODES --held HELD --base runs/watch/model [--steps 2500] [--episodes 400] [--save]

The world learns from episodes whose actions were drawn anew, evenly within their bounds, and is then judged twice by the gate: by the
verb itself, on held-out episodes of the same kind (by a probe, for no simulator did what these actions say), and by `armillary eval
control` on true ones that nobody trained on. Beside it the same training on the true actions, which has to pass. Exit code 1 when the
gate is wrong about either, or the training was too short for the true actions to be followed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.lerobot.read import LeRobotDataset
from armillary.data.lerobot.write import LeRobotWriter
from armillary.verbs._eval_control import eval_control
from armillary.verbs._posttrain import posttrain_action


def copied(source: Path, folder: Path, count: int, noise: bool) -> Path:
    """The first `count` episodes, with their own actions or with noise in their place."""
    data = LeRobotDataset(source)
    camera = next(iter(data.cameras))
    spec = data.spec
    rng = np.random.default_rng(0)
    state = data.episode(0, cameras=()).state_names
    with LeRobotWriter(folder, data.fps, spec, (camera,), state_names=state) as writer:
        for i in range(writer.num_episodes, min(count, len(data))):
            episode = data.episode(i, cameras=(camera,))
            if noise:
                drawn = rng.uniform(spec.low, spec.high, episode.actions.shape).astype(np.float32)
                # Not the simulator's episode any more: replayed under these actions it would go elsewhere.
                episode = dataclasses.replace(episode, id=f"noise-{i}", actions=drawn)
            writer.add(episode)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="recorded episodes with actions")
    parser.add_argument("--held", type=Path, required=True, help="others, of seeds that nobody trained on")
    parser.add_argument("--base", required=True, help="a world without actions")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("runs/blind"))
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for arm in ("noise", "true"):
        folder = copied(options.data, options.work / f"{arm}-episodes", options.episodes, arm == "noise")
        told, code = posttrain_action(data=folder, base=options.base, steps=options.steps, out=options.work / arm)
        if told.get("finished") is False:
            raise SystemExit("Stopped; the same command goes on.")
        judged, later = eval_control(world=told["world"], data=options.held)
        figures[arm] = {
            "own gate": {"verdict": told["gate"]["verdict"], "exit": code},
            "on true episodes": {"verdict": judged["gate"]["verdict"], "exit": later, **_short(judged["gate"]["figures"])},
            "psnr over shuffled": judged["evaluation"]["psnr_over_shuffled"],
        }
    print(json.dumps(figures, indent=1))
    if options.save:
        path = Path(__file__).parent / f"blind-{datetime.date.today().isoformat()}.json"
        about = {"steps": options.steps, "episodes": options.episodes}
        path.write_text(json.dumps(about | figures, indent=1) + "\n")
    caught = figures["noise"]["on true episodes"]["exit"] == 1
    sys.exit(int(not caught or figures["true"]["on true episodes"]["verdict"] != "FOLLOWS ACTIONS"))


def _short(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("why", "difference", "follows") if name in found}


if __name__ == "__main__":
    main()
