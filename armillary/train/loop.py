"""One loop for every trainable.

A step is a function of (weights, optimizer, seed, step): its batch and its random numbers are drawn anew from those, so a run that was
stopped and goes on takes exactly the steps it would have taken. On a CPU with the same number of threads that holds bit for bit.

Under torchrun every process runs this loop on its shares of a batch (`shares.py`). What is written, process 0 writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, nn

from armillary import __version__
from armillary.data.ahead import Ahead
from armillary.data.base import Dataset
from armillary.errors import BadInput, Failed
from armillary.parallel import Ranks, average_gradients, local, parallelise, placed, started, whole
from armillary.presets import to_json
from armillary.progress import Progress, say
from armillary.store import check_writable, read_json, write_json
from armillary.train.checkpoint import Checkpoint, list_checkpoints, save_checkpoint
from armillary.train.config import RunConfig, as_json, check, differences
from armillary.train.ema import Average
from armillary.train.meters import METERS, JsonLines, Meter
from armillary.train.optim import OptimConfig, load_optimizer, lr_at, make_optimizer, named_parameters, optimizer_tensors
from armillary.train.session import Stop, arranged, cores, locked
from armillary.train.shares import newest_of_all, shares_of, sparing


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Args:
        folder: the run's own; model: the checkpoint folder to load (`None` while unfinished); checkpoint: the newest one of the loop.
        steps: finished; seconds: spent in steps, over all sessions of the run.
        metrics: the last logged means, and the held-out ones as `held-out/<name>`.
        finished: false when a signal ended this session.
    """

    folder: Path
    model: Path | None
    checkpoint: Path | None
    steps: int
    seconds: float
    metrics: Mapping[str, float]
    finished: bool


def step_rng(seed: int, step: int, share: int, device: str = "cpu") -> Generator:
    """The generator that every random number of one share of a step comes from."""
    digest = hashlib.blake2b(f"{seed}/{step}/{share}".encode(), digest_size=8).digest()
    return Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)


