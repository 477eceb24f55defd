"""The same runs on one's own videos: a curated folder, shards, or a plain folder of files. There are no actions, so such worlds only watch.

The tabletop runs set everything that is not said here. Real video is more varied than a table: expect to want more data and more steps.
"""

from __future__ import annotations

import dataclasses

from armillary.data import ClipsConfig, LatentsConfig
from armillary.recipes import tabletop
from armillary.train import RunConfig, TokenizerRun

SIZE = (64, 64)


def frame_c8(
    data: str, *, size: tuple[int, int] = SIZE, fps: float = 10.0, steps: int = 20000, start: str = "", threads: int = 0
) -> RunConfig:
    """A tokenizer of single frames.

    Args:
        data: a folder of clips; size: height and width, multiples of 8; fps: rate the frames are taken at.
        start: weights to go on from.
    """
    # Four frames a row: scenes differ, so what moves in one is told from the row's own median.
    base = tabletop.frame_c8("", steps=steps, batch=4, start=start, threads=threads)
    return dataclasses.replace(base, name="frame-c8-videos", data=ClipsConfig(data, frames=4, size=size, fps=fps))


def frame_d8(
    data: str, *, size: tuple[int, int] = SIZE, fps: float = 10.0, steps: int = 20000, start: str = "", threads: int = 0
) -> RunConfig:
    """A discrete tokenizer of single frames. Arguments as in `frame_c8`."""
    return _sized("frame-d8", frame_c8(data, size=size, fps=fps, steps=steps, start=start, threads=threads))


def video_c4x8x8(
    data: str, *, size: tuple[int, int] = SIZE, fps: float = 10.0, steps: int = 20000, start: str = "", threads: int = 0
) -> RunConfig:
    """A continuous causal video tokenizer. Arguments as in `frame_c8`."""
    return _sized("video-c4x8x8", video_d4x8x8(data, size=size, fps=fps, steps=steps, start=start, threads=threads))


def video_d4x8x8(
    data: str, *, size: tuple[int, int] = SIZE, fps: float = 10.0, steps: int = 20000, start: str = "", threads: int = 0
) -> RunConfig:
    """A discrete causal video tokenizer. Arguments as in `frame_c8`."""
    base = tabletop.video_d4x8x8("", steps=steps, start=start, threads=threads)
    return dataclasses.replace(base, name="video-d4x8x8-videos", data=ClipsConfig(data, frames=9, size=size, fps=fps))


def _sized(size: str, config: RunConfig) -> RunConfig:
    """The same run for another size of tokenizer."""
    assert isinstance(config.model, TokenizerRun)
    model = dataclasses.replace(config.model, size="" if config.model.start else size)
    return dataclasses.replace(config, name=f"{size}-videos", model=model)


def unet(
    data: str,
    *,
    tokenizer: str,
    size: tuple[int, int] = SIZE,
    fps: float = 10.0,
    steps: int = 40000,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A world that dreams on from four frames and a caption. `tokenizer` is what `frame-c8-videos` made; the rest as there."""
    base = tabletop.brief("", tokenizer=tokenizer, steps=steps, start=start, threads=threads)
    source = ClipsConfig(data, frames=9, size=size, fps=fps)
    return dataclasses.replace(
        base, name="unet-videos", data=LatentsConfig(source, tokenizer, text="hash", focus=0.3, cache=cache)
    )


def ar(
    data: str,
    *,
    tokenizer: str,
    size: tuple[int, int] = SIZE,
    fps: float = 10.0,
    steps: int = 40000,
    start: str = "",
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """An autoregressive world over video tokens. `tokenizer` is what `video-d4x8x8-videos` made; the rest as there."""
    base = tabletop.ar("", tokenizer=tokenizer, steps=steps, start=start, threads=threads)
    source = ClipsConfig(data, frames=17, size=size, fps=fps)
    return dataclasses.replace(base, name="ar-videos", data=LatentsConfig(source, tokenizer, text="hash", cache=cache))
