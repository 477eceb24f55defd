"""Wide convolutions in 8 bits on CPUs that add such products in 32 (VNNI): about four times a direct one's speed, at a cost in quality.

Weights are rounded once, each output channel on a scale of its own; activations at every call, between their own least and greatest
value. What comes out is single precision. Norms, attention, 1 x 1 convolutions and changes of resolution stay as `fast` has them.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.nn.conv import Reel, uncolumns
from armillary.tokenizers import fast

M = TypeVar("M", bound=nn.Module)
NARROWEST = 32  # channels in and out: below, rounding takes longer than it saves


class Product:
    """A convolution of 8-bit numbers, stride 1, channels last."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> None:
        scale = (weight.abs().amax((1, 2, 3)) / 127).clamp_min(1e-12).float()
        rounded = (weight / scale[:, None, None, None]).round_().clamp_(-127, 127).to(torch.int8)
        self.bias, self.scale, self.zero = bias, scale, torch.zeros(len(scale), dtype=torch.int32)
        self.padding = list(padding)
        self.packed = torch.ops.onednn.qconv_prepack(rounded, scale, 1.0, 0, [1, 1], self.padding, [1, 1], 1, None)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # as it lies in memory
        low, high = (float(v) for v in torch.aminmax(x))
        low, high = min(low, 0.0), max(high, 0.0)  # the padding's zero has to be one of the 256 values
        step = max(high - low, 1e-12) / 255
        zero = round(-low / step)
        # Not torch.quantize_per_tensor: that is on its way out.
        rounded = x.mul(1 / step).add_(zero).round_().clamp_(0, 255).to(torch.uint8).permute(0, 3, 1, 2)
        ones, tail = [1, 1], (1.0, 0, torch.float32, "none", [], "")
        args: tuple[Any, ...] = (self.packed, self.scale, self.zero, self.bias, ones, self.padding, ones, 1)
        return torch.ops.onednn.qconv2d_pointwise(rounded, step, zero, *args, *tail)


class Spatial(nn.Module):
    """`fast.Spatial`, rounded."""

    def __init__(self, layer: fast.Spatial) -> None:
        super().__init__()
        assert layer.bias is not None
        self.product = Product(layer.weight, layer.bias, (1, 1))

    def forward(self, x: Tensor, reel: Reel | None = None) -> Tensor:
        return self.product(x)


class Temporal(nn.Module):
    """`fast.Temporal`, rounded."""

    def __init__(self, layer: fast.Temporal) -> None:
        super().__init__()
        assert layer.bias is not None
        self.product = Product(layer.weight, layer.bias, (0, 0))

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:
        # Joined as they lie in memory, channels last: joining `columns` would turn it over and back.
        x, past = fast.as_frames(frames, reel.batch), reel.recall(self)
        fast.remember(self, x, reel, 2)
        whole = torch.cat((x[:, :1].expand(-1, 2, -1, -1) if past is None else past, x), 1)
        return uncolumns(self.product(whole.permute(0, 3, 1, 2)), frames.shape[2])


SWAPS: dict[type[nn.Module], type[nn.Module]] = {fast.Spatial: Spatial, fast.Temporal: Temporal}


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Raises BadInput: no CPU, no single precision, or a CPU whose 8-bit sums overflow."""
    if device.type != "cpu" or dtype != torch.float32:
        raise BadInput(f"8-bit convolutions run on a CPU, from single precision; this tokenizer is {dtype} on {device}.")
    if not torch.cpu._is_vnni_supported():
        raise BadInput("This CPU has no VNNI: its sums of 8-bit products overflow. Engine 'folded' is as fast there.")


@torch.no_grad()
def rounded(module: M) -> M:
    """A copy of what `fast.folded` made, its wide convolutions in 8 bits."""
    swap = SWAPS.get(type(module))
    if swap is not None and min(module.weight.shape[:2]) >= NARROWEST:  # type: ignore[union-attr,index]
        return swap(module)  # type: ignore[return-value]
    same = copy.copy(module)
    same._modules = {name: None if child is None else rounded(child) for name, child in module._modules.items()}
    return same
