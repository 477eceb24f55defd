"""`armillary posttrain`: a finished world, a task and a dataset to a world that does the task, or is marked as one that does not."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.errors import BadInput
from armillary.verbs._posttrain_plan import HELD_OUT, cost, fitted, share_of, size_of

ROWS = 32  # of a batch, at most


def posttrain_action(
    *,
    data: Path,
    base: str,
    lora: int = 0,
    out: Path | None = None,
    steps: int = 2000,
    batch: int = 0,
    camera: str = "",
    episodes: int = HELD_OUT,
    device: str = "",
    cache: str = "",
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
) -> tuple[dict[str, Any], int]:
    """A world that dreams what an action leads to, from recorded episodes with actions.

    Says first what it will cost, goes on where it was stopped, and ends with the action gate: swapped, null, reversed and scaled actions
    must change the future as the simulator says, or on real data a probe that reads actions off frames. A world that ignores them is
    marked ACTION-BLIND in its checkpoint, and the exit code is 1.

    Example: armillary posttrain action --data my-robot --base WORLD --out runs/mine

    Args:
        data: a LeRobot dataset.
        base: the world to go on from, a shipped name or a checkpoint folder. One that takes the same actions already learns on; any other
            gets an action port.
        lora: rank of adapters that are trained instead of all weights; 0 trains those.
        out: the run's folder (runs/posttrain-action by default); the world is in its `model`.
        steps: of training.
        batch: rows in a step; 0 takes what the data and this machine allow.
        camera: of the dataset; its first when empty.
        episodes: held-out ones to judge on, at most.
        device: cpu, cuda, cuda:1 or mps; empty for a GPU if there is one.
        cache: folder for encoded data.
        set: settings to override, as in `armillary train`.
    """
    return posttrain("action", data, base, lora, out, steps, batch, camera, episodes, device, cache, set)


def posttrain_camera(
    *,
    data: Path,
    base: str,
    lora: int = 0,
    out: Path | None = None,
    steps: int = 2000,
    batch: int = 0,
    camera: str = "",
    episodes: int = HELD_OUT,
    device: str = "",
    cache: str = "",
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
) -> tuple[dict[str, Any], int]:
    """A world whose view goes where its camera is sent, from posed video.

    Rays of each frame enter by the channels port. Ends by sending held-out views along their own and along each other's paths and reading
    where they went; a world that goes its own way is marked CAMERA-BLIND, and the exit code is 1.

    Example: armillary posttrain camera --data rooms --base runs/unet-rooms/model --out runs/rooms-camera

    Args:
        data: posed video (docs/data-posed.md): RealEstate10K, `transforms.json`, or a recorded simulator.
        base: the world to go on from, a shipped name or a checkpoint folder; a diffusion world without actions.
        lora: rank of adapters that are trained instead of all weights; 0 trains those.
        out: the run's folder (runs/posttrain-camera by default); the world is in its `model`.
        steps: of training.
        batch: rows in a step; 0 takes what the data and this machine allow.
        camera: of a recorded simulator; its first when empty.
        episodes: held-out clips to judge on, at most.
        device: cpu, cuda, cuda:1 or mps; empty for a GPU if there is one.
        cache: folder for encoded data.
        set: settings to override, as in `armillary train`.
    """
    return posttrain("camera", data, base, lora, out, steps, batch, camera, episodes, device, cache, set)


def posttrain_instruction(
    *,
    data: Path,
    base: str,
    lora: int = 0,
    out: Path | None = None,
    steps: int = 2000,
    batch: int = 0,
    camera: str = "",
    episodes: int = HELD_OUT,
    device: str = "",
    cache: str = "",
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
) -> tuple[dict[str, Any], int]:
    """A world that shows a robot carrying out a sentence, from its present frame.

    A base that takes actions stays as it is and gets a hand that chooses them: what is uncertain is then drawn in a few numbers and the
    picture stays sharp. One that only watches learns to dream from the sentence.

    Ends by telling held-out scenes their own sentence, another one and none: the thing that is named must move. A world that does the same
    whatever it is told is marked TEXT-BLIND, and the exit code is 1.

    Example: armillary posttrain instruction --data episodes --base tabletop --out runs/told

    Args:
        data: a LeRobot dataset whose episodes have instructions or captions.
        base: the world to go on from, a shipped name or a checkpoint folder. A live one that reads text may take actions, the data's.
        lora: rank of adapters that are trained instead of all weights; 0 trains those, or where there is a hand that hand alone.
        out: the run's folder (runs/posttrain-instruction by default); the world is in its `model`.
        steps: of training.
        batch: rows in a step; 0 takes what the data and this machine allow.
        camera: of the dataset; its first when empty.
        episodes: held-out ones to judge on, at most.
        device: cpu, cuda, cuda:1 or mps; empty for a GPU if there is one.
        cache: folder for encoded data.
        set: settings to override, as in `armillary train`.
    """
    return posttrain("instruction", data, base, lora, out, steps, batch, camera, episodes, device, cache, set)


def posttrain(
    task: str,
    data: Path,
    base: str,
    lora: int,
    out: Path | None,
    steps: int,
    batch: int,
    camera: str,
    episodes: int,
    device: str,
    cache: str,
    changes: tuple[str, ...],
) -> tuple[dict[str, Any], int]:
    """What every task does: check, plan, say the cost, train, judge, mark.

    Raises:
        BadInput: data that do not fit the base or the task, before anything is encoded or trained.
    """
    from armillary.presets import override, to_json
    from armillary.progress import say
    from armillary.recipes.posttrain import POSTTRAIN
    from armillary.rollout.posttrained import BLIND, write_card
    from armillary.store import check_writable, read_json, write_json
    from armillary.train import train

    if not data.is_dir():
        raise BadInput(f"--data {data} is no folder.")
    if lora < 0 or steps < 1 or batch < 0 or episodes < 2:
        raise BadInput(
            f"--steps is at least 1, --episodes at least 2, --lora and --batch at least 0; got {steps}, {episodes}, {lora}, {batch}."
        )
    folder = check_writable(out or Path("runs") / f"posttrain-{task}")
    count, longest = size_of(data)
    share = share_of(count) if count else 0.1
    config = POSTTRAIN[task](
        str(data), start=base, lora=lora, steps=steps, batch=ROWS, camera=camera, held_out=share, longest=longest, cache=cache
    )
    config = check(config, base, batch)
    config = override(fitted(config, base, lora, device), changes)
    told = folder / "posttrain.json"
    if not (folder / "result.json").is_file() and not int(os.environ.get("RANK", "0")):
        say(cost(config))
    result = train(config, folder)
    if not result.finished or result.model is None or int(os.environ.get("RANK", "0")):
        return to_json(result), 0
    if told.is_file():
        found = read_json(told)
    else:
        found = judged(task, str(result.model), base, config.data.source, episodes)
        write_card(result.model, {"gate": found["gate"]})
        (result.model / "README.md").write_text(card(task, base, data, config, found), encoding="utf-8")
        write_json(told, found)
    verdict = found["gate"]["verdict"]
    say(f"{verdict}: {found['gate']['figures'].get('why', '')} {told} says more.")
    return {"world": str(result.model), **found}, int(verdict.endswith(BLIND))


def check(config: Any, base: str, batch: int) -> Any:
    """The config with a batch that the data can fill, once data, task and base go together.

    Raises:
        BadInput: they do not, or there are fewer episodes than rows in a batch.
    """
    from armillary.errors import lookup
    from armillary.train.posttrained import TASKS, check_fit, open_base

    world, source = open_base(base), config.data.source
    pixels = source.build("train")
    source.build("held-out")
    check_fit(world, base, pixels)

    class Shown:
        """The data as a task sees them, before a tokenizer has read them."""

        text, text_dim = config.data.text, 0

        def __len__(self) -> int:
            return len(pixels)

        def __getattr__(self, name: str) -> Any:
            return getattr(pixels, name)

    shown = Shown()
    if config.data.text:
        from armillary import text

        encoder = text.load(config.data.text)
        shown.text, shown.text_dim = encoder.name, encoder.dim
    lookup(TASKS, config.model.task, "task")(world, shown)
    episodes = len({e.group for e in pixels.entries})
    if batch and episodes < batch:
        raise BadInput(
            f"{source.path} has {episodes} episodes to train on, fewer than a batch of {batch}; --batch {episodes} would work."
        )
    if episodes < 2:
        raise BadInput(f"{source.path} has {episodes} episode to train on; two at least are wanted.")
    rows = batch or min(ROWS, 1 << (episodes.bit_length() - 1))
    return dataclasses.replace(config, batch=rows)


def judged(task: str, world: str, base: str, source: Any, episodes: int, steps: int = 16, seed: int = 0) -> dict[str, Any]:
    """Gate, evaluation and baseline of a world; see `_posttrain_judge`."""
    from armillary.errors import lookup
    from armillary.presets import to_json
    from armillary.rollout.dreamer import Dreamer
    from armillary.verbs._posttrain_judge import JUDGES, Asked

    found = lookup(JUDGES, task, "task")(Dreamer(world), Asked(source, base, episodes, steps, seed))
    return to_json(found)


def card(task: str, base: str, data: Path, config: Any, found: dict[str, Any]) -> str:
    """The world's card: what it was made of, what the gate found."""
    import platform

    gate, path = found["gate"], Path(base)
    name = path.name if path.name != "model" else path.resolve().parent.name
    trained = f"adapters of rank {config.model.lora}" if config.model.lora else "all weights"
    command = f"armillary posttrain {task} --data {data.name} --base {name}"
    return (
        f"# {task.capitalize()} world, post-trained from `{name}`\n\n"
        f"**{gate['verdict']}**: {gate['figures'].get('why', '')}\n\n"
        f"* `{command}`, {config.steps} steps of {config.batch} rows, {trained}, "
        f"{config.precision} on {config.device} ({platform.machine()}), {time.strftime('%d %B %Y')}.\n"
        f"* Figures on held-out episodes, with baselines: `posttrain.json` beside the run's `config.json`.\n"
    )
