"""Diffusion worlds in the published stages (section 4.1 of the paper): small and short from text, larger and longer, then from video.

    stage     pixels       frames   tokens   from   published, for 64 GPUs
    first     512 x 640      57     10,240   text   weights over 64 processes, frames over 2
    larger    704 x 1280    121     56,320   text   over 64, over 8
    video     704 x 1280    121     56,320   video  the same; one latent frame or two of a clip are given (1 or 9 frames), or none
    cooldown  704 x 1280    121     56,320   video  the best data, some ten thousand steps, the rate linearly to zero

Each goes on from the one before (`--start`). From public digests of the paper: pixels, frames, text before video, rate 2^-15 and decay 0.1
at 7B (2^-16 and 0.2 at 14B), 2,500 steps of warm-up, betas 0.9 and 0.99, eps 1e-10, bfloat16 with weights and their average in float32,
how many processes share what. From released code: that image batches alternate with video, that the text stage leaves the noise level
alone and the video stage multiplies it by the square root of the latent frames, the noise on given frames, an average of the weights.
Ours, for nothing is published: steps of all stages but the last (whose order is), rows of a batch, the decay of the average, rows of an
image batch (as many tokens as one of videos), no images where video is given. Left out: statistics of images apart from those of video, the
factor of ten on the loss, which Adam divides out.

Clips are sorted into five shapes, as published: a batch holds one shape, pictures are shown whole, and what they leave of it is filled with
their mirror image and marked by a plane. Sizes other than that of the table are ours, of about as many tokens. A shape of which the data
have nothing is left out.

These stages ask for many GPUs. `tiny` is the same stage for a network and clips that a laptop trains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from armillary.data import ClipsConfig, LatentsConfig, MixtureConfig
from armillary.parallel.config import ParallelConfig
from armillary.train import OptimConfig, RunConfig, WorldRun

Stage = Literal["first", "larger", "video", "cooldown"]

# Height and width by shape; the published size comes first.
Shapes = Mapping[str, tuple[int, int]]
FIRST: Shapes = {"4x3": (512, 640), "16x9": (432, 768), "1x1": (576, 576), "3x4": (640, 512), "9x16": (768, 432)}
LARGE: Shapes = {"16x9": (704, 1280), "4x3": (816, 1088), "1x1": (944, 944), "3x4": (1088, 816), "9x16": (1280, 704)}
SHORT, LONG = 57, 121
FOLD = 8  # frames in a latent frame of the published tokenizer
STEPS: dict[Stage, int] = {"first": 100_000, "larger": 50_000, "video": 50_000, "cooldown": 10_000}
# Rate and weight decay by size; any other takes those of 7B.
RATES: dict[str, tuple[float, float]] = {"dit-7b": (2.0**-15, 0.1), "dit-14b": (2.0**-16, 0.2)}


def stage(
    which: Stage,
    data: str,
    *,
    size: str = "dit-7b",
    tokenizer: str = "cv8x8x8",
    fold: int = FOLD,
    shapes: Shapes | None = None,
    frames: int | None = None,
    start: str = "",
    encoder: str = "t5-11b",
    steps: int | None = None,
    cache: str = "",
) -> RunConfig:
    """One stage of the published training.

    Args:
        data: a folder of captioned clips.
        size: of the network; with `start` it says the rate alone.
        tokenizer: a continuous one that folds `fold` frames.
        shapes: height and width of each shape of clips, frames: of a clip; the stage's own by default.
        start: the stage before; without it a run begins from nothing.
        encoder: of text: a T5, a folder of embeddings made by `armillary embed`, or an embedded one.
        cache: folder for encoded data.
    """
    told = which in ("first", "larger")
    shapes = shapes or (FIRST if which == "first" else LARGE)
    frames = frames or (SHORT if which == "first" else LONG)
    latents = 1 + (frames - 1) // fold
    asks = f"network.given={str(not told).lower()}", f"objective.by_frames={str(not told).lower()}", f"clip={latents}"
    rate, decay = RATES.get(size, RATES["dit-7b"])
    sources = tuple(
        LatentsConfig(
            ClipsConfig(data, frames=frames, size=pixels, whole=True, aspect=shape, fps=24.0, held_out=0.02),
            tokenizer=tokenizer,
            text=encoder,
            cache=cache,
        )
        for shape, pixels in shapes.items()
    )
    return RunConfig(
        name=f"dit-{which}",
        model=WorldRun(size="" if start else size, start=start, overrides=asks),
        # Where nothing is given a still image is a clip of one latent frame.
        data=MixtureConfig(sources, images=0.5 if told else 0.0, image_rows=latents if told else 1, buckets=True),
        optim=OptimConfig(
            lr=rate,
            betas=(0.9, 0.99),
            eps=1e-10,
            weight_decay=decay,
            warmup=0 if which == "cooldown" else 2500,
            schedule="linear" if which == "cooldown" else "constant",
        ),
        steps=STEPS[which] if steps is None else steps,
        batch=32 if which == "first" else 8,
        ema=0.9999,
        log_every=100,
        save_every=1000,
        eval_every=5000,
        device="cuda",
        precision="bfloat16",
        parallel=ParallelConfig(shard=0, context=2 if which == "first" else 8, checkpointing="selective"),
    )


def first(
    data: str, *, tokenizer: str = "cv8x8x8", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """Text to world, 57 frames at 512 x 640, images and videos by turns. Another size: `--set model.size=dit-2b`.

    Args:
        data: a folder of captioned clips; tokenizer: a continuous one, eight frames and 8 pixels a latent.
        encoder: of text: a T5, a folder of embeddings made by `armillary embed`, or an embedded one.
    """
    return stage("first", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def larger(
    data: str, *, tokenizer: str = "cv8x8x8", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """Text to world, 121 frames at 704 x 1280. Rotary positions let a change of size settle within some 5,000 steps, as published.

    Args:
        data: a folder of captioned clips; start: what `dit-first` made.
    """
    return stage("larger", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def video(
    data: str, *, tokenizer: str = "cv8x8x8", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """Video to world: a plane marks the frames that are given, silent at first; up to two latent frames are.

    Args:
        data: a folder of captioned clips; start: what `dit-larger` made.
    """
    return stage("video", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def cooldown(
    data: str, *, tokenizer: str = "cv8x8x8", start: str = "", encoder: str = "t5-11b", steps: int | None = None
) -> RunConfig:
    """The published end: the best data alone, the rate falling linearly to zero.

    Args:
        data: a folder of the best clips; start: what `dit-video` made.
    """
    return stage("cooldown", data, tokenizer=tokenizer, start=start, encoder=encoder, steps=steps)


def tiny(
    which: Stage,
    data: str,
    *,
    tokenizer: str = "video-c4x8x8-mixed",
    start: str = "",
    encoder: str = "hash",
    steps: int = 3,
    cache: str = "",
) -> RunConfig:
    """A stage's twin for one CPU: `dit-nano` on four frames a latent, 9 frames at 32 x 32 and then 17 at 64 x 64."""
    small = which == "first"
    base = stage(
        which,
        data,
        size="dit-nano",
        tokenizer=tokenizer,
        fold=4,
        shapes={"1x1": (32, 32), "16x9": (24, 40)} if small else {"1x1": (64, 64), "16x9": (48, 80)},
        frames=9 if small else 17,
        start=start,
        encoder=encoder,
        steps=steps,
        cache=cache,
    )
    assert isinstance(base.data, MixtureConfig)
    sources = []
    for source in base.data.sources:
        assert isinstance(source, LatentsConfig) and isinstance(source.source, ClipsConfig)
        sources.append(dataclasses.replace(source, source=dataclasses.replace(source.source, fps=10.0, held_out=0.2)))
    return dataclasses.replace(
        base,
        name=f"dit-{which}-tiny",
        data=dataclasses.replace(base.data, sources=tuple(sources)),
        optim=dataclasses.replace(base.optim, lr=1e-3, warmup=min(base.optim.warmup, 1)),
        batch=2,
        ema=0.9,
        log_every=1,
        save_every=max(1, steps // 2),
        eval_every=max(1, steps - 1),
        eval_batches=1,
        device="cpu",
        precision="float32",
        parallel=ParallelConfig(),
        threads=1,
    )
