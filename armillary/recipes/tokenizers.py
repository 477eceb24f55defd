"""Tokenizers beyond one table: the published stages and sizes, and our small ones on all simulators and real clips together.

The published run is one training whose weights change on the way (spec section 2.3): features are compared from the start, motion from
step 250,000, textures from 500,000, and the highest compressions end with an adversary. Here each such stretch is a recipe that
goes on from the one before (`--start`), so that a weight never changes behind anyone's back. These ask for a GPU with much memory.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from armillary.data import ClipsConfig, EpisodesConfig, MixtureConfig
from armillary.tokenizers import ObjectiveConfig
from armillary.train import OptimConfig, RunConfig, TokenizerRun

Stage = Literal["first", "motion", "texture", "adversary"]

# L1 and features, as published; no pixel counts more than another. What the published code calls L1 is a mean over values, as here.
_FIRST = ObjectiveConfig(l1=1.0, l2=0.0, gradient=0.0, perceptual=0.1, saliency=0.0, noise=0.0)
STAGES: dict[Stage, ObjectiveConfig] = {
    "first": _FIRST,
    "motion": dataclasses.replace(_FIRST, flow=0.01),
    "texture": dataclasses.replace(_FIRST, flow=0.01, perceptual=0.073, gram=0.062),
    "adversary": dataclasses.replace(_FIRST, flow=0.01, perceptual=0.073, gram=0.062, adversary=0.1),
}
STEPS: dict[Stage, int] = {"first": 250_000, "motion": 250_000, "texture": 500_000, "adversary": 100_000}
# Adam with these numbers, a warm-up of 5,000 steps, then level.
PUBLISHED = OptimConfig(lr=1e-4, betas=(0.5, 0.999), weight_decay=0.01, warmup=5000, schedule="constant")


def stage(
    which: Stage, name: str, data: str, *, size: str, start: str, frames: int, steps: int | None, features: str
) -> RunConfig:
    """One stretch of the published training: crops of 256 pixels, batches of clips and of single frames in turn."""
    return RunConfig(
        name=name,
        model=TokenizerRun(size="" if start else size, start=start, objective=STAGES[which], features=features),
        # Clips are brought to 360 lines and cropped: the crop is a part of a picture, not a small picture.
        data=MixtureConfig(
            (ClipsConfig(data, frames=frames, size=(360, 640), crop=(256, 256), fps=24.0, held_out=0.02),), images=0.5
        ),
        optim=PUBLISHED,
        steps=STEPS[which] if steps is None else steps,
        batch=8,
        ema=0.9999,
        log_every=100,
        save_every=1000,
        eval_every=5000,
        device="cuda",
        precision="bfloat16",
    )


def first(data: str, *, size: str = "cv8x8x8", start: str = "", steps: int | None = None, features: str = "vgg19") -> RunConfig:
    """The published training from nothing, first stage: L1 and features. Another size: `--set model.size=dv8x16x16`.

    Args:
        data: a folder of clips; size: of the tokenizer; start: weights to go on from instead.
        features: what pictures are compared by; `vgg19` reads local weights, `small` is embedded.
    """
    return stage("first", "tokenizer-first", data, size=size, start=start, frames=49, steps=steps, features=features)


def motion(
    data: str, *, start: str = "", size: str = "cv8x8x8", steps: int | None = None, features: str = "vgg19"
) -> RunConfig:
    """Second stage: consistency along the motion as well. Arguments as in `first`."""
    return stage("motion", "tokenizer-motion", data, size=size, start=start, frames=49, steps=steps, features=features)


def texture(
    data: str, *, start: str = "", size: str = "cv8x8x8", steps: int | None = None, features: str = "vgg19"
) -> RunConfig:
    """Third stage: textures (Gram) as well. Arguments as in `first`."""
    return stage("texture", "tokenizer-texture", data, size=size, start=start, frames=49, steps=steps, features=features)


def adversary(
    data: str, *, start: str = "", size: str = "cv8x16x16", steps: int | None = None, features: str = "vgg19"
) -> RunConfig:
    """Last stage, for high compression: a rival as well, in a form chosen here. Arguments as in `first`."""
    return stage("adversary", "tokenizer-adversary", data, size=size, start=start, frames=49, steps=steps, features=features)


def post(name: str, frames: int, data: str, start: str, steps: int, features: str) -> RunConfig:
    """Post-training of the published size `name` on one's own clips, by the third stage, in crops of 256 pixels."""
    made = stage("texture", name, data, size=name, start=start, frames=frames, steps=steps, features=features)
    return dataclasses.replace(made, batch=8 if frames == 1 else 2 if frames < 121 else 1)


