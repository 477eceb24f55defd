"""Bytes that a block of the diffusion transformer keeps for its backward pass, for each token and unit of width: the `a` of
docs/scale-training.md. From two lengths of clip, so that what does not grow with tokens falls out. A second on a CPU.

    python benchmarks/parallel/activations.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from armillary.nn.rope import rope_tables
from armillary.types import Grid
from armillary.worlds.diffusion.dit import Block


def kept(dim: int, tokens: int, frames: int = 4) -> int:
    """Bytes of all that autograd keeps but weights and rotary tables, in one forward pass under bfloat16 autocast."""
    block, rope = Block(dim, dim // 128, 256, 1024), rope_tables(Grid(1, frames, tokens // frames, 1), 128)
    passed = {t.untyped_storage().data_ptr() for t in (*block.parameters(), *rope)}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in passed:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.randn(1, frames, tokens // frames, dim, dtype=torch.bfloat16, requires_grad=True)
    level, shared = (torch.randn(1, 1, k * dim, dtype=torch.bfloat16) for k in (1, 3))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        _graph = block(
            x, level, shared, torch.randn(1, 8, 1024), rope, None
        )  # held, or what it keeps would be freed and counted twice
    return sum(found.values())


if __name__ == "__main__":
    for dim in (256, 512):
        print(f"width {dim}: {(kept(dim, 512) - kept(dim, 256)) / 256 / dim:.1f} bytes a token and unit of width")
