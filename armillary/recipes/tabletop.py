"""Runs on recorded tabletop episodes: 64 pixels, 10 frames a second, two-dimensional pushes. Each ends as weights that step on a laptop."""

from __future__ import annotations

import dataclasses
from typing import Any

from armillary.data import EpisodesConfig, LatentsConfig, MixtureConfig
from armillary.train import OptimConfig, RunConfig, TokenizerRun, WorldRun

SIZE = (64, 64)


def frame_c8(data: str, *, steps: int = 12000, batch: int = 16, start: str = "", threads: int = 0) -> RunConfig:
    """Each frame alone, 8 x 8 cells of 16 channels: the tokenizer of a world that is stepped live. At most 0.5 core-seconds a step.

    Args:
        data: a LeRobot dataset (`armillary sim record tabletop`).
        start: weights to go on from.
    """
    return RunConfig(
        name="frame-c8-tabletop",
        model=TokenizerRun(size="" if start else "frame-c8", start=start),
        # Single frames from many episodes: they differ more than neighbours do, and one camera over one table makes their mean the scene,
        # which is what the loss tells moving things from.
        data=EpisodesConfig(data, frames=1, size=SIZE),
        optim=OptimConfig(lr=2e-3, betas=(0.9, 0.99), warmup=100, weight_decay=0.0),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=50,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def video_d4x8x8(data: str, *, steps: int = 4000, batch: int = 8, start: str = "", threads: int = 0) -> RunConfig:
    """Causal video, four frames a latent, 1000 codes: the tokenizer of an autoregressive world. About 1.2 core-seconds a step.

    Args:
        data: a LeRobot dataset.
        start: weights to go on from.
    """
    return RunConfig(
        name="video-d4x8x8-tabletop",
        model=TokenizerRun(size="" if start else "video-d4x8x8", start=start),
        data=EpisodesConfig(data, frames=9, size=SIZE, focus=0.3),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.99), warmup=200, weight_decay=0.0),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=50,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def unet(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 16000,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """The live world: a convolutional U-Net that dreams one frame from the last four, three older ones, the action and the instruction, in
    one evaluation.

    Half of the windows are those with most contact, and from 30 % of the run on half of the steps learn from the world's own dreams:
    both are what keeps pushed objects from dissolving. The older frames, up to 24 back, are what it remembers of things that the arm
    covers. About 0.45 core-seconds a step.

    Args:
        data: a LeRobot dataset of episodes of 33 frames or more (`armillary sim record tabletop --frames 97`).
        tokenizer: a continuous one whose frames stand alone (what `frame-c8-tabletop` makes).
        start: a world to go on from.
        cache: folder for encoded data.
    """
    base = brief(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    assert isinstance(base.model, WorldRun)
    model = dataclasses.replace(base.model, size="" if start else "unet-live")
    return dataclasses.replace(base, model=model, data=_read(base, frames=33))


def _read(base: RunConfig, **otherwise: Any) -> LatentsConfig:
    """The latents of `base`, its episodes read otherwise."""
    assert isinstance(base.data, LatentsConfig) and isinstance(base.data.source, EpisodesConfig)
    return dataclasses.replace(base.data, source=dataclasses.replace(base.data.source, **otherwise))


def brief(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 3000,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """`unet` without a memory, smaller, from windows of nine frames: what other recipes of stepping worlds begin with. About 0.3
    core-seconds a step, more once it pushes forward."""
    return RunConfig(
        name="unet-tabletop",
        model=WorldRun(size="" if start else "unet-nano", start=start, unroll_prob=0.5, unroll_from=0.3),
        data=LatentsConfig(EpisodesConfig(data, frames=9, size=SIZE), tokenizer=tokenizer, text="hash", focus=0.5, cache=cache),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.99), warmup=300, weight_decay=0.01),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=100,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def unet_words(
    data: str,
    *,
    more: str = "",
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 14000,
    batch: int = 32,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A painter: the first frame from a sentence alone, in some 18 evaluations; what it paints another world goes on from.

    Wants scenes that differ in how many things there are (`armillary sim record tabletop-few`), whose captions it reads in many wordings
    through the shipped text encoder. The whole network is given to the one task and noise is answered as EDM does: trained beside the next
    frame, with that one's objective, it painted smears. About 0.35 core-seconds a step.

    Args:
        data: a LeRobot dataset.
        more: another one, for half of the rows: many scenes of two frames cost a tenth of what whole episodes do.
        tokenizer: a continuous one whose frames stand alone.
        start: a world to go on from.
        cache: folder for encoded data.
    """
    base = brief(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    assert isinstance(base.model, WorldRun)
    how: dict[str, Any] = {"frames": 2, "said": "caption", "retold": 2}
    latents, other = (dataclasses.replace(_read(base, path=p, **how), text="small", focus=0.0) for p in (data, more))
    return dataclasses.replace(
        base,
        name="unet-tabletop-words",
        model=dataclasses.replace(base.model, size="" if start else "unet-painter", unroll_prob=0.0),
        data=MixtureConfig((latents, other), (1.0, 1.0)) if more else latents,
    )


def dit_causal(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    steps: int = 8000,
    batch: int = 8,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """The causal transformer: a live world that keeps what it has read, from clips of 16 frames, each at a noise level of its own.

    Four cells make a token, 16 tokens a frame: attention to seven frames then costs what a laptop trains. All 16 frames of a clip are
    learned from at once, so that a batch holds fewer clips. About 0.9 core-seconds a step.

    Args:
        data: a LeRobot dataset of episodes of 16 frames or more.
        tokenizer: a continuous one whose frames stand alone.
        start: a world to go on from.
        cache: folder for encoded data.
    """
    base = brief(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    model = WorldRun(size="" if start else "dit-nano-causal", start=start, overrides=() if start else ("network.patch=2",))
    return dataclasses.replace(base, name="dit-tabletop-causal", model=model, data=_read(base, frames=16))


def ar(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    steps: int = 4000,
    batch: int = 8,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """The autoregressive world: a small transformer over video tokens (5 latent frames of 8 x 8), steered by text.

    It watches: actions are left out, so that clips without them can train it further. About 1.2 core-seconds a step.

    Args:
        data: a LeRobot dataset.
        tokenizer: a discrete video one (what `video-d4x8x8-tabletop` makes).
        start: a world to go on from.
        cache: folder for encoded data.
    """
    return RunConfig(
        name="ar-tabletop",
        model=WorldRun(size="" if start else "ar-nano", start=start),
        data=LatentsConfig(
            EpisodesConfig(data, frames=17, size=SIZE, actions=False), tokenizer=tokenizer, text="hash", focus=0.3, cache=cache
        ),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.95), warmup=300, weight_decay=0.1),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=100,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def ar_steered(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    steps: int = 6000,
    batch: int = 8,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """The autoregressive world that is steered: as `ar`, told an action for every frame. About 1.2 core-seconds a step.

    What the arm will do nobody can guess from pictures, and a world that guesses cannot beat one that repeats; told the actions it can.

    Args:
        data: a LeRobot dataset, of some hundred thousand frames: 17,000 are learned by heart.
        tokenizer: a discrete video one (what `video-d4x8x8-tabletop` makes).
        start: a world to go on from.
        cache: folder for encoded data.
    """
    base = ar(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    return dataclasses.replace(base, name="ar-tabletop-steered", data=_read(base, actions=True))


def shorter(config: RunConfig, name: str, steps: int) -> RunConfig:
    """The same run in a fraction of the time: enough to see that it learns, not enough to be good."""
    return dataclasses.replace(
        config,
        name=name,
        steps=steps,
        ema=0.99,
        log_every=max(1, steps // 30),
        save_every=max(1, steps // 4),
        eval_every=max(1, steps // 4),
        optim=dataclasses.replace(config.optim, warmup=min(config.optim.warmup, max(20, steps // 10))),
    )


def demo_frame_c8(data: str, *, steps: int = 600, threads: int = 0) -> RunConfig:
    """`frame-c8-tabletop` in a few minutes on two cores."""
    return shorter(frame_c8(data, threads=threads), "demo-frame-c8-tabletop", steps)


def demo_unet(
    data: str, *, tokenizer: str = "frame-c8-tabletop", steps: int = 600, cache: str = "", threads: int = 0
) -> RunConfig:
    """A smaller `unet-tabletop`, without a memory, in a few minutes on two cores."""
    return shorter(brief(data, tokenizer=tokenizer, cache=cache, threads=threads), "demo-unet-tabletop", steps)


def demo_video_d4x8x8(data: str, *, steps: int = 150, threads: int = 0) -> RunConfig:
    """`video-d4x8x8-tabletop` in a few minutes on two cores."""
    return shorter(video_d4x8x8(data, threads=threads), "demo-video-d4x8x8-tabletop", steps)


def demo_ar(
    data: str, *, tokenizer: str = "video-d4x8x8-tabletop", steps: int = 150, cache: str = "", threads: int = 0
) -> RunConfig:
    """`ar-tabletop` in a few minutes on two cores."""
    return shorter(ar(data, tokenizer=tokenizer, cache=cache, threads=threads), "demo-ar-tabletop", steps)
