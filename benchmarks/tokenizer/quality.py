"""What the shipped small tokenizers keep of clips they never saw, beside what each has to beat.

    python benchmarks/tokenizer/quality.py [--clips FOLDER] [--tokenizers NAME ...] [--save]

Simulated: episodes of every simulator by scripted policies, from seeds that no recipe trains on (970,000 and on). Real: the videos of
FOLDER, every so manieth frame so that about ten a second are left, cropped and resized to 64 x 64; give only videos that nothing was
trained on.
Baselines and measures are those of `armillary tokenize eval`; distances are by the embedded features.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from armillary import features, media, tokenizers
from armillary.evaluate.compare import compare_tokenizers
from armillary.evaluate.footage import find
from armillary.presets import to_json
from armillary.progress import say
from armillary.recipes.features import TWINS
from armillary.sims import SIMS, make
from armillary.sims.record import record_episode
from armillary.store import weights_root, write_json
from armillary.types import Video

SEED, SIZE = 970_000, 64
NAMES = ("frame-c8-tabletop", "video-d4x8x8-tabletop", "video-c4x8x8-mixed", "video-d4x8x8-mixed")
KEPT = ("psnr", "psnr_foreground", "ssim", "flicker", "perceptual", "rfvd", "rfid")
ROOT = Path(__file__).resolve().parent


def simulated(name: str, episodes: int, frames: int) -> Iterator[tuple[str, Video]]:
    """Episodes of one simulator, its cameras and policies in turn, from `SEED` on."""
    sim = make(name)
    policies = list(sim.policies)
    for i in range(episodes):
        camera = sim.cameras[i % len(sim.cameras)]
        episode = record_episode(sim, SEED + i, policies[i % len(policies)], frames, (camera,), SIZE)
        yield episode.id, Video(episode.frames[camera], sim.fps, np.arange(frames) / sim.fps)


def real(folder: Path, frames: int, each: int) -> Iterator[tuple[str, Video]]:
    """Up to `each` stretches of every video, evenly spread, at about ten frames a second."""
    for item in find(folder, "videos"):
        video = item.read(None)
        step = max(1, round(video.fps / 10))
        kept = media.fit(video.frames[::step], (SIZE, SIZE))
        starts = np.unique(np.linspace(0, max(0, len(kept) - frames), each).round().astype(int))
        for start in starts:
            part = kept[start : start + frames]
            yield f"{item.name} +{start}", Video(part, video.fps / step, np.arange(len(part)) / 10)


def brief(contender: dict[str, Any]) -> dict[str, Any]:
    """One contender's figures, rounded, without single clips."""
    out: dict[str, Any] = {}
    for key in KEPT:
        v = contender[key]
        out[key] = None if v["mean"] is None else [round(v[k], 4) for k in ("mean", "low", "high")]
    out |= {
        k: contender[k] for k in ("bits_per_pixel", "values_per_pixel", "encode_ms", "decode_ms", "parameters", "over_budget")
    }
    out["codes"] = contender.get("codes")
    if over := contender.get("over"):
        out["psnr_over"] = {k: [round(v[e], 3) for e in ("mean", "low", "high")] for k, v in over.items()}
    return {k: v for k, v in out.items() if v is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=Path, help="a folder of real videos that nothing was trained on")
    parser.add_argument("--tokenizers", nargs="*", help="shipped names or folders; those of NAMES that ship otherwise")
    parser.add_argument("--episodes", type=int, default=12, help="of each simulator")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--save", action="store_true", help="also write the dated result beside the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = given.tokenizers or [n for n in NAMES if (weights_root() / n).is_dir()]
    models = {Path(n).name: tokenizers.load(n) for n in names}
    eyes = features.load("small")
    sources = {n: simulated(n, given.episodes, given.frames) for n in SIMS if n not in TWINS}
    if given.clips is not None:
        sources["real"] = real(given.clips, given.frames, 4)
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(), "threads": 1},
        "episodes": given.episodes,
        "real": sorted(p.name for p in given.clips.iterdir()) if given.clips is not None else [],
        "size": SIZE,
        "frames": given.frames,
        "features": {"name": eyes.name, "sha256": eyes.sha256},
        "tokenizers": {n: m.sha256 for n, m in models.items()},
        "sources": {},
    }
    for source, clips in sources.items():
        report, _ = compare_tokenizers(models, clips, features=eyes, picture_features=eyes, worst=0)
        rows = {c["name"]: brief(c) for c in report.metrics["contenders"]}
        result["sources"][source] = {"clips": report.metrics["clips"], "contenders": to_json(rows)}
        for name, row in rows.items():
            psnr, far = row["psnr"][0], row["perceptual"][0]
            say(f"{source}: {name}: {psnr:.2f} dB, perceptual {far:.4f}, {row['bits_per_pixel']:.3f} bits a pixel")
    if given.save:
        say(str(write_json(ROOT / f"quality-{result['date']}.json", result)))
    print(json.dumps(result["sources"]))


if __name__ == "__main__":
    main()
