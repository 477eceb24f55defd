"""Low-rank adapters (LoRA, Hu et al. 2021), put on a finished model from outside.

    y = W x + b + alpha / rank * up(down(x))        `up` starts at zero: attached, an adapter changes nothing

A layer keeps its class, its weight and its name; the adapter is a submodule `lora` of it that acts through a forward hook, so every
checkpoint of the model stays readable. Merged, the product is in the weight and costs nothing; the weight from before is kept, so that
unmerging gives it back bit for bit. Code that reads `layer.weight` past the layer itself sees the adapter only once it is merged.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.store import load_folder, save_folder

FAMILY = "adapter"
LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Base:
    """The weights an adapter belongs to, or one that was put on: a name or a folder, and the sha256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class LoraConfig:
    """Args:
    rank: width of the bottleneck. alpha: the adapter's weight is `alpha / rank`.
    layers: names of the layers that have one.
    """

    rank: int
    alpha: float
    layers: tuple[str, ...]


class Adapter(nn.Module):
    """The two matrices of one layer, in its precision but never below float32.

    Args:
        layer: a linear layer, or a convolution, whose `down` then has the layer's own taps, stride and padding.
    """

    def __init__(self, layer: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        weight = _weight(layer)
        kind = torch.promote_types(weight.dtype, torch.float32)
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:], dtype=kind, device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, dtype=kind, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank
        self.before: Tensor | None = None  # the layer's own weight, while merged

    def added(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What is added to the layer's answer to `x`."""
        x = x.to(self.down.dtype)
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, self.down), self.up) * self.scale
        assert isinstance(layer, nn.Conv2d | nn.Conv3d)
        low = layer._conv_forward(x, self.down, None)
        return (F.conv2d if low.ndim == 4 else F.conv3d)(
            low, self.up.reshape(*self.up.shape, *(1,) * (low.ndim - 2))
        ) * self.scale

    def product(self) -> Tensor:
        """What is added to the layer's weight, of its shape."""
        return (self.up @ self.down.flatten(1)).unflatten(1, self.down.shape[1:]) * self.scale


