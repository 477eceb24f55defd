"""Where a dream is computed: all parts on one device, or each there only while it works.

A part that leaves takes nothing with it: its tensors on the device are dropped and the ones that lay here before are put back, so that
weights still in their file stay there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from armillary.errors import BadInput

Offload = Literal["none", "parts", "blocks"]
Precision = Literal["float32", "bfloat16"]
Bring = Callable[[Tensor], Tensor]


def check_device(device: str) -> None:
    """Raises BadInput: no name of a device, or one that is not there."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise BadInput(f"--device wants cpu, cuda, cuda:1 or mps; got {device!r}.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise BadInput(f"This machine has no {kind} device that PyTorch can use; --device cpu would work.")


@dataclass(frozen=True)
class Placement:
    """Args:
    device: `cpu`, `cuda`, `cuda:1`, `mps`.
    precision: of a world's weights and products; what it samples stays float32, as do text encoder and tokenizer.
    offload: `none` keeps everything on the device. `parts` has text encoder, world and tokenizer there in turn. `blocks` also brings the
        world's blocks one at a time, at every evaluation: the largest worlds on small devices, at the speed of copying.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    offload: Offload = "none"

    def check(self, world: Any) -> None:
        """Raises BadInput: the device is not there, or the world's blocks are asked for too often to be moved."""
        check_device(self.device)
        if self.offload == "blocks" and world.family != "diffusion":
            raise BadInput(
                "Blocks are moved once for each evaluation, of which every token is one here; --offload parts would work."
            )

    def prepare(self, world: nn.Module) -> None:
        """Bring the network to its precision; what lies beside it (normalisers) is kept exact."""
        if self.precision == "bfloat16":
            network = world.network
            assert isinstance(network, nn.Module)
            for t in (*network.parameters(), *network.buffers()):
                t.data = t.data.to(torch.bfloat16)
            for t in (*world.parameters(), *world.buffers()):
                if t.is_floating_point() and t.dtype != torch.float32 and not _within(t, network):
                    t.data = t.data.float()

    @contextlib.contextmanager
    def at(self, part: Any) -> Iterator[torch.device]:
        """The part on the device while the block runs: a world, a tokenizer, or a text encoder (which moves only if it can)."""
        device = torch.device(self.device)
        stays = self.offload == "none"
        if not isinstance(part, nn.Module):
            if hasattr(part, "to"):
                part.to(self.device)
            yield device
            if hasattr(part, "to") and not stays:
                part.to("cpu")
            return
        if stays:
            part.to(device)
            yield device
            return
        blocks: list[nn.Module] = (
            list(getattr(part, "blocks", ())) if self.offload == "blocks" and hasattr(part, "family") else []
        )

        def bring(t: Tensor) -> Tensor:
            return t.to(device)

        with contextlib.ExitStack() as stack:
            stack.enter_context(visiting(_tensors(part, without=blocks), bring))
            for block in blocks:
                stack.enter_context(called_on(block, bring))
            try:
                yield device
            finally:
                forget = getattr(part, "forget", None)
                if callable(forget):
                    forget()

    def autocast(self) -> Any:
        """Products in the precision of the weights."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16")


def _within(t: Tensor, module: nn.Module) -> bool:
    return any(t is other for other in (*module.parameters(), *module.buffers()))


def _tensors(module: nn.Module, without: list[nn.Module]) -> list[Tensor]:
    left = {id(t) for block in without for t in (*block.parameters(), *block.buffers())}
    return [t for t in (*module.parameters(), *module.buffers()) if id(t) not in left]


@contextlib.contextmanager
def visiting(tensors: list[Tensor], bring: Bring) -> Iterator[None]:
    """What `bring` gives in place of tensors for the length of a block; afterwards they are the very ones they were."""
    held = [t.data for t in tensors]
    try:
        for t in tensors:
            t.data = bring(t.data)
        yield
    finally:
        for t, data in zip(tensors, held, strict=True):
            t.data = data
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


@contextlib.contextmanager
def called_on(module: nn.Module, bring: Bring) -> Iterator[None]:
    """For the length of a block, a module whose tensors are brought at each call and leave after it."""
    tensors = _tensors(module, without=[])
    here = contextlib.ExitStack()

    def come(*_: Any) -> None:
        here.enter_context(visiting(tensors, bring))

    def leave(*_: Any) -> None:
        here.close()

    hooks = [module.register_forward_pre_hook(come), module.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        here.close()
        for hook in hooks:
            hook.remove()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, here or on a device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "out of memory" in str(error))
    )
