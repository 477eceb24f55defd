"""What a diffusion decoder gains over the discrete one, on held-out clips: PSNR (all, foreground), SSIM and the distance of features.

    python benchmarks/autoregressive/refine.py --refiner runs/stream/model --data HELD [--clips 40] [--frames 33] [--save] [--json]

Every arm draws the same tokens, those of the truth. `decoder`: the discrete tokenizer's own; `refiner`: the diffusion decoder from tokens
alone; `refiner, 1 given`: from the first frame on, which a streaming one sees as it is; `ceiling`: the continuous tokenizer's own
reconstruction; `copy`: that first frame again. The first frame counts in no arm. Gains are paired by clip, with 95 % intervals.
Features are the embedded `small` (what it ranks right, and what it does not: docs/log.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness

from armillary import features, media, tokenizers
from armillary.data.lerobot.read import LeRobotDataset
from armillary.evaluate import pixels
from armillary.evaluate.stats import estimate
from armillary.features.base import apart
from armillary.worlds.autoregressive.refine import load_refiner
from armillary.worlds.autoregressive.stream import StreamRefiner, draft_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refiner", required=True, help="as `armillary train stream-tabletop` or `refine-tabletop` makes it")
    parser.add_argument("--data", type=Path, required=True, help="LeRobot episodes that nobody trained on")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=33, help="1 + 4 k of each")
    parser.add_argument("--sheet", help="folder for pictures: a row an arm, the last frames of eight clips")
    for flag in ("json", "quick", "save"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    refiner = load_refiner(options.refiner)
    discrete, fine = tokenizers.load(refiner.tokens.name), tokenizers.load(refiner.latents.name)
    ranked = features.load("small")
    source = LeRobotDataset(options.data)
    camera = next(iter(source.cameras))
    rows: dict[str, list[dict[str, float]]] = {}
    pictures: dict[str, list[np.ndarray]] = {}
    for i in range(min(options.clips, len(source))):
        truth = media.fit(source.episode(i, cameras=(camera,)).frames[camera][: options.frames], refiner.tokens.size)
        for name, made in drawn(refiner, discrete, fine, truth).items():
            if name != "truth":
                rows.setdefault(name, []).append(judged(ranked, truth[1:], made[1:]))
            pictures.setdefault(name, []).append(made[-1])
    figures: dict[str, Any] = {
        "refiner": {"sha256": refiner.sha256, "kind": type(refiner).__name__},
        "clips": len(rows["decoder"]),
        "measured": {arm: {k: estimate([r[k] for r in held]) for k in held[0]} for arm, held in rows.items()},
        "over the decoder": {
            arm: {k: estimate([a[k] - b[k] for a, b in zip(held, rows["decoder"])]) for k in held[0]}
            for arm, held in rows.items()
            if arm != "decoder"
        },
    }
    if options.sheet:
        from PIL import Image

        folder = Path(options.sheet)
        folder.mkdir(parents=True, exist_ok=True)
        grid = np.concatenate([np.concatenate(made[:8], 1) for made in pictures.values()], 0)
        Image.fromarray(grid).resize((grid.shape[1] * 2, grid.shape[0] * 2)).save(folder / "refine.png")
    harness.report(__file__, {}, figures, options, stem="refine")


@torch.no_grad()
def drawn(refiner: Any, discrete: Any, fine: Any, truth: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 `t h w 3` of each arm."""
    seen = media.to_tensor(truth)
    ids, latents = discrete.encode(seen).ids, fine.encode(seen).values
    out = {"truth": truth, "decoder": media.to_frames(discrete.decode(ids))}
    told = draft_of(ids, discrete, fine) if isinstance(refiner, StreamRefiner) else ids
    out["refiner"] = media.to_frames(refiner.render(told, fine.decode, generator=Generator().manual_seed(0)))
    if isinstance(refiner, StreamRefiner):
        given = fine.encode(seen[:, :, :1]).values
        made = refiner.render(told, fine.decode, generator=Generator().manual_seed(0), given=given)
        out["refiner, 1 given"] = media.to_frames(made)
    out["ceiling"] = media.to_frames(fine.decode(latents))
    out["copy"] = np.repeat(truth[:1], len(truth), 0)
    return out


@torch.no_grad()
def judged(ranked: Any, truth: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Means over the frames of a clip."""
    far = apart(ranked, *(media.to_tensor(x)[0].transpose(0, 1) for x in (truth, made)))
    foreground = pixels.psnr_foreground(truth, made)
    return {
        "psnr": float(np.minimum(pixels.psnr(truth, made), 99.0).mean()),
        "psnr_foreground": float(np.minimum(foreground[np.isfinite(foreground)], 99.0).mean()),
        "ssim": float(pixels.ssim(truth, made).mean()),
        "features": float(far.mean()),
    }


if __name__ == "__main__":
    main()
