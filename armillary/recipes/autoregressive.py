"""Autoregressive worlds: the published stages, speculative heads, worlds that say blocks, the diffusion decoder, a live small format.

The published run (section 4.2 of the paper, 640 x 1024 pixels) learns 17 frames, then 34 with time stretched by YaRN, then text by
cross-attention that is new, and ends on good data at a rate that falls to zero. Each stretch goes on from the one before (`--start`). The
tokenizer folds eight frames, so 34 frames are 33 here: one and four times eight. These stages ask for GPUs with much memory.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from armillary.data import ClipsConfig, EpisodesConfig, LatentsConfig
from armillary.recipes import tabletop
from armillary.train import OptimConfig, RunConfig, WorldRun
from armillary.train.derived import HeadsRun, RefinerRun
from armillary.worlds.autoregressive.heads import HeadsConfig

Stage = Literal["first", "longer", "text", "cooldown"]

# Released code stretches 12B and 13B this way; frames, rows and columns are those of the first stage.
YARN = 'network.yarn={{"scale": 2.0, "original": [{}, {}, {}]}}'
STEPS: dict[Stage, int] = {"first": 100_000, "longer": 50_000, "text": 50_000, "cooldown": 30_000}
SIZE = (640, 1024)
SHORT, LONG = 17, 33


def stage(
    which: Stage,
    data: str,
    *,
    size: str = "ar-4b",
    tokenizer: str = "dv8x16x16",
    fold: tuple[int, int] = (8, 16),
    pixels: tuple[int, int] = SIZE,
    start: str = "",
    encoder: str = "t5-11b",
    steps: int | None = None,
) -> RunConfig:
    """One stretch of the published training.

    Args:
        data: a folder of clips, with captions for the last two.
        tokenizer: a discrete one that folds `fold` (frames, pixels).
        start: the stage before; without it a run begins from nothing.
        encoder: of text, for the last two.
    """
    short = 1 + (SHORT - 1) // fold[0]
    grown: tuple[str, ...] = (f"frames={short}",)
    if which != "first":
        yarn = YARN.format(short, pixels[0] // fold[1], pixels[1] // fold[1])
        grown = (f"frames={1 + (LONG - 1) // fold[0]}", yarn)
    told = which in ("text", "cooldown")
    # 1e-3 to begin with, a third of that for what goes on from trained weights (SPEC of the released sizes).
    rate = 1e-3 if which == "first" else 3e-4
    return RunConfig(
        name=f"ar-{which}",
        model=WorldRun(size="" if start else size, start=start, overrides=grown),
        data=LatentsConfig(
            ClipsConfig(data, frames=SHORT if which == "first" else LONG, size=pixels, fps=24.0, held_out=0.02),
            tokenizer=tokenizer,
            text=encoder if told else "",
        ),
        optim=OptimConfig(
            lr=rate,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            warmup=0 if which == "cooldown" else 5000,
            schedule="linear" if which == "cooldown" else "constant",
        ),
        steps=STEPS[which] if steps is None else steps,
        batch=8,
        ema=0.9999,
        log_every=100,
        save_every=1000,
        eval_every=5000,
        device="cuda",
        precision="bfloat16",
    )


def first(data: str, *, tokenizer: str = "dv8x16x16", start: str = "", steps: int | None = None) -> RunConfig:
    """The published first stage: 17 frames, of which 16 are predicted. Another size: `--set model.size=ar-12b`.

    Args:
        data: a folder of clips; tokenizer: a discrete one, eight frames and 16 pixels a token.
    """
    return stage("first", data, tokenizer=tokenizer, start=start, steps=steps)


def longer(data: str, *, tokenizer: str = "dv8x16x16", start: str = "", steps: int | None = None) -> RunConfig:
    """The published second stretch: twice the time, its positions stretched by YaRN.

    Args:
        data: a folder of clips; start: what `ar-first` made.
    """
    return stage("longer", data, tokenizer=tokenizer, start=start, steps=steps)


def text(
    data: str, *, tokenizer: str = "dv8x16x16", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """The published second stage: cross-attention is added, silent at first, and text is read.

    Args:
        data: a folder of captioned clips; start: what `ar-longer` made.
        encoder: of text: a T5, a folder of embeddings made by `armillary embed`, or an embedded one.
    """
    return stage("text", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def cooldown(
    data: str, *, tokenizer: str = "dv8x16x16", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """The published end: good data alone, the rate falling linearly to zero over 30,000 steps.

    Args:
        data: a folder of the best clips; start: what `ar-text` made.
    """
    return stage("cooldown", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def live(data: str, *, tokenizer: str = "dv8x16x16", start: str = "", steps: int = 10_000) -> RunConfig:
    """A trained world brought to a small format of one domain: 320 x 512 pixels, 10 frames a second, 80 tokens a frame (paper, 4.3).

    Before it the tokenizer goes on at that format (`dv8x16x16 --start`); after it come heads (`ar-heads`).

    Args:
        data: clips of the domain; tokenizer: the one that went on; start: a world of any format.
    """
    base = stage("first", data, tokenizer=tokenizer, pixels=(320, 512), start=start, steps=steps)
    assert isinstance(base.data, LatentsConfig) and isinstance(base.data.source, ClipsConfig)
    assert isinstance(base.model, WorldRun)
    return dataclasses.replace(
        base,
        name="ar-live",
        # From 3 latent frames to 5: 17 frames of context and 16 to come. Rows and columns are no weights.
        model=dataclasses.replace(base.model, overrides=("frames=5", "height=20", "width=32")),
        data=dataclasses.replace(base.data, source=dataclasses.replace(base.data.source, fps=10.0, frames=LONG)),
        optim=dataclasses.replace(base.optim, lr=3e-4, warmup=500),
    )


def blocks(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    steps: int = 4000,
    batch: int = 8,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """`ar-tabletop-steered` that says two rows of eight tokens at once: a sixteenth of the passes. About 1.2 core-seconds a step.

    Args:
        data: a LeRobot dataset; tokenizer: a discrete video one; cache: folder for encoded data.
        start: a steered world that says single tokens or blocks, to go on from.
    """
    base = tabletop.ar_steered(data, tokenizer=tokenizer, steps=steps, batch=batch, start=start, cache=cache, threads=threads)
    assert isinstance(base.model, WorldRun)
    return dataclasses.replace(
        base, name="ar-tabletop-blocks", model=dataclasses.replace(base.model, overrides=("network.block=16",))
    )


def heads(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    steps: int = 1000,
    batch: int = 8,
    start: str = "runs/ar-tabletop-steered/model",
    count: int = 6,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """Speculative heads of a trained steered world, in a folder of their own. About 1 core-second a step.

    Args:
        data: what the world was trained on; tokenizer: the world's own; start: the world, which says single tokens; count: heads.
        cache: folder for encoded data.
    """
    base = tabletop.ar_steered(data, tokenizer=tokenizer, steps=steps, batch=batch, cache=cache, threads=threads)
    return dataclasses.replace(
        base,
        name="ar-tabletop-heads",
        model=HeadsRun(start, HeadsConfig(count, own=True)),
        optim=dataclasses.replace(base.optim, warmup=50, weight_decay=0.0),
        ema=0.99,
    )


def refine(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    latents: str = "video-c4x8x8-mixed",
    steps: int = 4000,
    batch: int = 8,
    start: str = "",
    threads: int = 0,
) -> RunConfig:
    """The diffusion decoder of the tabletop's tokens: it draws the latents of a continuous tokenizer. About 2 core-seconds a step.

    Args:
        data: a LeRobot dataset; tokenizer: the discrete one; latents: the continuous one, of the same four frames.
        start: a refiner to go on from.
    """
    return RunConfig(
        name="refine-tabletop",
        model=RefinerRun(size="" if start else "refine-nano", start=start, tokens=tokenizer, latents=latents),
        data=EpisodesConfig(data, frames=17, size=tabletop.SIZE, actions=False, focus=0.3),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.99), warmup=200, weight_decay=0.01),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=50,
        save_every=500,
        eval_every=1000,
        threads=threads,
    )


def stream(
    data: str,
    *,
    tokenizer: str = "video-d4x8x8-tabletop",
    latents: str = "frame-c8-tabletop",
    steps: int = 4000,
    batch: int = 8,
    start: str = "",
    threads: int = 0,
) -> RunConfig:
    """A decoder of the tabletop's tokens that goes on from given frames: it draws latents of a continuous tokenizer, four frames at a time.
    About 0.9 core-seconds a step.

    Args:
        data: a LeRobot dataset; tokenizer: the discrete one; latents: the continuous one, of the same four frames or of single ones.
        start: a refiner to go on from.
    """
    base = refine(data, tokenizer=tokenizer, latents=latents, steps=steps, batch=batch, start=start, threads=threads)
    assert isinstance(base.model, RefinerRun)
    return dataclasses.replace(
        base, name="stream-tabletop", model=dataclasses.replace(base.model, size="" if start else "stream-nano")
    )
