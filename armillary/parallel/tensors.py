"""Tensors that lie in pieces on several processes (`DTensor`), and ordinary ones, by the same three functions."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def local(tensor: Any) -> Tensor:
    """The piece that lies here; it shares memory with the whole one's storage here. An ordinary tensor is itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: Any) -> Tensor:
    """All of it, gathered: every process of its mesh calls this. An ordinary tensor is itself."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def placed(value: Tensor, like: Any) -> Tensor:
    """A whole tensor laid out as `like`; each process keeps its piece of the value it has, and nothing is sent."""
    if not hasattr(like, "to_local"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
