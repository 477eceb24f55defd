"""An exponential moving average of the weights: what is kept in the end, smoother than any single step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.parallel import local, placed
from armillary.train.optim import named_parameters


class Average:
    """average <- d average + (1 - d) weight after every step, with d = min(decay, (1 + step) / (10 + step)).

    The rising start lets short runs forget their random beginning; it depends on the step alone, so there is no further state.
    Buffers are not averaged: they are measured (a normaliser), not trained.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise BadInput(f"The average's decay lies between 0 and 1, 0.999 for instance; got {decay}.")
        self.decay = decay
        self.tensors = {name: p.detach().clone().float() for name, p in named_parameters(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        held, own = self.tensors.values(), named_parameters(model).values()
        torch._foreach_lerp_([local(t) for t in held], [local(p).float() for p in own], weight)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises BadInput when these are not this model's averages."""
        if tensors.keys() != self.tensors.keys() or any(v.shape != self.tensors[k].shape for k, v in tensors.items()):
            raise BadInput("The averaged weights in the checkpoint do not fit the model.")
        for name, value in tensors.items():
            local(self.tensors[name]).copy_(local(placed(value, self.tensors[name])))

    @contextlib.contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights for the length of a block; its own come back bit for bit."""
        own = {name: p.detach().clone() for name, p in named_parameters(model).items()}
        try:
            self._put(model, self.tensors)
            yield
        finally:
            self._put(model, own)

    @staticmethod
    @torch.no_grad()
    def _put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        for name, p in named_parameters(model).items():
            local(p).copy_(local(tensors[name]))
