"""The plain network with its levels under `torch.compile`; what one carries from latent frame to latent frame it hands on by value.

Meant for GPUs, where kernels are launched faster from a recorded CUDA graph than one by one. Such a graph writes its answers to the same
memory every time, so that everything kept beyond a call is copied out of it. Attention over time at the waist, whose memory grows, stays as
it is; every other part keeps its shapes and is compiled twice, for a clip's first latent frame and for all others.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from armillary.nn.conv import Reel
from armillary.tokenizers.autoencoder import Block, Level

M = TypeVar("M", bound=nn.Module)
# Two for each part (its first latent frame and the others), at a few frame sizes; dynamo's own limit is 8.
GRAPHS = 64


class Compiled(nn.Module):
    """A part of the network, with a reel of its own within the network's.

    Args:
        part: called with frames and a reel. backend: of `torch.compile`.
    """

    def __init__(self, part: nn.Module, backend: str = "inductor") -> None:
        super().__init__()
        self.part = part
        options: dict[str, Any] = {"backend": backend, "dynamic": False}
        if backend == "inductor" and next(part.parameters()).is_cuda:
            options["mode"] = "reduce-overhead"
        self._step = torch.compile(lambda x, reel: part(x, reel), **options)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        own = Reel(reel.batch, reel.keep, dict(reel.memory.get(self, {})), reel.started, reel.limit)
        made = self._step(x, own)
        if reel.keep:
            reel.memory[self] = {layer: value.clone() for layer, value in own.memory.items()}
        return made.clone()


def compiled(module: M, backend: str = "inductor") -> M:
    """A copy whose levels, and blocks at the waist, are compiled; weights are shared with `module`."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    if isinstance(module, (Level, Block)):
        return Compiled(module, backend)  # type: ignore[return-value]
    same = copy.copy(module)
    same._modules = {name: None if child is None else compiled(child, backend) for name, child in module._modules.items()}
    return same
