"""A batch in shares: each has its own rows and random numbers, and a process takes one or several.

What a step computes depends on the number of shares and not on that of the processes, so a run goes on with another number as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from armillary.errors import BadInput, Failed
from armillary.parallel import Ranks
from armillary.progress import say
from armillary.train.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint
from armillary.train.config import RunConfig


@dataclass(frozen=True)
class Shares:
    """Args: `count` of them in a batch; `own` are taken here; `rows` in each."""

    count: int
    own: range
    rows: int


def shares_of(config: RunConfig, ranks: Ranks, found: Checkpoint | None) -> Shares:
    """As the settings say, or else as the run began, or else one for each group of processes that draws rows.

    Raises:
        BadInput: they do not fall evenly.
    """
    part, parts = ranks.drawing
    begun = 0 if found is None else found.facts.get("shares", 1)
    count = config.parallel.shares or (begun if begun and begun % parts == 0 else parts)
    if count % parts or config.batch % count:
        raise BadInput(
            f"A batch of {config.batch} rows in {count} shares cannot be taken by {parts} processes evenly: the processes that draw "
            "rows divide parallel.shares, and that divides batch."
        )
    if begun and begun != count:
        say(f"note: {begun} shares of a batch before, {count} now; other random numbers are drawn from here on.")
    each = count // parts
    return Shares(count, range(part * each, (part + 1) * each), config.batch // count)


def newest_of_all(folder: Path, ranks: Ranks) -> Checkpoint | None:
    """The newest whole checkpoint, the same one in every process."""
    found = newest_checkpoint(folder) if ranks.rank == 0 else None
    name = ranks.tell("" if found is None else found.path.name)[0]
    return load_checkpoint(folder / name) if name and ranks.rank else found


@contextlib.contextmanager
def sparing(config: RunConfig, shares: Shares, ranks: Ranks, step: int) -> Iterator[None]:
    """Says what would fit when memory does not suffice for a step.

    Raises:
        Failed: with the settings that need less.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        p, rows = config.parallel, shares.rows
        ways = [f"parallel.shares={2 * shares.count} (the same batch, {rows // 2} rows at once)"] if rows % 2 == 0 else []
        more = {"none": "selective", "selective": "full"}.get(p.checkpointing)
        ways += [f"parallel.checkpointing={more} (blocks keep less and compute it anew)"] if more else []
        if ranks.alone:
            ways += ["several GPUs with torchrun and parallel.shard=0"]
        else:
            ways += ["parallel.shard=0 (weights and optimizer in pieces)"] if ranks.weights is None else []
            ways += ["a larger parallel.context (a clip's frames in pieces)"]
        ways += ["precision=bfloat16"] if config.precision == "float32" else []
        raise Failed(
            f"Memory of {ranks.device(config.device)} did not suffice for step {step + 1} ({rows} rows at once). Each of these needs "
            f"less: {'; '.join(ways)}; a smaller batch or window. The last checkpoint is untouched. ({str(error).splitlines()[0]})"
        ) from error
