"""What post-training takes: how much is held out, what fits this machine, how long it will be."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from armillary.errors import BadInput

HELD_OUT = 24  # episodes to judge on, where the data have enough
MOST_HELD_OUT = 0.3  # of them, unless that were fewer than the gate wants to judge by
LEAST_HELD_OUT = 6  # but no more than half


def size_of(data: Path) -> tuple[int, int]:
    """(episodes, frames that three quarters of them have) of a LeRobot dataset; zeros for any other layout."""
    import numpy as np

    from armillary.data.lerobot.read import LeRobotDataset

    if not (data / "meta" / "info.json").is_file():
        return 0, 0
    lengths = [int(r["length"]) for r in LeRobotDataset(data).episodes]
    if not lengths:
        raise BadInput(f"{data} holds no episodes.")
    return len(lengths), int(np.quantile(lengths, 0.25))


def share_of(count: int) -> float:
    """The share to hold out so that enough episodes are there to judge on; which ones goes by a hash of their name."""
    from armillary.data.base import unit

    wanted = max(1, min(HELD_OUT, max(int(MOST_HELD_OUT * count), min(LEAST_HELD_OUT, count // 2))))
    values = sorted(unit(f"episode_{i:06d}") for i in range(count))
    return round((values[wanted - 1] + values[min(wanted, count - 1)]) / 2, 9)


def fitted(config: Any, base: str, lora: int, device: str) -> Any:
    """Device, precision, what is recomputed and, where that does not suffice, fewer rows at once: the plainest way that fits.

    Raises:
        BadInput: nothing does.
    """
    import torch

    from armillary.progress import say
    from armillary.rollout import memory
    from armillary.rollout.wanted import wanted
    from armillary.verbs._doctor import memory_gb

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    there = torch.cuda.get_device_properties(device).total_memory if device.startswith("cuda") else int(memory_gb() * 2**30)
    # bfloat16 is slower on a CPU.
    ways = [("float32", False)] if device == "cpu" else [("bfloat16", False)]
    ways.append((ways[0][0], True))
    w = wanted(base, config.data.source.frames, config.data.source.size)
    views = len(getattr(config.data.source, "views", (1,)))  # as many tokens as so many rows of one view
    rows, need = config.batch, 0
    while rows:
        for precision, again in ways:
            dry, trained = memory.step(w, rows * views, precision, lora, again)
            need = dry.weights + 12 * trained + dry.peak + memory.MARGIN
            if need <= there:
                shares = config.batch // rows
                parallel = dataclasses.replace(
                    config.parallel, checkpointing="full" if again else "none", shares=shares if shares > 1 else 0
                )
                blocks = "recomputed" if again else "kept"
                say(
                    f"Plan: {device}, {precision}, {rows} rows at once of a batch of {config.batch}, blocks {blocks}, "
                    f"{'all weights' if not lora else f'adapters of rank {lora}'}: {need / memory.GIB:.1f} of {there / memory.GIB:.1f} GiB."
                )
                return dataclasses.replace(config, device=device, precision=precision, parallel=parallel)
        rows //= 2
    raise BadInput(
        f"One row of training {base!r} wants {need / memory.GIB:.1f} GiB; {device} has {there / memory.GIB:.1f}. "
        f"{'Adapters (--lora 16) or a' if not lora else 'A'} smaller base would need less."
    )


def cost(config: Any) -> str:
    """What a run will take, from steps that are taken and forgotten: a sentence."""
    import torch

    from armillary.train.loop import step_rng
    from armillary.train.session import arranged, cores

    data = config.data.build("train")
    with torch.random.fork_rng(devices=[]), arranged(config.threads, config.device):
        torch.manual_seed(config.seed)
        model = config.model.build(data).to(config.device).train()
        rows = config.batch // max(1, config.parallel.shares)
        taken = []
        for step in range(4):
            config.model.at(model, step / 3)
            batch = data.batch(step, rows, config.seed).to(config.device)
            began = time.monotonic()
            with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, _ = model(batch, step_rng(config.seed, step, 0, config.device))
            loss.backward()
            loss.item()
            model.zero_grad(set_to_none=True)
            taken.append(time.monotonic() - began)
    each = sum(taken[1:]) / 3 * max(1, config.parallel.shares) * 1.1  # and the optimizer
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = each * config.steps
    long = f"{whole / 60:.0f} min" if whole > 90 else f"{whole:.0f} s"
    return (
        f"Cost: about {long} ({config.steps} steps of {each:.2f} s on {config.threads or cores()} threads of this machine), "
        f"{trained / 1e6:.1f} M weights trained on {len(data)} windows; then the evaluation. Ctrl-C saves; the same command goes on."
    )
