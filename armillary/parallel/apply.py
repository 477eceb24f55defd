"""What is done to a model from outside, in one order: frames, activation checkpointing, compilation, sharding.

Each step walks `model.blocks` and leaves names, weights and arithmetic as they were; the model file knows of none of them. Frames come
first because their hooks lie outside what is computed anew; FSDP2 comes last because it gathers a block's weights right before the block is
called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.parallel.config import ParallelConfig
from armillary.parallel.mesh import Ranks


def parallelise(model: nn.Module, config: ParallelConfig, ranks: Ranks, device: str, precision: str = "float32") -> nn.Module:
    """The same model, in place, on its device.

    Args:
        model: any trainable, on the CPU; what keeps its blocks in `blocks` can be checkpointed, compiled, sharded and spread.
        device: of this process. precision: `bfloat16` gathers weights in it; gradients are summed in float32 in either case.

    Raises:
        BadInput: a switch that this model cannot follow.
    """
    blocks = getattr(model, "blocks", None)
    asked = {
        "shard": ranks.weights is not None, "context": ranks.frames is not None, "checkpointing": config.checkpointing != "none",
        "compile": config.compile,
    }  # fmt: skip
    if any(asked.values()) and not isinstance(blocks, nn.ModuleList):
        named = ", ".join(f"parallel.{name}" for name, there in asked.items() if there)
        raise BadInput(
            f"{named} work{'s' if sum(asked.values()) == 1 else ''} on a world's blocks; {type(model).__name__} has none."
        )
    ranks.same([*model.buffers(), *(model.parameters() if ranks.weights is None else ())])
    if blocks is not None:
        if ranks.frames is not None:
            from armillary.parallel.context import spread_frames

            spread_frames(blocks, ranks.frames)
        if config.checkpointing != "none":
            for block in blocks:
                block.forward = _recomputed(block.forward, config.checkpointing)
        if config.compile:
            for block in blocks:
                block.forward = torch.compile(block.forward)
    if ranks.weights is not None:
        _shard(model, ranks, device, precision)
    return model.to(device)


def _recomputed(forward: Callable[..., Any], how: str) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

    if how == "full":
        return partial(checkpoint, forward, use_reentrant=False)
    kept = partial(create_selective_checkpoint_contexts, _kept())
    return partial(checkpoint, forward, use_reentrant=False, context_fn=kept)


def _kept() -> list[Any]:
    """What takes long to compute: matrix products and attention. Norms, gates, rotations and GELU are computed anew."""
    aten = torch.ops.aten
    return [
        op.default
        for name in (
            "mm", "addmm", "bmm", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
        )
        if (op := getattr(aten, name, None)) is not None
    ]  # fmt: skip


def _shard(model: nn.Module, ranks: Ranks, device: str, precision: str) -> None:
    """FSDP2: each block is a unit, and what is left another."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if hasattr(model, "unroll_prob"):
        raise BadInput(
            f"{type(model).__name__} may dream before it learns, in some processes and not in others, so its weights cannot be gathered "
            "in step: leave parallel.shard at 1."
        )
    if type(model).state_dict is not nn.Module.state_dict:
        raise BadInput(f"{type(model).__name__} keeps a part of itself and cannot be gathered: leave parallel.shard at 1.")
    # Inputs are not cast: the loop's autocast does that where it is right, and rotary tables must stay float32.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bfloat16" else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block.to(device), mesh=ranks.weights, mp_policy=policy)  # type: ignore[arg-type]
    # What lies around the blocks is small and kept in float32. It is given back after a look without gradients, too.
    around = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    fully_shard(model.to(device), mesh=ranks.weights, mp_policy=around, reshard_after_forward=True)


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """The mean over all processes, for a model of which each has its own copy; FSDP2 does it by itself for a sharded one.

    A parameter that had a gradient in some processes only counts as zero in the others; one that had none anywhere keeps none.
    """
    if ranks.alone or ranks.weights is not None:
        return
    import torch.distributed as dist

    trained = list(parameters)
    there = [torch.zeros((), device=p.device) if p.grad is None else torch.ones((), device=p.device) for p in trained]
    flat: Tensor = torch.cat(
        [torch.stack(there), *((torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in trained)]
    )
    dist.all_reduce(flat)
    counts, values = flat[: len(trained)].tolist(), flat[len(trained) :] / ranks.world
    for p, count, value in zip(trained, counts, values.split([p.numel() for p in trained])):
        p.grad = value.view_as(p).to(p.dtype) if count else None
