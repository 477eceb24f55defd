"""A video longer than what a world was trained on: chunk after chunk, each going on from the last frames of the one before.

Where the tokenizer codes every frame alone, latents are carried, and a world that goes frame by frame dreams the same bytes as in one go.
Where it folds frames, the first latent of a clip stands for one picture: then the last frames are carried as pixels and encoded anew, as a
clip's beginning.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator

from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer


class Chunks(NamedTuple):
    """Latent frames: `carried` from chunk to chunk, `new` in each; `whole`: frames of video in a chunk with what is carried."""

    carried: int
    new: int
    whole: int


def chunks(dreamer: Dreamer) -> Chunks:
    """How this world is asked for a long video."""
    config = dreamer.world.config
    whole = int(getattr(config, "clip", 0) or getattr(config, "frames", 0))
    if whole < 2:
        raise BadInput(f"World {dreamer.world.name!r} does not say how long its clips are.")
    # An autoregressive world's `past` is all but one frame: half of them makes more than one at a time.
    past = config.past if hasattr(config, "clip") else whole // 2
    carried = max(1, min(int(past), whole - 1))
    return Chunks(carried, whole - carried, 1 + dreamer.temporal * (whole - 1))


@torch.no_grad()
def dream_long(
    dreamer: Dreamer,
    given: np.ndarray | None,
    num_frames: int,
    *,
    prompt: str = "",
    negative: str = "",
    actions: np.ndarray | None = None,
    seed: int = 0,
    cut: bool = False,
    **sampling: Any,
) -> np.ndarray:
    """As `Dreamer.dream`, of any length; memory in the world and the tokenizer is that of one chunk."""
    plan, step = chunks(dreamer), dreamer.temporal
    generator = Generator().manual_seed(seed)
    say = dreamer.condition([prompt], negative, cut=cut)
    made: list[np.ndarray] = []
    done, missing = 0, int(given is None)
    live, seen = None, given
    if step == 1:
        live = dreamer.live(dreamer.empty() if given is None else dreamer.encode(given), say, **sampling)
    while done < num_frames:
        first = missing and not done
        count = min(plan.new * step + int(first and step > 1), num_frames - done)
        part = None if actions is None else actions[max(0, done - missing) : done + count]
        if live is not None:
            acting = part if part is None else torch.as_tensor(np.asarray(part, np.float32))[None]
            frames = dreamer.decode(live.more(count, dataclasses.replace(say, actions=acting), generator), seed)
        else:
            frames = dreamer.dream(
                None if seen is None else seen[-dreamer.usable(min(len(seen), 1 + step * (plan.carried - 1))) :],
                count,
                prompt=prompt,
                negative=negative,
                actions=part,
                seed=generator,
                cut=cut,
                **sampling,
            )
            seen = (frames if seen is None else np.concatenate([seen, frames]))[-plan.whole :]
        made.append(frames)
        done += len(frames)
    return np.concatenate(made)
