"""Latent frames of a clip spread over processes, from outside the network.

Everything but the blocks is computed in every process. A hook before the first block keeps the tokens of the process' own frames, hooks
before every block cut its other arguments to fit, and one after the last block gathers all frames again. Self-attention looks from the
own queries at the keys and values of all frames; nothing else in a block looks from frame to frame.

Gradients need no case of their own. Every process ends with the same loss, and a gather's backward pass sums what all processes have to
say of a piece: together that is the exact gradient of the *sum* of the processes' losses with regard to each one's copy of the weights, and
the mean over processes that data parallelism takes anyway is the gradient of the one loss.

A still image is one frame, which nobody can share: every process computes it whole, as without this, and the mean of equal gradients is
that gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.nn.attention import attend

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Where frames lie in an argument of a block, by its name: an axis of frames; rotary tables and the rows of a mask (who may look at whom)
# have one of tokens, frame after frame.
FRAME_AXIS = {"x": 1, "level": 1, "shared": 1, "position": 1, "rope": -2, "look": -2}
WITHOUT_FRAMES = ("context",)
# Their names as of torch 2.13, and those before.
ALL_GATHER: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
REDUCE_SCATTER: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class _Gather(torch.autograd.Function):
    """All processes' pieces along axis 0; backwards, the sum of what each has to say of the own piece."""

    @staticmethod
    def forward(ctx: Any, piece: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        out = piece.new_empty(dist.get_world_size(group) * piece.shape[0], *piece.shape[1:])
        ALL_GATHER(out, piece.contiguous(), group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        out = grad.new_empty(grad.shape[0] // dist.get_world_size(ctx.group), *grad.shape[1:])
        REDUCE_SCATTER(out, grad, group=ctx.group)
        return out, None


def gather(piece: Tensor, axis: int, group: ProcessGroup) -> Tensor:
    """All processes' pieces, one after the other along `axis`; exact, and differentiable."""
    whole: Any = _Gather.apply(piece.movedim(axis, 0), group)
    return whole.movedim(0, axis)


class _Turn:
    """What the first block saw, for all that follow it: the first hook sets it, and a block computed anew finds it as it was."""

    shared = True


class SpreadAttention:
    """`nn.attention.attend` of own queries `b m n d` to the keys and values of all processes; the same numbers, `b m n d`.

    mask: rows of the own queries, over the keys of all.
    turn: whether frames are shared at all, this time.
    """

    def __init__(self, group: ProcessGroup, turn: _Turn) -> None:
        self.group, self.turn = group, turn

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.turn.shared:
            return attend(q, k, v) if mask is None else attend(q, k, v, mask)
        both = gather(torch.stack([k, v]), 3, self.group)  # 2 b m s d
        return attend(q, both[0], both[1], mask)


def spread_frames(blocks: nn.ModuleList, group: ProcessGroup) -> None:
    """Hooks and attention of every block, as said above.

    Raises:
        BadInput: blocks that do not attend over all frames of a clip at once, or take what is not known here. During training: frames
            that cannot be shared out evenly.
    """
    size, own, turn = dist.get_world_size(group), dist.get_rank(group), _Turn()
    for i, block in enumerate(blocks):
        names = list(inspect.signature(block.forward).parameters)
        unknown = [n for n in names if n not in FRAME_AXIS and n not in WITHOUT_FRAMES]
        attention: Any = getattr(block, "attn", None)
        if unknown or not hasattr(attention, "attend"):
            raise BadInput(
                f"parallel.context spreads the frames of a diffusion transformer's clip; a {type(block).__name__} that takes "
                f"{', '.join(names)} is none. Leave it at 1; parallel.shard divides weights of any world."
            )
        attention.attend = SpreadAttention(group, turn)
        block.register_forward_pre_hook(_cut(names, size, own, i == 0, turn), with_kwargs=True)

    def join(block: nn.Module, args: Any, out: Any) -> Tensor:
        return gather(out, 1, group).contiguous() if turn.shared else out  # FSDP2 hangs its hook on a tensor of its own

    blocks[-1].register_forward_hook(join)


def _cut(names: list[str], size: int, own: int, first: bool, turn: _Turn) -> Callable[..., Any]:
    """A hook that cuts a block's arguments to the own frames; `x` comes cut from the second block on."""

    def piece(value: Any, name: str) -> Any:
        if isinstance(value, tuple):
            return tuple(piece(v, name) for v in value)
        axis = FRAME_AXIS.get(name)
        if name == "context" and value is not None and value.ndim == 4:
            raise BadInput(
                "Views that each read a text of their own cannot be spread over processes: leave parallel.context at 1."
            )
        if value is None or axis is None or (name == "x" and not first):
            return value
        if not isinstance(value, Tensor):
            raise BadInput("Frames that come one by one cannot be spread over processes: leave parallel.context at 1.")
        if value.shape[axis] == 1:
            return value
        if value.shape[axis] % size:
            raise BadInput(
                f"{value.shape[axis]} latent frames cannot be shared out evenly by parallel.context={size} processes."
            )
        each = value.shape[axis] // size
        return value.narrow(axis, own * each, each)

    def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if first:
            x = dict(zip(names, args)).get("x", kwargs.get("x"))
            turn.shared = not isinstance(x, Tensor) or x.shape[FRAME_AXIS["x"]] > 1
        if not turn.shared:
            return args, kwargs
        return tuple(piece(v, n) for n, v in zip(names, args)), {n: piece(v, n) for n, v in kwargs.items()}

    return hook
