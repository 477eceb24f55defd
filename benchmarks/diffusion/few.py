"""A world distilled to few steps beside its teacher: how near its samples are, what they show, what they cost.

    python benchmarks/diffusion/few.py --teacher runs/words/model --student runs/few/model [--prompts 50] [--save] [--json]
    python benchmarks/diffusion/few.py --teacher tabletop --student runs/few/model --data EPISODES --frames 8

Without `--data` both paint from words alone, on the scenes and prompts of `words.py`; right is what it calls right. With `--data` they go
on from held-out frames, and PSNR to what followed is told beside. The teacher samples in its own number of steps and in few, always with
the guidance that the student has folded in; all start from the same noise and walk by Euler steps, and PSNR to the teacher's own sample
says how far a shortened one is from it. The teacher's stochastic way (`ancestral`) is a row of its own.
Milliseconds are of the sample's latents, one row, one thread, CPU time, the arms in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
from colours import tracker
from words import found, scenes

from armillary.data import EpisodesConfig
from armillary.evaluate.stats import estimate
from armillary.media import to_frames
from armillary.rollout.dreamer import Dreamer
from armillary.worlds.diffusion.common import DiffusionWorld

WHOLE, FEW = 35, (4, 2, 1)  # evaluations of a sample as published, and of shortened ones
DATA_SEED = 77


def arms(teacher: Dreamer, student: Dreamer, usual: int) -> dict[str, tuple[Dreamer, dict[str, Any]]]:
    """Name -> who samples and how; the first is what the others are held against."""
    few = student.world.config.few
    able = [n for n in FEW if n in few.paces or few.paces[0] == 1]
    euler = {"solver": "euler", "guidance": few.guidance}
    steps = {f"teacher {n}": (teacher, {"steps": n, **euler}) for n in (usual, WHOLE, *FEW)}
    plain = {f"teacher {usual} unguided": (teacher, {"steps": usual, "solver": "euler"})} if few.guidance else {}
    by_chance = {"steps": usual, "guidance": few.guidance, "solver": "ancestral", "temperature": 1.0}
    chance = {f"teacher {usual} ancestral": (teacher, by_chance)}
    return steps | {f"student {n}": (student, {"steps": n}) for n in able} | plain | chance


def all_steps(dreamer: Dreamer, how: dict[str, Any]) -> dict[str, Any]:
    """A first frame of a stepping world has a number of its own."""
    return {**how, "first_steps": how["steps"]} if "first_steps" in dreamer.world.usual else how


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def painted(options: argparse.Namespace, dreamer: Dreamer) -> Iterator[SimpleNamespace]:
    spec = dreamer.world.action_spec
    for scene in scenes(options.prompts):
        for kind, text in scene.told.items():
            actions = None if spec is None else np.zeros((0, spec.dim))
            yield SimpleNamespace(
                kind=kind, seed=scene.seed, given=None, frames=1, text=text, actions=actions, truth=None, wanted=scene.wanted
            )


def followed(options: argparse.Namespace, dreamer: Dreamer) -> Iterator[SimpleNamespace]:
    past, k = max(1, dreamer.world.config.past), options.frames
    source = EpisodesConfig(str(options.data), frames=past + k, size=dreamer.size).build("held-out")
    for row in range(options.prompts):
        batch = source.batch(row, 1, DATA_SEED)
        assert batch.video is not None
        frames = to_frames(batch.video)
        keep = dreamer.usable(past)
        spec, actions = dreamer.world.action_spec, None
        if spec is not None and batch.actions is not None:
            actions = batch.actions[0, keep - 1 : keep - 1 + k].numpy()
        text = batch.text[0] if getattr(batch, "text", None) else ""
        yield SimpleNamespace(
            kind="held out",
            seed=row,
            given=frames[:keep],
            frames=k,
            text=text,
            actions=actions,
            truth=frames[keep : keep + k],
            wanted=None,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True, help="as `armillary train distill-...` makes it")
    parser.add_argument("--data", type=Path, help="LeRobot episodes: go on from their frames instead of painting from words")
    parser.add_argument("--frames", type=int, default=8, help="with --data: how many further ones")
    parser.add_argument("--prompts", type=int, default=50, help="scenes, or windows of --data")
    parser.add_argument("--sheet", help="folder for pictures of what was dreamed")
    for flag in ("json", "quick", "save"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher, student = Dreamer(options.teacher), Dreamer(options.student)
    if not isinstance(student.world, DiffusionWorld) or student.world.config.few is None:
        sys.exit(f"{options.student} is not distilled; `armillary info` says of a world whether it is.")
    usual = student.world.config.few.levels
    asked = list((followed if options.data else painted)(options, teacher))
    who, track = arms(teacher, student, usual), None if options.data else tracker()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in who}
    pictures: dict[str, list[np.ndarray]] = {name: [] for name in who}
    for ask in asked:
        shown = {}
        for name, (dreamer, how) in who.items():
            shown[name] = dreamer.dream(
                ask.given, ask.frames, prompt=ask.text, actions=ask.actions, seed=ask.seed, cut=True, **all_steps(dreamer, how)
            )
        best = next(iter(shown.values()))
        for name, made in shown.items():
            row: dict[str, Any] = {"kind": ask.kind, "seed": ask.seed, "psnr to the teacher's": psnr(made, best)}
            if ask.truth is not None:
                row["psnr to what followed"] = psnr(made, ask.truth)
            if track is not None:
                there, many = found(track, made[0]), dict(zip(track.names, track.count(made[:1])[0].tolist()))
                row |= {
                    "colours right": there == ask.wanted,
                    "number and colours right": many == {c: int(c in ask.wanted) for c in track.names},
                    "named there": len(there & ask.wanted) / len(ask.wanted),
                }
            rows[name].append(row)
            pictures[name].append(made[-1])
    figures: dict[str, Any] = {
        "teacher": {"sha256": teacher.world.sha256},
        "student": {"sha256": student.world.sha256, "distilled": student.world.config.few.record()},
        "samples": len(asked),
        "quality": {name: summary(r) for name, r in rows.items()},
        "ms_a_sample": times(who, asked[0], 2 if options.quick else 7),
    }
    if options.sheet:
        sheet(pictures, Path(options.sheet))
    if not options.json:
        for name, row in figures["quality"].items():
            print(f"{name:22} {figures['ms_a_sample'][name]:8.1f} ms  {json.dumps(row)}")
    harness.report(__file__, {}, figures, options, stem="few-data" if options.data else "few")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of each figure with a 95 % interval over scenes or windows, and shares by kind of prompt."""
    out: dict[str, Any] = {}
    kinds, seeds = sorted({r["kind"] for r in rows}), sorted({r["seed"] for r in rows})
    for name in rows[0].keys() - {"kind", "seed"}:
        whole = estimate([np.mean([float(r[name]) for r in rows if r["seed"] == seed]) for seed in seeds])
        out[name] = {k: round(v, 4) if isinstance(v, float) else v for k, v in whole.items()}
        if len(kinds) > 1:
            out[name] |= {k: round(float(np.mean([r[name] for r in rows if r["kind"] == k])), 4) for k in kinds}
    return out


def times(who: dict[str, tuple[Dreamer, dict[str, Any]]], ask: SimpleNamespace, repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of the latents of one sample."""
    taken: dict[str, list[float]] = {name: [] for name in who}
    for turn in range(repeats + 1):
        for name, (dreamer, how) in who.items():
            given = dreamer.empty() if ask.given is None else dreamer.encode(ask.given)
            told = dreamer.condition([ask.text], "", ask.actions, True)
            frames = ask.frames // dreamer.temporal if ask.given is not None else 1
            began = time.process_time()
            dreamer.extend(given, frames, told, ask.seed, **all_steps(dreamer, how))
            if turn:  # the first warms up
                taken[name].append(1000 * (time.process_time() - began))
    return {name: round(statistics.median(ms), 1) for name, ms in taken.items()}


def sheet(pictures: dict[str, list[np.ndarray]], folder: Path) -> None:
    """A row an arm, in the order of the arms."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    grid = np.concatenate([np.concatenate(made[:16], 1) for made in pictures.values()], 0)
    Image.fromarray(grid).resize((grid.shape[1] * 2, grid.shape[0] * 2)).save(folder / "few.png")


if __name__ == "__main__":
    main()
