"""Ranks that work on one dream refuse together: were one to go on alone, the others would wait for it for ever."""

from __future__ import annotations

import sys
from typing import Any

from armillary.types import Verdict


def _group() -> Any:
    """`torch.distributed` when a process group of more than one rank stands, else None; torch is not loaded to find out."""
    torch = sys.modules.get("torch")
    dist = getattr(torch, "distributed", None)
    if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() < 2:
        return None
    return dist


def agreed(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The verdicts, and in a process group one more, `ranks`, that refuses when any rank refuses or does not answer."""
    dist = _group()
    if dist is None:
        return verdicts
    import torch

    try:
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        mine = torch.tensor([int(any(v.blocked for v in verdicts))], device=device)
        all_of_them = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(all_of_them, mine)
        refused = [rank for rank, flag in enumerate(all_of_them) if int(flag)]
    except Exception as error:  # a lost rank, a timeout of the group: what cannot be agreed on does not pass
        return (*verdicts, Verdict("ranks", "failed", True, f"the ranks could not agree: {error}"[:500]))
    told = f"refused on rank {', '.join(map(str, refused))}" if refused else f"all {len(all_of_them)} ranks agree"
    return (*verdicts, Verdict("ranks", "ran", bool(refused), told))
