"""A small clip world's runs, for one process or, as a script under torchrun, for several: `OUT TASK...`, a task as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from armillary.data import LatentsConfig, MixtureConfig, SyntheticConfig
from armillary.parallel import ParallelConfig, Ranks, average_gradients, started
from armillary.train import OptimConfig, RunConfig, WorldRun, loop, train

STEPS = 20
SMALL = ("network.dim=48", "network.layers=2", "network.heads=4", "network.lora=8", "clip=4", "past=1")


def config(root: Path, steps: int = STEPS, images: bool = False, **parallel: Any) -> RunConfig:
    """`root` holds the tokenizer and the cache of latents. Four latent frames of 4 by 4 cells, with text and actions; with `images` every
    other batch holds single frames."""
    source = SyntheticConfig(episodes=6, length=8, frames=4, size=(32, 32), held_out=0.3)
    data: Any = LatentsConfig(source, str(root / "tokenizer"), cache=str(root / "cache"))
    data = MixtureConfig((data,), images=0.5) if images else data
    return RunConfig(
        "clip", WorldRun("dit-nano", overrides=SMALL), data, OptimConfig(lr=2e-3, warmup=3), steps=steps, batch=4, ema=0.9, log_every=1,
        save_every=8, keep=9, eval_every=10, eval_batches=1, threads=1, parallel=ParallelConfig(**parallel),
    )  # fmt: skip


def agreed(ranks: Ranks) -> dict[str, Any]:
    """What several processes make of a few numbers and words."""
    one, two, none = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
    one.grad = torch.full((3,), float(ranks.rank + 1))
    if ranks.rank == 0:
        two.grad = torch.full((3,), 4.0)
    average_gradients([one, two, none], ranks)
    assert one.grad is not None and two.grad is not None and none.grad is None
    return {
        "gradients": [one.grad.tolist(), two.grad.tolist()],
        "told": ranks.tell("" if ranks.rank else "größer"),
        "mean": ranks.mean([ranks.rank, 1.0]),
        "none": str(ranks.mean([float("inf") if ranks.rank else 1.0])[0]),
        "any": [ranks.any(ranks.rank == 1), ranks.any(False)],
    }


def main(out: Path, tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        if task["do"] == "agree":
            with started(ParallelConfig(), "cpu") as ranks:
                (out / f"agreed-{ranks.rank}.json").write_text(json.dumps(agreed(ranks)))
            continue
        if task["do"] == "break" and os.environ["RANK"] == "1":
            plain = loop._Run.one_step

            def breaks(self: Any, meters: Any, plain: Any = plain) -> None:
                if self.step == 3:
                    raise MemoryError("this one gives up")
                plain(self, meters)

            loop._Run.one_step = breaks
        train(
            config(out, task.get("steps", STEPS), task.get("images", False), **task["parallel"]),
            out / task["name"],
            progress=False,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    shared = len(sys.argv) > 3  # several runs in one process: they share one group
    if shared:
        torch.distributed.init_process_group("gloo")
    main(Path(sys.argv[1]), [json.loads(task) for task in sys.argv[2:]])
    if shared:  # a thread of a group left open may abort its process at the end
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
