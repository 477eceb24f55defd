"""`armillary eval control`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def eval_control(
    *,
    world: str,
    data: Path,
    task: str = "",
    base: str = "",
    camera: str = "",
    held_out: float = 0.0,
    episodes: int = 24,
    steps: int = 16,
    seed: int = 0,
    out: Path | None = None,
) -> tuple[dict[str, Any], int]:
    """Does a world do what it is told: by actions, by a camera's path, by a sentence? What `armillary posttrain` ends with.

    A world that does not is ACTION-BLIND, CAMERA-BLIND, TEXT-BLIND or TRAJECTORY-BLIND, and the exit code is 1.

    Example: armillary eval control --world tabletop --data held-out --json

    Args:
        world: a shipped name or a checkpoint folder.
        data: episodes that the world was not trained on: a LeRobot dataset, for a camera any posed video.
        task: camera, action, instruction or driving; empty for what the world was post-trained for, or else for action where it takes some.
        base: a world to stand beside it as what it began from; empty for the one its checkpoint names.
        camera: of the dataset; its first when empty.
        held_out: judge on this share of the episodes alone, chosen as in training; 0 for all of them.
        episodes: at most so many.
        steps: frames to dream.
        seed: of the dreams.
        out: a file for the result, as JSON.
    """
    from armillary.data import DrivingConfig, EpisodesConfig, PosedConfig
    from armillary.rollout.dreamer import Dreamer
    from armillary.rollout.posttrained import BLIND, beside
    from armillary.store import find_weights, read_json, write_json
    from armillary.verbs._posttrain import judged
    from armillary.verbs._posttrain_judge import JUDGES

    if not data.is_dir():
        raise BadInput(f"--data {data} is no folder.")
    if not 0 <= held_out < 1 or episodes < 2 or steps < 1:
        raise BadInput(
            f"--held-out is a share in [0, 1), --episodes at least 2, --steps at least 1; got {held_out}, {episodes}, {steps}."
        )
    path = find_weights(world, "world")
    record = read_json(path / "config.json")
    dreamer = Dreamer(world)
    acts = dreamer.world.action_spec is not None
    task = task or record.get("task", "") or ("action" if acts else "instruction" if dreamer.encoder is not None else "")
    if not task:
        raise BadInput(f"World {world!r} takes no actions, no text and no camera's path; there is nothing to control.")
    base = base or (beside(path, record["base"]["name"]) if "base" in record else "")
    size, past = dreamer.size, int(getattr(dreamer.world.config, "past", 1))
    frames = 1 + dreamer.temporal * past
    source: Any
    if task == "camera":
        source = PosedConfig(str(data), camera, frames, size, dreamer.fps, held_out=held_out)
    elif task == "driving":
        source = DrivingConfig(str(data), frames=frames, size=size, held_out=held_out, actions=False)
    else:
        source = EpisodesConfig(str(data), camera, frames, size, held_out, actions=task == "action")
    if task not in JUDGES:
        raise BadInput(f"--task is one of {', '.join(JUDGES)}; got {task!r}.")
    found = {"world": world, "task": task, **judged(task, world, base, source, episodes, steps, seed)}
    if out is not None:
        write_json(out, found)
    return found, int(found["gate"]["verdict"].endswith(BLIND))