def train(config: RunConfig, out: str | Path, resume: bool = True, progress: bool = True) -> TrainResult:
    """Run a config to its end, or on from where it was stopped.

    Ctrl-C or SIGTERM ends the session after the step at hand, with a checkpoint; a second Ctrl-C ends it at once. Under torchrun all
    processes end after the same step; `out` lies where all of them see it.

    Args:
        out: folder of the run: `config.json`, `metrics.jsonl`, `checkpoints/`, and in the end `model/` and `result.json`.
        resume: go on with a run of the same config that lies in `out`; with False such a run is an error.

    Raises:
        BadInput: settings that cannot work, `out` holds another run, or the data changed since the run began.
        Failed: `most_skipped` steps in a row had a loss or gradient that is no number, memory did not suffice, or another process ended.
    """
    check(config)
    out = Path(out)
    with contextlib.ExitStack() as held:
        ranks = held.enter_context(started(config.parallel, config.device))

        def claim() -> None:
            held.enter_context(locked(check_writable(out)))
            _claim(config, out, resume)

        ranks.first(claim)
        if (out / "result.json").is_file() and (out / "model" / "config.json").is_file():
            done = read_json(out / "result.json")
            say(f"{out} holds this run, finished: {done['steps']} steps.")
            newest = next(iter(list_checkpoints(out / "checkpoints")), None)
            return TrainResult(out, out / "model", newest, done["steps"], done["seconds"], done["metrics"], True)
        with arranged(config.threads or max(1, cores() // ranks.neighbours), ranks.device(config.device)):
            return _Run(config, out, ranks).go(progress and ranks.rank == 0)


def _set_rate(optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, steps: int) -> float:
    rate = lr_at(config, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _claim(config: RunConfig, out: Path, resume: bool) -> None:
    """Write `config.json`, or make sure that the one there is ours."""
    path = out / "config.json"
    if path.is_file():
        if not resume:
            raise BadInput(f"{out} already holds a run. Choose another folder, or let it go on (resume).")
        differing = differences(as_json(config), read_json(path))
        if differing:
            raise BadInput(
                f"{out} holds a run with other settings; choose another folder or the same settings. Differing:\n  "
                + "\n  ".join(differing)
            )
    write_json(path, config)


class _Run:
    """One session of a run: what is built once, and the loop over it."""

    def __init__(self, config: RunConfig, out: Path, ranks: Ranks) -> None:
        self.config, self.out, self.ranks, self.device = config, out, ranks, ranks.device(config.device)
        self.found = newest_of_all(out / "checkpoints", ranks)
        self.shares = shares_of(config, ranks, self.found)
        self.data: Dataset = ranks.made(lambda: config.data.build("train"))
        self.held_out: Dataset | None = ranks.made(lambda: config.data.build("held-out")) if config.eval_every else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = config.model.build(self.data)
        self.model: nn.Module = parallelise(model, config.parallel, ranks, self.device, config.precision)
        self.batches = [
            Ahead(self.data, self.shares.rows, config.seed, share, self.shares.count, config.steps, config.ahead)
            for share in self.shares.own
        ]
        self.model.train()
        self.optimizer = make_optimizer(self.model, config.optim)
        # What an adversarial stage trains against: a part of the model, and of its checkpoints, with an optimizer of its own.
        self.rival: nn.Module | None = getattr(self.model, "rival", None)
        self.rival_optimizer = None if self.rival is None else make_optimizer(self.rival, config.rival)
        if self.rival is not None and len(self.shares.own) > 1:
            raise BadInput("An adversarial stage takes one share of a batch in each process; leave parallel.shares at 0.")
        self.average = Average(self.model, config.ema) if config.ema else None
        self.step, self.seconds, self.skipped = 0, 0.0, 0
        # Sums since the last row, and the newest figures: both go into a checkpoint, so that rows do not depend on where a run stopped.
        self.sums: dict[str, float] = {}
        self.count = 0
        self.latest: dict[str, float] = {}

    def go(self, progress: bool) -> TrainResult:
        config, checkpoints, ranks = self.config, self.out / "checkpoints", self.ranks
        saved = None
        if self.found is not None:
            self.restore(self.found)
            saved = self.found.path
            say(f"Going on from step {self.step} of {config.steps} ({saved}).")
            self.found = None  # its tensors are in use by now, or copied
        meters: list[Meter] = []
        if ranks.rank == 0:
            meters += [JsonLines(self.out, self.step)]
            meters += [METERS[name](self.out, self.step) for name in config.meters if name != "jsonl"]
        bar = Progress(f"train {config.name}", config.steps, self.step) if progress else None
        try:
            with Stop(patient=not ranks.alone) as stop, bar or contextlib.nullcontext():
                while self.step < config.steps:
                    began = time.monotonic()
                    with sparing(config, self.shares, ranks, self.step):
                        self.one_step(meters)
                    self.seconds += time.monotonic() - began
                    asked = stop.asked if ranks.alone else ranks.any(stop.asked)
                    if bar:
                        shown = ("loss", "psnr", "held-out/loss", "held-out/psnr")
                        bar.advance(1, **{k: f"{v:.4g}" for k, v in self.latest.items() if k in shown})
                    last = self.step == config.steps
                    if self.held_out and (self.step % config.eval_every == 0 or last):
                        self.look(meters)
                    if last or asked or self.step % config.save_every == 0:
                        saved = self.save(checkpoints)
                    if asked and not last:
                        say(f"Stopped at step {self.step} of {config.steps}; the same command goes on from {saved}.")
                        return TrainResult(self.out, None, saved, self.step, self.seconds, dict(self.latest), False)
        finally:
            for batches in self.batches:
                batches.close()
            for meter in meters:
                meter.close()
        model = self.finish()
        if progress:
            name = next((n for n in ("held-out/psnr", "held-out/loss", "loss") if n in self.latest), "")
            say(f"{model} holds the weights" + (f"; {name} {self.latest[name]:.4g}" if name else "") + ".")
        return TrainResult(self.out, model, saved, self.step, self.seconds, dict(self.latest), True)

    def one_step(self, meters: list[Meter]) -> None:
        """Forward, backward, update, one row now and then."""
        config, step = self.config, self.step
        rate = _set_rate(self.optimizer, config.optim, step, config.steps)
        config.model.at(self.model, step / config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss, metrics, keys = self.gradient(step)
        norm = math.nan
        if math.isfinite(loss):
            trained = list(named_parameters(self.model).values())
            average_gradients(trained, self.ranks)
            norm = whole(nn.utils.clip_grad_norm_(trained, config.optim.clip or math.inf)).item()
        if self.rival_optimizer is not None and math.isfinite(norm):
            norm, metrics = self.rival_gradient(norm, metrics)
        self.step += 1
        if not math.isfinite(norm):
            self.skip(loss, keys, meters)
            return
        self.skipped = 0
        self.optimizer.step()
        if self.rival_optimizer is not None:
            self.rival_optimizer.step()
        if self.average is not None:
            self.average.update(self.model, step)
        figures = {"loss": loss, "grad_norm": norm, "lr": rate} | metrics
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        self.write_row(meters)

    def gradient(self, step: int) -> tuple[float, dict[str, float], tuple[str, ...]]:
        """Forward and backward over the own shares of a step.

        Returns:
            Loss and metrics, means over all shares of all processes; the samples, those of the share that went wrong where one did. A loss
            that is no number in one process is none in any, and nothing goes backward after it.
        """
        config, own_shares, sums, keys = self.config, self.shares.own, dict[str, float](), ()
        for share, batches in zip(own_shares, self.batches):
            batch = batches.take(step).to(self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, metrics = self.model(batch, step_rng(config.seed, step, share, self.device))
            own = {"loss": loss.item()} | {name: float(value) for name, value in metrics.items()}
            means = dict(zip(own, self.ranks.mean(list(own.values()))))
            keys = (*keys, *batch.keys)
            if not math.isfinite(means["loss"]):
                return means["loss"], {}, batch.keys if not math.isfinite(own["loss"]) else ()
            (loss / len(own_shares) if len(own_shares) > 1 else loss).backward()
            for name, value in means.items():
                sums[name] = sums.get(name, 0.0) + value / len(own_shares)
        return sums.pop("loss"), sums, keys

    def rival_gradient(self, norm: float, metrics: dict[str, float]) -> tuple[float, dict[str, float]]:
        """Backward for the rival, on the batch just seen. Gives `norm` (or the rival's own, when that is no number) and all metrics."""
        assert self.rival is not None and self.rival_optimizer is not None
        config = self.config
        _set_rate(self.rival_optimizer, config.rival, self.step, config.steps)
        self.rival_optimizer.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss, more = self.model.rival_loss()  # type: ignore[operator]
        loss.backward()
        average_gradients(self.rival.parameters(), self.ranks)
        own = nn.utils.clip_grad_norm_(list(self.rival.parameters()), config.rival.clip or math.inf).item()
        said = dict(zip(more, self.ranks.mean([float(value) for value in more.values()])))
        return norm if math.isfinite(own) else math.nan, {**metrics, **said, "rival_grad_norm": own}

    def write_row(self, meters: list[Meter]) -> None:
        """The means since the last row, every `log_every` steps and at the end."""
        if not self.count or (self.step % self.config.log_every and self.step != self.config.steps):
            return
        means = {name: total / self.count for name, total in self.sums.items()}
        self.latest.update(means)
        self.sums, self.count = {}, 0
        for meter in meters:
            meter.write({"step": self.step, "kind": "train", "seconds": round(self.seconds, 2), **means})

    def skip(self, loss: float, keys: tuple[str, ...], meters: list[Meter]) -> None:
        """A loss or gradient that is no number: the weights stay, the samples are named, and `most_skipped` in a row end the run."""
        most = self.config.most_skipped
        keys = tuple(k for said in self.ranks.tell("\n".join(keys)) for k in said.splitlines())
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        what = "loss" if not math.isfinite(loss) else "gradient"
        for meter in meters:
            meter.write({"step": self.step, "kind": "skipped", "loss": loss, "what": what, "keys": list(keys)})
        say(f"warning: step {self.step} skipped, its {what} is no finite number. Samples: {', '.join(keys)}")
        if self.skipped >= most:
            raise Failed(
                f"The {what} was no finite number in {most} steps in a row, up to step {self.step}. The last samples were "
                f"{', '.join(keys)}. A lower optim.lr, a smaller optim.clip or a look at those samples may help."
            )
        self.write_row(meters)

    @torch.no_grad()
    def look(self, meters: list[Meter]) -> None:
        """Mean figures on fixed batches of the held-out split, with the averaged weights."""
        assert self.held_out is not None
        config, shares, sums = self.config, self.shares, dict[str, float]()
        # In float32 whatever the precision of training, but for shards: their weights are gathered in bfloat16.
        gathered = config.precision == "bfloat16" and self.ranks.weights is not None
        self.model.eval()
        config.model.at(self.model, 0.0)  # the same task at every look, whatever a knob says by now
        with self.average.swapped(self.model) if self.average else contextlib.nullcontext():
            for i in range(config.eval_batches):
                for share in shares.own:
                    batch = self.held_out.batch(i, shares.rows, 0, share, shares.count).to(self.device)
                    with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=gathered):
                        loss, metrics = self.model(batch, step_rng(0, i, share, self.device))
                    for name, value in ({"loss": loss} | dict(metrics)).items():
                        sums[name] = sums.get(name, 0.0) + float(value)
        self.model.train()
        sums = dict(zip(sums, self.ranks.mean(list(sums.values()))))
        means = {name: total / (config.eval_batches * len(shares.own)) for name, total in sums.items()}
        self.latest.update({f"held-out/{name}": value for name, value in means.items()})
        for meter in meters:
            meter.write({"step": self.step, "kind": "held-out", **means})

    def save(self, folder: Path) -> Path:
        """Raises Failed rather than keep weights that are no numbers."""
        state = self.model.state_dict()
        broken = [n for n, value in state.items() if value.is_floating_point() and not bool(local(value).isfinite().all())]
        if self.ranks.any(bool(broken)):
            named = f" (first: {broken[0]})" if broken else ""
            raise Failed(f"At step {self.step} the weights are no finite numbers any more{named}; nothing was saved.")
        parts = {"model": state, "optimizer": optimizer_tensors(self.optimizer, self.model)}
        if self.rival is not None and self.rival_optimizer is not None:
            parts["rival"] = optimizer_tensors(self.rival_optimizer, self.rival)
        if self.average is not None:
            parts["average"] = self.average.tensors
        facts = {
            "seconds": self.seconds, "skipped": self.skipped, "sums": self.sums, "count": self.count, "latest": self.latest,
            "shares": self.shares.count,
            "data": self.data.hash, "torch": torch.__version__, "armillary": __version__, "threads": torch.get_num_threads(),
        }  # fmt: skip
        whole_parts = {part: self.ranks.gathered(tensors) for part, tensors in parts.items()}
        self.ranks.first(lambda: save_checkpoint(folder, self.step, whole_parts, to_json(facts), self.config.keep))
        return folder / f"step-{self.step:06d}"

    def restore(self, found: Checkpoint) -> None:
        facts = found.facts
        if facts["data"] != self.data.hash:
            raise BadInput(f"The data changed since {found.path} was written. Choose another folder for a run on the new data.")
        state = self.model.state_dict()
        given = {name: placed(value, state.get(name)) for name, value in found.parts["model"].items()}
        self.model.load_state_dict(given, strict=True)
        load_optimizer(self.optimizer, self.model, found.parts["optimizer"])
        if self.rival is not None and self.rival_optimizer is not None:
            load_optimizer(self.rival_optimizer, self.rival, found.parts["rival"])
        if self.average is not None:
            self.average.load(found.parts["average"])
        self.step, self.seconds, self.skipped = found.step, facts["seconds"], facts["skipped"]
        self.sums, self.count, self.latest = dict(facts["sums"]), facts["count"], dict(facts["latest"])
        if facts["threads"] != torch.get_num_threads():
            say(
                f"note: {facts['threads']} threads before, {torch.get_num_threads()} now; the last bits of the figures will differ."
            )

    def finish(self) -> Path:
        """The averaged weights as a checkpoint folder, and `result.json`."""
        extra = {"recipe": self.config.name, "data": self.data.hash, "steps": self.step, "armillary": __version__}
        folder, facts = self.out / "model", {"model": "model", "steps": self.step, "seconds": round(self.seconds, 3)}
        with self.average.swapped(self.model) if self.average else contextlib.nullcontext():
            given = {} if self.ranks.weights is None else {"tensors": self.ranks.gathered(self.model.state_dict())}

            def write() -> None:
                self.config.model.save(self.model, folder, extra, **given)
                write_json(self.out / "result.json", facts | {"metrics": self.latest})

            self.ranks.first(write)
        return folder
