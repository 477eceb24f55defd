"""Does the loader keep up with training? Samples a second of each kind of dataset at the demo's settings, and the steps they feed.

Each dataset is measured twice in one thread: `decoding` keeps nothing in memory, so that every window is decoded again, as with more
data than memory; `kept` has been through everything once. Steps are those of the demo's tokenizers and world on all cores, with batches
made when they are wanted (ahead=0) or while the step before runs (ahead=2): seconds a step by the clock, the two taken in turns.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness
import numpy as np
import torch

from armillary import media, progress, sims
from armillary.data import (
    VIEWS,
    ClipsConfig,
    DrivingConfig,
    EpisodesConfig,
    LatentsConfig,
    Mixture,
    MixtureConfig,
    Pixels,
    PosedConfig,
    SyntheticConfig,
    write_drive,
)
from armillary.data.ahead import Ahead
from armillary.data.base import Dataset
from armillary.data.driving.write import ego_poses
from armillary.data.record import record
from armillary.recipes import tabletop
from armillary.train import RunConfig
from armillary.train.loop import step_rng
from armillary.train.optim import make_optimizer
from armillary.train.session import arranged

ROWS = 8
BIG = (360, 640)  # height and width of the stored clips: what has to be decoded and made smaller


def material(root: Path, quick: bool) -> dict[str, Any]:
    """Datasets on disk, made by our own simulators: configs by name."""
    count = 4 if quick else 12
    record("tabletop", root / "episodes", count, frames=33, size=128)
    room = sims.make("rooms", smooth=False)
    for n in range(2 if quick else 4):
        episode = sims.record_episode(room, n, "wander", 60, ("eye",), 128)
        frames = media.resize(episode.frames["eye"], BIG)
        media.write_video(root / "clips" / f"{n}.mp4", frames, 10)
        media.write_video(root / "posed" / f"{n}.mp4", frames, 10)
        rows = [f"{t * 100_000} 0.7 0.9 0.5 0.5 0 0 {_row(np.linalg.inv(p))}" for t, p in enumerate(episode.cameras[0].pose)]
        (root / "posed" / f"{n}.txt").write_text("\n".join([f"room {n}", *rows]))
    car = sims.make("driving", smooth=False)
    for n in range(2):
        episode = sims.record_episode(car, n, "cruise", 17, VIEWS, 96)
        write_drive(root / "drives" / str(n), episode, ego_poses(episode.truth["ego"]))
    kinds: dict[str, Any] = {
        "synthetic": SyntheticConfig(episodes=32, size=(64, 64)),
        "episodes": EpisodesConfig(str(root / "episodes")),
        "clips": ClipsConfig(str(root / "clips")),
        "posed": PosedConfig(str(root / "posed")),
        "driving (six views)": DrivingConfig(str(root / "drives"), held_out=0.0),
    }
    kinds["mixture"] = MixtureConfig((kinds["clips"], dataclasses.replace(kinds["episodes"], actions=False)), (1.0, 1.0))
    kinds["latents"] = LatentsConfig(kinds["episodes"], "frame-c8-tabletop", cache=str(root / "cache"))
    return kinds


def _row(matrix: np.ndarray) -> str:
    return " ".join(f"{x:.9f}" for x in matrix[:3].ravel())


def starved(config: Any) -> Any:
    """The same, keeping nothing."""
    if isinstance(config, MixtureConfig):
        return dataclasses.replace(config, sources=tuple(starved(s) for s in config.sources))
    return dataclasses.replace(config, memory=0.0)


def pace(data: Dataset, seconds: float) -> float:
    """Rows a second, one thread."""
    data.batch(0, ROWS, 0)
    began, rows = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        data.batch(1 + rows // ROWS, ROWS, 0)
        rows += ROWS
    return rows / (time.perf_counter() - began)


class Steps:
    """A run's model and data, and steps taken with so many batches ahead."""

    def __init__(self, config: RunConfig) -> None:
        self.config, self.data = config, config.data.build("train")
        torch.manual_seed(0)
        self.model = config.model.build(self.data).train()
        self.optimizer, self.step = make_optimizer(self.model, config.optim), 0

    def take(self, ahead: int, steps: int) -> tuple[float, float]:
        """(seconds a step, share of them spent waiting for batches)."""
        batches = Ahead(self.data, self.config.batch, 0, 0, 1, self.step + steps, ahead)
        began = time.perf_counter()
        for _ in range(steps):
            loss, _ = self.model(batches.take(self.step), step_rng(0, self.step, 0))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.step += 1
        spent = time.perf_counter() - began
        batches.close()
        return spent / steps, batches.waited / spent


def turns(run: Steps, steps: int, repeats: int) -> tuple[dict[str, Any], dict[str, float]]:
    run.take(0, 2), run.take(2, 2)
    plain, ahead = [], []
    for turn in range(repeats):
        for which in (plain, ahead) if turn % 2 == 0 else (ahead, plain):
            which.append(run.take(2 if which is ahead else 0, steps))
    ratios = [a[0] / b[0] for a, b in zip(plain, ahead)]
    middle: Callable[[list[tuple[float, float]], int], float] = lambda rows, k: statistics.median(r[k] for r in rows)  # noqa: E731
    figures = {
        "s a step, ahead 0": middle(plain, 0),
        "s a step, ahead 2": middle(ahead, 0),
        "share waiting, ahead 0": middle(plain, 1),
        "share waiting, ahead 2": middle(ahead, 1),
    }
    ratio = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "n": repeats, "peer": "ahead=0"}
    return ratio, {k: round(v, 4) for k, v in figures.items()}


def main() -> None:
    options = harness.arguments(__doc__ or "")
    progress.QUIET = True
    ratios, figures = {}, {}
    with tempfile.TemporaryDirectory() as folder, arranged(0, "cpu"):
        root = Path(folder)
        kinds = material(root, options.quick)
        seconds = 0.5 if options.quick else 2.0
        for name, config in kinds.items():
            slow, fast = starved(config).build(), config.build()
            for data in fast.members if isinstance(fast, Mixture) else [fast]:
                if isinstance(data, Pixels):  # everything decoded once
                    for entry in data.entries:
                        data.read(entry)
            pairs = [(pace(slow, seconds / 2), pace(fast, seconds / 2)) for _ in range(1 if options.quick else 3)]
            figures[f"{name}: rows/s"] = {
                "decoding": round(statistics.median(a for a, _ in pairs), 1),
                "kept": round(statistics.median(b for _, b in pairs), 1),
            }
        episodes, clips = str(root / "episodes"), kinds["clips"]
        tokenizer, video = tabletop.demo_frame_c8(episodes), tabletop.demo_video_d4x8x8(episodes)
        world = tabletop.demo_unet(episodes, cache=str(root / "cache"))
        runs = {
            "frame tokenizer, episodes kept": tokenizer,
            "video tokenizer, episodes kept": video,
            "world, latents kept": world,
            "video tokenizer, 360p clips decoded anew": dataclasses.replace(video, data=starved(clips)),
        }
        for name, config in runs.items():
            ratios[name], figures[name] = turns(Steps(config), 2 if options.quick else 4, 2 if options.quick else 5)
    harness.report(__file__, ratios, figures, options)


if __name__ == "__main__":
    main()