def ci8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """Post-training of a published size: `data` a folder of clips, `start` a converted checkpoint (without it: from nothing)."""
    return post("ci8x8", 1, data, start, steps, features)


def ci16x16(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`."""
    return post("ci16x16", 1, data, start, steps, features)


def di8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`."""
    return post("di8x8", 1, data, start, steps, features)


def di16x16(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`."""
    return post("di16x16", 1, data, start, steps, features)


def cv4x8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 49 frames and single frames in turn."""
    return post("cv4x8x8", 49, data, start, steps, features)


def cv8x8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 121 frames and single frames in turn."""
    return post("cv8x8x8", 121, data, start, steps, features)


def cv8x16x16(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 121 frames and single frames in turn."""
    return post("cv8x16x16", 121, data, start, steps, features)


def dv4x8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 49 frames and single frames in turn."""
    return post("dv4x8x8", 49, data, start, steps, features)


def dv8x8x8(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 49 frames and single frames in turn."""
    return post("dv8x8x8", 49, data, start, steps, features)


def dv8x16x16(data: str, *, start: str = "", steps: int = 20_000, features: str = "vgg19") -> RunConfig:
    """As `ci8x8`, on clips of 49 frames and single frames in turn."""
    return post("dv8x16x16", 49, data, start, steps, features)


WORLDS = {"tabletop": 2.0, "tabletop-gripper": 1.5, "physics": 1.0, "rooms": 1.5, "driving": 1.5}
CLIPS = 2.5


def mixed(data: str, frames: int = 17) -> MixtureConfig:
    """All simulators and real clips: `data` holds a folder of episodes for each of `WORLDS` and a folder `clips` of videos.

    Simulators are shown whole at 64 pixels, where worlds live; clips at 72 lines, cropped wherever chance has it.
    """
    episodes = tuple(EpisodesConfig(f"{data}/{world}", frames=frames, actions=False) for world in WORLDS)
    clips = ClipsConfig(f"{data}/clips", frames=frames, size=(72, 128), crop=(64, 64), stretch=4.0)
    # Physics runs at 30 frames a second, all else at 10.
    return MixtureConfig((*episodes, clips), (*WORLDS.values(), CLIPS), images=0.1, image_rows=2, rates=True)


def _small(name: str, data: str, steps: int, start: str, threads: int, model: TokenizerRun) -> RunConfig:
    model = dataclasses.replace(model, size="", start=start, overrides=()) if start else model
    return RunConfig(
        name=name,
        model=model,
        data=mixed(data),
        optim=OptimConfig(lr=2e-3, betas=(0.9, 0.99), warmup=100, weight_decay=0.0),
        steps=steps,
        batch=4,
        ema=0.998,
        log_every=50,
        save_every=200,
        eval_every=500,
        ahead=1,
        threads=threads,
    )


def video_c4x8x8_mixed(data: str, *, steps: int = 3000, start: str = "", threads: int = 0) -> RunConfig:
    """Continuous causal video, four frames a latent, on all simulators and real clips. About 0.65 core-seconds a step.

    Args:
        data: a folder as `mixed` wants it; start: weights to go on from.
    """
    return _small("video-c4x8x8-mixed", data, steps, start, threads, TokenizerRun("video-c4x8x8"))


def video_d4x8x8_mixed(data: str, *, steps: int = 3000, start: str = "", threads: int = 0) -> RunConfig:
    """Discrete causal video, four frames a latent, on all simulators and real clips. Arguments as in `video_c4x8x8_mixed`.

    12,000 codes: the 1,000 of the size are too few for scenes as unlike as these. Sixteen levels go to the first channel, which begins as
    the brightness of a cell: they were worth more than a sixth channel (`docs/log.md`).
    """
    # One at a time, each a size that can be: channels are as many as there are levels.
    codes = ("levels=[]", "channels=5", "levels=[16, 6, 5, 5, 5]")
    return _small("video-d4x8x8-mixed", data, steps, start, threads, TokenizerRun("video-d4x8x8", overrides=codes))
