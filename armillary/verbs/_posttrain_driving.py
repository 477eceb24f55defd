"""`armillary posttrain driving`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.verbs._posttrain import HELD_OUT, posttrain


def posttrain_driving(
    *,
    data: Path,
    base: str,
    lora: int = 0,
    out: Path | None = None,
    steps: int = 1500,
    batch: int = 0,
    episodes: int = HELD_OUT,
    device: str = "",
    cache: str = "",
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
) -> tuple[dict[str, Any], int]:
    """A world of six cameras at once that drives where it is told, from one that knows one view.

    Views and the trajectory are attached, and all weights (or adapters) learn on. Ends by dreaming held-out drives from one frame of each
    camera, told their own way, another's and none: quality of each view, agreement between views and over time, and how many cm the car
    leaves its way. A world that goes the same way whatever it is told is marked TRAJECTORY-BLIND, and the exit code is 1.

    Example: armillary posttrain driving --data drives --base runs/dit-driving/model --out runs/driving

    Args:
        data: drives (docs/data-posed.md), or a recorded simulator with all six cameras.
        base: the world to go on from, what `armillary train unet-driving` (live) or `dit-driving` (clips, as published) makes.
        lora: rank of adapters that are trained instead of all weights; 0 trains those.
        out: the run's folder (runs/posttrain-driving by default); the world is in its `model`.
        steps: of training.
        batch: rows in a step; 0 takes what the data and this machine allow.
        episodes: held-out drives to judge on, at most.
        device: cpu, cuda, cuda:1 or mps; empty for a GPU if there is one.
        cache: folder for encoded data.
        set: settings to override, as in `armillary train`.
    """
    return posttrain("driving", data, base, lora, out, steps, batch, "", episodes, device, cache, set)
