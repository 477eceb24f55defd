"""A drive dreamed by a world of several views: pixels of all cameras in, pixels of all cameras out, as far as one likes.

A clip is denoised as a whole, so that a longer drive goes clip by clip: the last frames of one, encoded anew (a clip's first latent
stands for one picture alone), are given to the next, and it is told what is left of the way as seen from its own first frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from armillary.conditioning import onward
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer
from armillary.types import Conditioning


def views_of(dreamer: Dreamer) -> int:
    """How many views a world was given by `conditioning.ViewsCondition`; 1 without."""
    configs = getattr(dreamer.world, "configs", {})
    return next((c.views for c in configs.values() if c.part == "views"), 1)


def drive(
    dreamer: Dreamer,
    given: np.ndarray,
    frames: int,
    *,
    trajectory: np.ndarray | None = None,
    texts: Sequence[str] = (),
    seed: int = 0,
    **sampling: Any,
) -> np.ndarray:
    """`frames` further frames of every view.

    Args:
        dreamer: of a world with views attached (`armillary train driving`).
        given: uint8 `v t h w 3` at the world's size, `t >= 1`; as many of the last ones are used as the world looks back on.
        trajectory: float `64 3`, where the car goes after the first given frame, as seen from it (ahead, to the left, up; metres, a point
            every 0.1 s). Beyond its end the last motion goes on. None leaves the way to the world.
        texts: what is said of each view, or nothing.
        sampling: the world's own (`steps`, `solver` ...).

    Returns:
        uint8 `v frames h w 3`.

    Raises:
        BadInput: another number of views or texts, or no frame given.
    """
    world, k, views = dreamer.world, dreamer.temporal, views_of(dreamer)
    if given.ndim != 5 or given.dtype != np.uint8 or len(given) != views or not given.shape[1] or given.shape[-1] != 3:
        raise BadInput(
            f"This world wants frames of {views} views, uint8 v t h w 3, one at least; got {given.dtype} {given.shape}."
        )
    if texts and len(texts) != views:
        raise BadInput(f"{views} views want {views} texts or none; got {len(texts)}.")
    way = None if trajectory is None else torch.as_tensor(np.asarray(trajectory), dtype=torch.float32)[None]
    told = dreamer.condition(list(texts), cut=True) if texts else Conditioning()
    context, mask = (None if x is None else x[None] for x in (told.context, told.context_mask))
    past, clip = world.config.past, world.config.clip
    seen = given
    while seen.shape[1] < given.shape[1] + frames:
        use = dreamer.usable(min(seen.shape[1], 1 + k * (max(past, 1) - 1)))
        first = seen.shape[1] - use
        latents = torch.stack([dreamer.encode(view[first:])[0] for view in seen], dim=1)  # c v t h w
        have = latents.shape[2]
        said = Conditioning(
            context=context,
            context_mask=mask,
            views=views,
            trajectory=None if way is None else onward(way, first / dreamer.fps),
        )
        made = dreamer.extend(latents.flatten(1, 2)[None], clip - have, said, seed + first, **sampling)
        whole = torch.cat([latents[None], made.unflatten(2, (views, clip - have))], dim=3)
        pixels = np.stack([dreamer.decode(whole[:, :, v]) for v in range(views)])
        seen = np.concatenate([seen, pixels[:, use:]], axis=1)
    return seen[:, given.shape[1] : given.shape[1] + frames]
