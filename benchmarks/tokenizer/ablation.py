"""What each term of the tokenizer's loss is worth: the base loss, and the base with one term more, in equal seconds of one core.

    python benchmarks/tokenizer/ablation.py --data DATA --held HELD [--seconds 150] [--save]

DATA and HELD hold a folder of recorded episodes for each simulator and a folder `clips` of videos, as the recipe `video-c4x8x8-mixed`
wants them; nothing of HELD is trained on. Every run has the same seed, sees the same batches in the same order (a dearer term sees fewer),
is a narrow `video-c4x8x8`, and its learning rate falls to 0 over its seconds. What a term costs is therefore part of its result.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from armillary import features
from armillary.data import ClipsConfig, EpisodesConfig
from armillary.evaluate.reconstruct import evaluate_tokenizer
from armillary.media import to_tensor
from armillary.presets import to_json
from armillary.progress import say
from armillary.recipes.tokenizers import WORLDS, video_c4x8x8_mixed
from armillary.tokenizers import ObjectiveConfig, TokenizerObjective
from armillary.tokenizers.objective import RivalConfig
from armillary.train.ema import Average
from armillary.train.loop import step_rng
from armillary.train.models import TokenizerRun
from armillary.train.optim import make_optimizer, named_parameters

BASE = ObjectiveConfig()
# Weights as published where there are such; the base loss is l1 + 2 l2 + gradient / 2, saliency 4.
TERMS: dict[str, ObjectiveConfig] = {
    "base": BASE,
    "l1 alone": dataclasses.replace(BASE, l2=0.0, gradient=0.0),
    "flow": dataclasses.replace(BASE, flow=0.5),
    "window": dataclasses.replace(BASE, window=0.2),
    "adversary": dataclasses.replace(BASE, adversary=0.1, rival=RivalConfig(width=16)),
    "perceptual": dataclasses.replace(BASE, perceptual=0.1, looks=4),
    "gram": dataclasses.replace(BASE, gram=0.062, looks=4),
}
WIDTH, BATCH, FRAMES = 32, 4, 9


def fit(data: Any, objective: ObjectiveConfig, seconds: float, seed: int = 0) -> tuple[TokenizerObjective, int]:
    """A narrow tokenizer after so many CPU seconds in steps, with averaged weights, and how many steps that were."""
    run = TokenizerRun("video-c4x8x8", overrides=(f"width={WIDTH}",), objective=objective)
    run = dataclasses.replace(run, features="small" if objective.perceptual or objective.gram else "")
    torch.manual_seed(seed)
    model = run.build(data)
    assert isinstance(model, TokenizerObjective)
    optimizer = make_optimizer(model, video_c4x8x8_mixed("").optim)
    rival = None if model.rival is None else torch.optim.AdamW(model.rival.parameters(), lr=4e-4, betas=(0.5, 0.999))
    average, spent, step = Average(model, 0.99), 0.0, 0
    while spent < seconds:
        batch = data.batch(step, BATCH, seed)
        began = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * (1 + math.cos(math.pi * spent / seconds)) / 2
        loss, _ = model(batch, step_rng(seed, step, 0))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(list(named_parameters(model).values()), 1.0)
        if rival is not None:
            against, _ = model.rival_loss()
            rival.zero_grad()
            against.backward()
            rival.step()
        optimizer.step()
        average.update(model, step)
        spent, step = spent + time.process_time() - began, step + 1
    with torch.no_grad():
        for name, p in named_parameters(model).items():
            p.copy_(average.tensors[name])
    return model.eval(), step


def held_out(folder: Path, frames: int = 33, each: int = 8) -> dict[str, np.ndarray]:
    """Windows uint8 `t 64 64 3` by name, from every simulator and from every video file."""
    out = {}
    for world in WORLDS:
        data = EpisodesConfig(str(folder / world), frames=frames, actions=False, held_out=0.0).build("train")
        out |= {f"{world}/{e.key}": data.window(e, 0) for e in data.entries[:each]}
    clips = ClipsConfig(str(folder / "clips"), frames=17, held_out=0.0, stretch=4.0).build("train")
    seen: dict[str, int] = {}
    for e in clips.entries:
        seen[e.group] = seen.get(e.group, 0) + 1
        if seen[e.group] <= 3:
            out[f"clips/{e.key}"] = clips.window(e, 0)
    return out


def flicker(truth: np.ndarray, made: np.ndarray) -> float:
    """Mean change of the error from frame to frame, grey levels."""
    error = made.astype(np.float32) - truth
    return float(np.abs(np.diff(error, axis=0)).mean())


def distance(eye: features.Features, truth: list[np.ndarray], made: list[np.ndarray]) -> float:
    """Mean feature distance between frames of truth and reconstruction (every fourth)."""
    rows = []
    for a, b in zip(truth, made):
        x, y = (to_tensor(v[::4])[0].transpose(0, 1) for v in (a, b))
        with torch.no_grad():
            rows.append(float(features.apart(eye, x, y).mean()))
    return float(np.mean(rows))


def measure(model: TokenizerObjective, held: dict[str, np.ndarray], eye: features.Features) -> dict[str, float]:
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    report = evaluate_tokenizer(model.tokenizer, held, max_frames=None, watch=lambda _, a, b: pairs.append((a, b)))
    row = {k: report.metrics[k]["mean"] for k in ("psnr", "psnr_foreground", "ssim", "sharpness")}
    row["flicker"] = float(np.mean([flicker(a, b) for a, b in pairs]))
    row[f"features {eye.name}"] = distance(eye, [a for a, _ in pairs], [b for _, b in pairs])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--held", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--terms", nargs="*", default=list(TERMS), choices=list(TERMS))
    parser.add_argument("--save", action="store_true", help="also write the dated result beside the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    mixed = video_c4x8x8_mixed(given.data).data
    sources = tuple(dataclasses.replace(s, frames=FRAMES) for s in mixed.sources)  # type: ignore[union-attr]
    data = dataclasses.replace(mixed, sources=sources, images=0.0).build("train")  # type: ignore[call-arg]
    fitted = {}
    for name in given.terms:
        fitted[name] = fit(data, TERMS[name], given.seconds)
        say(f"{name}: {fitted[name][1]} steps")
    held, eye = held_out(given.held), features.load("small")
    rows = {}
    for name, (model, steps) in fitted.items():
        rows[name] = {"steps": steps, **measure(model, held, eye)}
        say(f"{name}: {json.dumps({k: round(v, 3) for k, v in rows[name].items()})}")
    result = {
        "date": datetime.date.today().isoformat(),
        "seconds": given.seconds,
        "clips": len(held),
        "size": {"name": "video-c4x8x8", "width": WIDTH, "batch": BATCH, "frames": FRAMES},
        "terms": {name: to_json(TERMS[name]) for name in rows},
        "rows": rows,
    }
    if given.save:
        path = Path(__file__).parent / f"ablation-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["rows"], indent=1))


if __name__ == "__main__":
    main()
