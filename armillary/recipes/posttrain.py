"""Post-training: a base world, a task, a dataset. Also bases for the simulators' tasks: worlds that watch, without actions or text.

`armillary posttrain TASK` picks batch, precision and memory for the machine and judges the result; these functions say what is learned.
The published action run takes 2,000 steps at a rate of 4e-4 (section 6.2 of the paper, NVIDIA's code); so do these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from armillary.data import EpisodesConfig, LatentsConfig, PosedConfig
from armillary.recipes import driving, tabletop
from armillary.train import OptimConfig, RunConfig
from armillary.train.posttrained import PosttrainRun, open_base
from armillary.worlds import World
from armillary.worlds.autoregressive.world import AutoregressiveConfig

STEPS = 2000
AHEAD = 5  # latent frames after the past that a window of a stepping world shows, as in `unet-tabletop`


def window(world: World, longest: int = 0) -> int:
    """Frames of a training window for a base: as it was trained, or fewer where the data's episodes are shorter (`longest`, 0 for any)."""
    config, k = world.config, world.tokenizer.temporal
    if isinstance(config, AutoregressiveConfig):
        latents = config.frames
    else:
        latents = config.clip if hasattr(config.network, "patch") else config.reach + AHEAD
    frames = 1 + k * (latents - 1)
    return frames if not longest else min(frames, 1 + k * max(1, (longest - 1) // k))


def run(
    task: str,
    source: EpisodesConfig | PosedConfig,
    world: World,
    start: str,
    *,
    lora: int,
    steps: int,
    batch: int,
    cache: str,
    threads: int,
) -> RunConfig:
    """The config that all tasks share. Args: world: the loaded base, `start`: its name."""
    unrolls = hasattr(world, "unroll_prob")
    return RunConfig(
        name=f"posttrain-{task}",
        model=PosttrainRun(task, start, lora, 0.5 if unrolls else 0.0),
        data=LatentsConfig(source, tokenizer=world.tokenizer.name, text=world.setting.text, cache=cache),
        optim=OptimConfig(
            lr=1e-3 if lora else 4e-4, betas=(0.9, 0.99), warmup=min(100, max(1, steps // 10)), weight_decay=0.01
        ),
        steps=steps,
        batch=batch,
        ema=0.995,
        log_every=max(1, min(50, steps // 20)),
        save_every=max(1, min(250, steps // 4)),
        eval_every=max(1, steps // 4),
        threads=threads,
    )


def action(
    data: str,
    *,
    start: str,
    lora: int = 0,
    steps: int = STEPS,
    batch: int = 16,
    camera: str = "",
    held_out: float = 0.1,
    longest: int = 0,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """Frames from actions.

    Args:
        data: a LeRobot dataset. start: the base. lora: rank of adapters, 0 for all weights.
        camera: of the data, its first when empty. longest: frames of the data's episodes, where windows might be longer.
    """
    world = open_base(start)
    source = EpisodesConfig(data, camera, window(world, longest), world.tokenizer.size, held_out)
    made = run("action", source, world, start, lora=lora, steps=steps, batch=batch, cache=cache, threads=threads)
    assert isinstance(made.data, LatentsConfig)
    return dataclasses.replace(made, data=dataclasses.replace(made.data, focus=0.3))


def camera(
    data: str,
    *,
    start: str,
    lora: int = 0,
    steps: int = STEPS,
    batch: int = 16,
    camera: str = "",
    held_out: float = 0.1,
    longest: int = 0,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """Frames along a camera's path. `data`: posed video (docs/data-posed.md); the rest as in `action`."""
    world = open_base(start)
    source = PosedConfig(data, camera, window(world, longest), world.tokenizer.size, world.setting.fps, held_out=held_out)
    return run("camera", source, world, start, lora=lora, steps=steps, batch=batch, cache=cache, threads=threads)


def instruction(
    data: str,
    *,
    start: str,
    lora: int = 0,
    steps: int = STEPS,
    batch: int = 16,
    camera: str = "",
    held_out: float = 0.1,
    longest: int = 0,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """Frames from a sentence, which is read by the base's encoder or, where it reads none, by `hash`. Arguments as in `action`.

    A base that takes actions gets a hand that chooses them. Without `lora` the hand alone learns, at a rate of its own."""
    world = open_base(start)
    acts = world.action_spec is not None
    source = EpisodesConfig(
        data, camera, window(world, longest), world.tokenizer.size, held_out, actions=acts, said="instruction"
    )
    made = run("instruction", source, world, start, lora=lora, steps=steps, batch=batch, cache=cache, threads=threads)
    assert isinstance(made.data, LatentsConfig)
    made = dataclasses.replace(made, data=dataclasses.replace(made.data, text=world.setting.text or "hash", focus=0.3))
    if not acts:
        return made
    return dataclasses.replace(made, optim=dataclasses.replace(made.optim, lr=1e-3), ema=0.999)


# A task of post-training -> its config. A new one is a line here, in `train.posttrained.TASKS` and in `verbs._posttrain_judge.JUDGES`.
POSTTRAIN: dict[str, Callable[..., RunConfig]] = {
    "camera": camera,
    "action": action,
    "instruction": instruction,
    "driving": driving.driving,
}


# Bases ----------------------------------------------------------------------------------------------------------------------------


def frame_c8_rooms(data: str, *, steps: int = 4000, start: str = "", threads: int = 0) -> RunConfig:
    """The tokenizer of rooms: about 0.5 core-seconds a step.

    Args:
        data: `armillary sim record rooms`; start: a tokenizer of single frames to go on from (`frame-c8-tabletop`, which saves half).
    """
    base = tabletop.frame_c8(data, steps=steps, start=start, threads=threads)
    return dataclasses.replace(base, name="frame-c8-rooms", optim=dataclasses.replace(base.optim, lr=1e-3))


def watch(
    name: str, data: str, tokenizer: str, text: str, steps: int, batch: int, start: str, cache: str, threads: int
) -> RunConfig:
    """A live world that takes no actions: a base to be post-trained."""
    base = tabletop.brief(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    assert isinstance(base.data, LatentsConfig) and isinstance(base.data.source, EpisodesConfig)
    source = dataclasses.replace(base.data.source, actions=False)
    return dataclasses.replace(base, name=name, data=dataclasses.replace(base.data, source=source, text=text))


def unet_rooms(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 2500,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A world that drifts through rooms on its own, the base of camera control. About 0.35 core-seconds a step.

    Args:
        data: `armillary sim record rooms --policy joystick`; tokenizer: what `frame-c8-rooms` made.
    """
    return watch("unet-rooms", data, tokenizer, "", steps, batch, start, cache, threads)


def unet_tabletop_watch(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 2500,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A world that watches a tabletop, without actions or text: the base of action and of instruction. About 0.35 core-seconds a step.

    Args:
        data: `armillary sim record tabletop`; tokenizer: what `frame-c8-tabletop` made.
    """
    return watch("unet-tabletop-watch", data, tokenizer, "", steps, batch, start, cache, threads)
