"""What a run is: a model, data, an optimizer and how long. Plain frozen dataclasses, written beside the result as JSON.

What is trained and on what are unions: `--set model.size=...` reaches into whichever is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from armillary.data import DataConfig
from armillary.errors import BadInput, lookup
from armillary.parallel import config as parallel
from armillary.parallel.config import ParallelConfig
from armillary.presets import to_json
from armillary.train.derived import HeadsRun, RefinerRun
from armillary.train.distilled import DistillRun
from armillary.train.meters import METERS
from armillary.train.models import TokenizerRun, WorldRun
from armillary.train.optim import OptimConfig
from armillary.train.posttrained import PosttrainRun

# These may change between one session of a run and the next: the steps that are taken stay the same.
FREE = ("threads", "save_every", "keep", "meters", "ahead", "most_skipped", "parallel")


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Args:
        name: of the recipe, kept with the weights.
        model: what is trained; data: on what.
        rival: the optimizer of what an adversarial stage trains against (published: this rate and these betas); idle without one.
        steps: optimizer steps; batch: rows in a step, over all ranks.
        seed: of first weights, batches and noise.
        ema: decay of the averaged weights, which are what is kept; 0 for none.
        log_every: steps that one row of `metrics.jsonl` is the mean of.
        save_every: steps between checkpoints; keep: how many of them stay.
        eval_every: steps between looks at the held-out split (0 for never); eval_batches: batches in one look.
        ahead: batches that are made while a step runs, each in a thread of its own; 0 makes each when it is wanted.
        threads: of torch; 0 for every core this process may use.
        device: `cpu`, `cuda`, `cuda:1`, `mps`. precision: of the forward and backward pass (weights stay float32).
        most_skipped: steps in a row whose loss or gradient is no finite number, after which a run ends.
        parallel: how it is spread over the processes of `torchrun`; on one, what a block keeps and whether it is compiled.
        meters: further meters beside `metrics.jsonl`, from `METERS`.
    """

    name: str
    model: TokenizerRun | WorldRun | HeadsRun | RefinerRun | DistillRun | PosttrainRun
    data: DataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    rival: OptimConfig = field(default_factory=lambda: OptimConfig(lr=4e-4, betas=(0.5, 0.999), weight_decay=0.0))
    steps: int = 1000
    batch: int = 16
    seed: int = 0
    ema: float = 0.999
    log_every: int = 10
    save_every: int = 200
    eval_every: int = 0
    eval_batches: int = 4
    keep: int = 2
    ahead: int = 2
    threads: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    most_skipped: int = 3
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    meters: tuple[str, ...] = ()


def check(config: RunConfig) -> None:
    """Raises BadInput for numbers that cannot work, before anything is read or built."""
    for name, least in {
        "steps": 1, "batch": 1, "log_every": 1, "save_every": 1, "keep": 1, "eval_every": 0, "eval_batches": 1, "threads": 0, "seed": 0,
        "ahead": 0, "most_skipped": 1,
    }.items():  # fmt: skip
        if getattr(config, name) < least:
            raise BadInput(f"{name} is at least {least}; got {getattr(config, name)}.")
    if not 0 <= config.ema < 1:
        raise BadInput(f"ema is a decay in [0, 1), 0 for no average; got {config.ema}.")
    for name, optim in (("optim", config.optim), ("rival", config.rival)):
        if optim.lr <= 0 or optim.clip < 0 or optim.warmup < 0:
            raise BadInput(f"{name} wants lr > 0, clip >= 0 and warmup >= 0; got {optim}.")
    parallel.check(config.parallel)
    for meter in config.meters:
        lookup(METERS, meter, "meter")


def differences(ours: object, theirs: object, path: str = "") -> list[str]:
    """Settings in which two configs (as JSON) differ, as `optim.lr: 0.001 here, 0.002 there`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        out = []
        for key in sorted(ours.keys() | theirs.keys()):
            # A setting that the run was begun without knowing, and that is off, changes nothing.
            if not (path == "" and key in FREE) and (key in theirs or ours[key]):
                out += differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
        return out
    return [] if ours == theirs else [f"{path}: {ours!r} here, {theirs!r} there"]


def as_json(config: RunConfig) -> dict:
    return to_json(config)
