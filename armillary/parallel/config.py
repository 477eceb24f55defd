"""How a run is spread over processes. None of it changes what is computed but for the order of sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from armillary.errors import BadInput


@dataclass(frozen=True)
class ParallelConfig:
    """Args:
    shard: processes that share one copy of weights, gradients and optimizer (FSDP2); 1 gives each its own, 0 shares among all. What
        is left of the processes holds further copies.
    context: processes that share the latent frames of a clip; each holds the tokens of its own ones. They draw the same rows.
    checkpointing: what a block keeps for the backward pass: everything (`none`), the results of matrix products and attention
        (`selective`), or only its input (`full`). The rest is computed anew.
    compile: compile each block.
    shares: parts that a batch is taken in, each with its own random numbers and gradients summed; 0 for one a process (or what the run
        began with). A run with the same shares takes the same steps on any number of processes that divides them.
    """

    shard: int = 1
    context: int = 1
    checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    shares: int = 0


def check(config: ParallelConfig) -> None:
    """Raises BadInput for numbers that cannot work on any number of processes."""
    for name, least in {"shard": 0, "context": 1, "shares": 0}.items():
        if getattr(config, name) < least:
            raise BadInput(f"parallel.{name} is at least {least}; got {getattr(config, name)}.")
