"""A run without bytes: how much memory a network takes at its peak, from its own code and before there is any of it.

Tensors are fake (`torch._subclasses.fake_tensor`: shapes, types and strides, no storage), and a counter sees each one made and go. So
there is no second description of a network that could go stale, and the largest published sizes take seconds on a laptop.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


@dataclass(frozen=True)
class Dry:
    """Bytes: of the weights; of everything else that was there at the same moment, at the worst one."""

    weights: int
    peak: int


class Counter(TorchDispatchMode):
    """Bytes of the storages that live; `known` ones (weights) are not counted."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {id(t.untyped_storage()): t.untyped_storage() for t in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_iter(out):
            if isinstance(t, Tensor):
                self._note(t.untyped_storage())
        return out

    def _note(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            self.live -= size
            del self._seen[key]

        self.live += size
        self.peak = max(self.peak, self.live)
        self._seen[key] = weakref.ref(storage, gone)


def dry_run(
    build: Callable[[], nn.Module],
    run: Callable[[Any], Tensor],
    *,
    train: bool = False,
    autocast: torch.dtype | None = None,
    checkpoint: bool = False,
) -> Dry:
    """Build a module, run it once, and say what that took.

    Args:
        build: makes it, with the precision and the `requires_grad` it is to have; called where tensors are on the meta device.
        run: makes inputs (on the CPU) and calls it; its answer is what a loss is taken of.
        train: also go back through it; gradients then count as well.
        autocast: the precision of products.
        checkpoint: do not keep what lies inside the members of `blocks`, but make it again on the way back.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.device("meta"):
        module = build()
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of addresses that fake tensors do not have
        held = _fake(module)
        if checkpoint:
            _checkpointed(module)
        counter = Counter(held)
        with (
            counter,
            torch.set_grad_enabled(train),
            torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None),
        ):
            answer = run(module)
        if train:
            with counter:
                answer.float().square().mean().backward()
        return Dry(sum(t.untyped_storage().nbytes() for t in held), counter.peak)


def _fake(module: nn.Module) -> list[Tensor]:
    """Fake tensors on the CPU in place of the meta ones; what there is now."""
    made: dict[int, Tensor] = {}
    for m in module.modules():
        for table in (m._parameters, m._buffers):
            for name, t in table.items():
                if t is None:
                    continue
                if id(t) not in made:
                    empty = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
                    made[id(t)] = nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty
                table[name] = made[id(t)]  # type: ignore[assignment]
    return list(made.values())


def _checkpointed(module: nn.Module) -> None:
    from torch.utils.checkpoint import checkpoint

    for m in module.modules():
        blocks = getattr(m, "blocks", None)
        if isinstance(blocks, nn.ModuleList):
            for block in blocks:
                inner = block.forward
                block.forward = functools.partial(checkpoint, inner, use_reentrant=False, preserve_rng_state=False)
            return
