"""AdamW, its learning rate over time, and the optimizer's state as plain named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.parallel import local, placed


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter, 2019) and a schedule.

    Args:
        lr: after the warm-up. min_lr: at the last step, for the falling schedules.
        weight_decay: on tensors of two axes or more; gains and biases are left alone.
        warmup: steps of linear rise from lr / warmup.
        clip: largest norm of the whole gradient, 0 for none.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.01
    warmup: int = 100
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = 1.0
    min_lr: float = 0.0


RIVAL = "rival."


def lr_at(config: OptimConfig, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0) of `steps`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup) / max(1, steps - config.warmup)
    left = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else 1 - done
    return config.min_lr + (config.lr - config.min_lr) * max(0.0, left)


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by name: all but a trainable's `rival`, which has an optimizer of its own."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and not name.startswith(RIVAL)}


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    parameters = named_parameters(model)
    if not parameters:
        raise BadInput(f"{type(model).__name__} has nothing to train: every parameter is frozen.")
    groups = [
        {"params": [p for p in parameters.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    # Fused: one call over all tensors. On a CPU the plain loop costs more than a small model's own backward pass.
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The state as `<parameter>/<what>` -> tensor; a parameter that never had a gradient has none."""
    out = {}
    for name, p in named_parameters(model).items():
        for what, value in optimizer.state.get(p, {}).items():
            out[f"{name}/{what}"] = value
    return out


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        BadInput: for a tensor that belongs to no parameter or has another shape.
    """
    parameters = named_parameters(model)
    for key, value in tensors.items():
        name, _, what = key.rpartition("/")
        p = parameters.get(name)
        if p is None or (value.ndim and value.shape != p.shape):
            raise BadInput(f"The optimizer state {key!r} {tuple(value.shape)} fits no parameter of {type(model).__name__}.")
        # Laid out in memory as the parameter is: the fused step goes through both by address, and convolutions lie channels last.
        like = torch.empty_like(p, dtype=value.dtype) if value.ndim else torch.empty_like(value, device=p.device)
        local(like).copy_(local(placed(value, like)))
        optimizer.state[p][what] = like.detach()
