"""Worlds brought to one to four steps: `armillary train distill-... --data DIR --start TEACHER`, on what the teacher learned from.

Each row costs two evaluations of the teacher (one without guidance), one of the student and one with its gradient: about twice a step of
the teacher's own training. The student is an ordinary world that says in its config how many steps it takes.
"""

from __future__ import annotations

import dataclasses

from armillary.data import ClipsConfig, EpisodesConfig, LatentsConfig
from armillary.recipes import tabletop
from armillary.train import OptimConfig, RunConfig, WorldRun
from armillary.train.distilled import DistillRun
from armillary.worlds.diffusion.distill import DistillConfig

# Well below a teacher's own: the student begins where that ended, and is led astray at 1e-3.
RATE = 3e-4


def unet(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    start: str = "tabletop",
    steps: int = 6000,
    batch: int = 32,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A live world that draws samples of the next frame in one to four evaluations. Half of the last steps go on from its own dreams.

    Args:
        data: a LeRobot dataset; tokenizer: the teacher's.
        start: the teacher, as `unet-tabletop` makes it.
        cache: folder for encoded data.
    """
    base = tabletop.unet(data, tokenizer=tokenizer, steps=steps, batch=batch, cache=cache, threads=threads)
    assert isinstance(base.model, WorldRun)
    model = DistillRun(start, DistillConfig(), unroll_prob=base.model.unroll_prob, unroll_from=base.model.unroll_from)
    return _gentler(base, "distill-unet", model)


def words(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    start: str = "tabletop-words",
    guidance: float = 2.0,
    steps: int = 4000,
    batch: int = 32,
    cache: str = "",
    threads: int = 0,
) -> RunConfig:
    """A painter in four evaluations instead of eighteen, or thirty-six with guidance, which is folded in.

    One and two steps can be taught with it (`model.distill.paces=[1,2,4]`); no run long enough for that has been made.

    Args:
        data: a LeRobot dataset; tokenizer: the teacher's.
        start: the teacher, as `unet-tabletop-words` makes it; guidance: of its samples.
        cache: folder for encoded data.
    """
    base = tabletop.unet_words(data, tokenizer=tokenizer, steps=steps, batch=batch, cache=cache, threads=threads)
    return _gentler(base, "distill-words", DistillRun(start, DistillConfig(guidance=guidance, paces=(4,))))


def clip(
    data: str,
    *,
    tokenizer: str = "cv8x8x8",
    start: str = "runs/dit/model",
    encoder: str = "t5-11b",
    frames: int = 121,
    size: tuple[int, int] = (704, 1280),
    fps: float = 24.0,
    guidance: float = 7.0,
    steps: int = 10_000,
    batch: int = 8,
    cache: str = "",
) -> RunConfig:
    """A world that denoises clips, as the published transformers, in one to four evaluations instead of 35. Asks for GPUs.

    Guidance is against no text: a teacher that was taught to contrast with a negative prompt alone is better distilled with less of it.

    Args:
        data: a folder of captioned clips; tokenizer: the teacher's; encoder: of text, the teacher's.
        start: the teacher; frames, size, fps: of a training clip; guidance: of the teacher's samples.
        cache: folder for encoded data.
    """
    return RunConfig(
        name="distill-clip",
        model=DistillRun(start, DistillConfig(guidance=guidance)),
        data=LatentsConfig(
            ClipsConfig(data, frames=frames, size=size, fps=fps, held_out=0.02), tokenizer=tokenizer, text=encoder, cache=cache
        ),
        optim=OptimConfig(lr=1e-5, betas=(0.9, 0.95), weight_decay=0.01, warmup=500, schedule="constant"),
        steps=steps,
        batch=batch,
        ema=0.999,
        log_every=100,
        save_every=1000,
        eval_every=1000,
        device="cuda",
        precision="bfloat16",
    )


def demo_unet(
    data: str, *, tokenizer: str = "frame-c8-tabletop", start: str = "tabletop", steps: int = 300, threads: int = 0
) -> RunConfig:
    """`distill-unet` in a few minutes on two cores."""
    return tabletop.shorter(unet(data, tokenizer=tokenizer, start=start, threads=threads), "demo-distill-unet", steps)


def demo_clip(
    data: str,
    *,
    tokenizer: str = "frame-c8-tabletop",
    start: str = "runs/dit-nano/model",
    frames: int = 8,
    steps: int = 300,
    threads: int = 0,
) -> RunConfig:
    """`distill-clip` for a small world of tabletop clips (`dit-nano`), in minutes on two cores.

    Args:
        data: a LeRobot dataset; tokenizer: the teacher's; start: the teacher.
        frames: of a training clip.
    """
    base = clip(data, tokenizer=tokenizer, start=start, guidance=0.0)
    small = dataclasses.replace(
        base,
        data=LatentsConfig(EpisodesConfig(data, frames=frames, size=tabletop.SIZE), tokenizer=tokenizer, text="hash"),
        optim=OptimConfig(lr=RATE, betas=(0.9, 0.99), warmup=100, weight_decay=0.01),
        batch=16,
        device="cpu",
        precision="float32",
        threads=threads,
    )
    return tabletop.shorter(small, "demo-distill-clip", steps)


def _gentler(base: RunConfig, name: str, model: DistillRun) -> RunConfig:
    return dataclasses.replace(base, name=name, model=model, optim=dataclasses.replace(base.optim, lr=RATE, warmup=100))
