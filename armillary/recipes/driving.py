"""Six cameras on a car: a base world that knows one view, and the same world with all six attached, steered by where the car shall go.

Frames of 64 pixels, ten a second; what is recorded is `armillary sim record driving --policy swerve --cameras front left right rear
rear_left rear_right`, at its usual 128, for what is drawn at 64 flickers. Two kinds of base. The published one denoises clips of 17
frames, five latent ones of 4 x 4 tokens, so that six views are 480 tokens. The live one goes frame by frame; which of them is better has
not been measured.
"""

from __future__ import annotations

import dataclasses

from armillary.data import DrivingConfig, LatentsConfig, MixtureConfig
from armillary.data.driving.dataset import VIEWS
from armillary.errors import BadInput
from armillary.recipes import tabletop
from armillary.recipes.tabletop import shorter
from armillary.train import OptimConfig, RunConfig, WorldRun
from armillary.train.posttrained import PosttrainRun, open_base

SIZE = (64, 64)
FRAMES = 17
TOKENIZER = "video-c4x8x8-mixed"


def base(
    data: str,
    *,
    tokenizer: str = TOKENIZER,
    steps: int = 6000,
    batch: int = 16,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A base for `driving`: the published kind of world on the front camera alone, with what that camera sees in words.

    It is given none, one or five frames. About 0.35 core-seconds a step.

    Args:
        data: drives (a recorded simulator, or folders as in `docs/data-posed.md`).
        tokenizer: a continuous video one.
        start: a world to go on from.
        cache: folder for encoded data.
    """
    overrides = ("network.patch=2", f"clip={1 + (FRAMES - 1) // 4}")
    return RunConfig(
        name="dit-driving",
        model=WorldRun(size="" if start else "dit-nano", start=start, overrides=() if start else overrides),
        data=LatentsConfig(
            # The sentences of a drive's views are longer than `hash` takes, and end by naming the camera.
            DrivingConfig(data, views=("front",), frames=FRAMES, size=SIZE, actions=False),
            tokenizer=tokenizer,
            text="small",
            cache=cache,
        ),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.99), warmup=300, weight_decay=0.01),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=100,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def frame_c8(data: str, *, steps: int = 1500, start: str = "", threads: int = 0) -> RunConfig:
    """The tokenizer of a live base: each frame of each camera alone. About 0.5 core-seconds a step.

    Args:
        data: drives; start: a tokenizer of single frames to go on from (`frame-c8-tabletop`, which saves half).
    """
    base = tabletop.frame_c8(data, steps=steps, start=start, threads=threads)
    return dataclasses.replace(
        base,
        name="frame-c8-driving",
        data=DrivingConfig(data, frames=1, size=SIZE, actions=False),
        # Six pictures of one moment: fewer moments make as many.
        batch=4,
        optim=dataclasses.replace(base.optim, lr=1e-3),
    )


def live(
    data: str,
    *,
    tokenizer: str = "runs/frame-c8-driving/model",
    steps: int = 3000,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A base for `driving` that goes frame by frame: any one of the six cameras, with what it sees in words. About 0.3 core-seconds a step.

    Args:
        data: drives with all six cameras.
        tokenizer: one of single frames (what `frame-c8-driving` makes).
        start: a world to go on from.
        cache: folder for encoded data.
    """
    base = tabletop.brief(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    cameras = tuple(
        LatentsConfig(
            DrivingConfig(data, views=(view,), frames=9, size=SIZE, actions=False),
            tokenizer=tokenizer,
            text="small",
            cache=cache,
        )
        for view in VIEWS
    )
    assert isinstance(base.model, WorldRun)
    # A car's way is some fifteen frames; what goes wrong by the fourth is little of what goes wrong by the last.
    model = base.model if start else dataclasses.replace(base.model, overrides=("unroll=8",))
    return dataclasses.replace(base, name="unet-driving", model=model, data=MixtureConfig(cameras))


def driving(
    data: str,
    *,
    start: str,
    lora: int = 0,
    steps: int = 1500,
    batch: int = 8,
    camera: str = "",
    held_out: float = 0.1,
    longest: int = 0,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """All six views of a base at once: view vectors, attention over all of them, a text for each, and the car's trajectory.

    The trajectory is withheld in a fifth of the rows, so that the world also drives as it likes. About 1.5 core-seconds a step from
    `dit-driving`, 0.5 from `unet-driving`.

    Args:
        data: drives with all six cameras. start: the base, what `dit-driving` or `unet-driving` makes; tokenizer and text are its own.
        lora: rank of adapters that are trained instead of all weights; 0 trains those.
        camera: none; all six are seen. held_out: share of the drives. longest: frames of the drives, where windows might be longer.
        cache: folder for encoded data.

    Raises:
        BadInput: no such base, or a camera is named.
    """
    if camera:
        raise BadInput(f"Driving takes all six cameras at once; leave --camera out (got {camera!r}).")
    world = open_base(start)
    k, clip = world.tokenizer.temporal, getattr(world.config, "clip", 1)
    frames = 1 + k * (clip - 1)
    frames = min(frames, 1 + k * max(1, (longest - 1) // k)) if longest else frames
    source = DrivingConfig(data, frames=frames, size=world.tokenizer.size, held_out=held_out, actions=False)
    return RunConfig(
        name="driving",
        model=PosttrainRun(task="driving", start=start, lora=lora),
        data=LatentsConfig(source, tokenizer=world.tokenizer.name, text=world.setting.text, cache=cache),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.99), warmup=min(100, max(1, steps // 10)), weight_decay=0.01),
        steps=steps,
        batch=batch,
        ema=0.998 if steps >= 500 else 0.98,
        log_every=max(1, min(50, steps // 20)),
        save_every=max(1, min(200, steps // 4)),
        eval_every=max(1, steps // 3),
        eval_batches=2,
        threads=threads,
    )


def demo_base(data: str, *, tokenizer: str = TOKENIZER, steps: int = 300, cache: str = "", threads: int = 0) -> RunConfig:
    """`dit-driving` in a few minutes on two cores."""
    return shorter(base(data, tokenizer=tokenizer, cache=cache, threads=threads), "demo-dit-driving", steps)