def attach(model: nn.Module, rank: int, alpha: float | None = None, targets: Sequence[str] = ("*",)) -> LoraConfig:
    """Put adapters on every layer that a pattern names; from then on they alone are trained.

    >>> attach(world, 16, targets=("network.blocks.*.attn.*",))

    Args:
        rank: at least 1. alpha: `rank` by default, which is a weight of 1.
        targets: patterns (`*`, `?`) of names as `model.named_modules()` has them.

    Returns:
        What was put where; the matrices come from torch's global generator.

    Raises:
        BadInput: a pattern that names no layer, a rank below 1, or a layer that has an adapter.
    """
    if rank < 1:
        raise BadInput(f"An adapter's rank is at least 1, 16 for instance; got {rank}.")
    there = candidates(model)
    for pattern in targets:
        if not any(fnmatchcase(name, pattern) for name in there):
            some = ", ".join(list(there)[:: max(1, len(there) // 6)][:6])
            raise BadInput(
                f"{pattern!r} names no linear layer or convolution of this {type(model).__name__}. It has {some}, ..."
            )
    names = tuple(n for n in there if any(fnmatchcase(n, pattern) for pattern in targets))
    return put(model, LoraConfig(rank, float(rank if alpha is None else alpha), names))


def candidates(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that can have an adapter: linear layers and ungrouped convolutions of torch's own classes."""
    return {name: m for name, m in model.named_modules() if type(m) in LAYERS and getattr(m, "groups", 1) == 1}


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def put(model: nn.Module, config: LoraConfig) -> LoraConfig:
    """Put adapters on exactly the layers that a config names; from then on they alone are trained.

    Raises:
        BadInput: a layer that is not there, or has an adapter.
    """
    there = candidates(model)
    if missing := [name for name in config.layers if name not in there]:
        raise BadInput(f"This {type(model).__name__} has no layer {missing[0]!r} that an adapter could be put on.")
    if twice := [name for name in config.layers if hasattr(there[name], "lora")]:
        raise BadInput(f"Layer {twice[0]!r} has an adapter; fold that one into the weights first.")
    model.requires_grad_(False)
    for name in config.layers:
        there[name].lora = Adapter(there[name], config.rank, config.alpha)
        there[name].register_forward_hook(_hook)
    return config


def _hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    adapter = layer.lora
    assert isinstance(adapter, Adapter)
    return output + adapter.added(layer, inputs[0]).to(output.dtype)


def _unhook(layer: nn.Module) -> None:
    for key in [k for k, hook in layer._forward_hooks.items() if hook is _hook]:
        del layer._forward_hooks[key]


def adapters(model: nn.Module) -> dict[str, tuple[nn.Module, Adapter]]:
    """Name of a layer -> the layer and its adapter."""
    out: dict[str, tuple[nn.Module, Adapter]] = {}
    for name, layer in model.named_modules():
        adapter = getattr(layer, "lora", None)
        if isinstance(adapter, Adapter):
            out[name] = layer, adapter
    return out


def state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors under the names their parameters have in the model."""
    return {f"{n}.lora.{part}": getattr(a, part).detach() for n, (_, a) in adapters(model).items() for part in ("down", "up")}


@torch.no_grad()
def load_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state` gave.

    Raises:
        BadInput: naming what is missing, not expected or of another shape.
    """
    own = state(model)
    wrong = sorted(own.keys() ^ tensors.keys()) + sorted(
        k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape
    )
    if wrong:
        raise BadInput(f"These are not this model's adapters: {len(wrong)} tensors differ, the first is {wrong[0]!r}.")
    for name, value in own.items():
        value.copy_(tensors[name])


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Add every adapter to its layer's weight; the weights from before are kept beside them."""
    for layer, adapter in adapters(model).values():
        if adapter.before is None:
            weight = _weight(layer)
            adapter.before = weight.data
            weight.data = (weight.to(adapter.up.dtype) + adapter.product()).to(weight.dtype)
            _unhook(layer)


def unmerge(model: nn.Module) -> None:
    """The weights from before `merge`, bit for bit, and the adapters act beside them again."""
    for layer, adapter in adapters(model).values():
        if adapter.before is not None:
            weight = _weight(layer)
            weight.data = adapter.before.to(weight.device)
            adapter.before = None
            layer.register_forward_hook(_hook)


@contextlib.contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Merged for the length of a block; a model that is merged stays so."""
    if any(a.before is not None for _, a in adapters(model).values()):
        yield
        return
    merge(model)
    try:
        yield
    finally:
        unmerge(model)


def fold(model: nn.Module) -> None:
    """Merge for good: the adapters are gone, and so are the weights from before."""
    merge(model)
    for layer, _ in adapters(model).values():
        del layer.lora


def save(
    model: nn.Module,
    folder: str | Path,
    config: LoraConfig,
    base: Base,
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the adapters alone, with the name and the hash of the weights they belong to; `tensors` instead of their own state."""
    facts = {"base": base, **dict(extra or {})}
    return save_folder(folder, family=FAMILY, config=config, tensors=tensors or state(model), extra=facts)


def load(folder: str | Path, model: nn.Module, base: Base) -> Base:
    """Put what `save` wrote onto the same weights.

    Args:
        base: what `model` is.

    Returns:
        The adapter's own name and sha256.

    Raises:
        BadInput: for other weights than it was trained on (both are named), or a folder that is no adapter.
    """
    kept = load_folder(folder, FAMILY)
    theirs = from_json(Base, kept.extra["base"])
    if theirs.sha256 != base.sha256:
        raise BadInput(
            f"{kept.path} is an adapter of {theirs.name!r} ({theirs.sha256[:12]}); "
            f"this is {base.name or 'unsaved'!r} ({base.sha256[:12] or 'no sha256'})."
        )
    put(model, from_json(LoraConfig, kept.config))
    load_state(model, kept.tensors)
    return Base(str(folder), kept.sha256)
