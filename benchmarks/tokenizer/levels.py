"""What FSQ levels alone make of video: the linear shortcut of a fresh `video-d4x8x8`, fitted to data (`calibrate`), no step taken.

    python benchmarks/tokenizer/levels.py --data DATA --held HELD

Folders as `ablation.py` has them. It says which levels are worth training: how many channels, and how many levels for the first of them,
which begins as the brightness of a cell.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from ablation import held_out

from armillary import tokenizers
from armillary.evaluate.pixels import psnr
from armillary.evaluate.reconstruct import reconstructor
from armillary.recipes.tokenizers import mixed
from armillary.tokenizers.calibrate import calibrate

LEVELS = (
    (8, 5, 5, 5),
    (16, 5, 4, 3),
    (4, 4, 4, 4, 4, 4),
    (16, 4, 4, 4, 4),
    (8, 8, 8, 5, 5),
    (16, 6, 5, 5, 5),
    (8, 8, 8, 5, 5, 5),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--held", required=True, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    video = mixed(given.data, frames=9).build("train").batch(0, 24, 0).video
    assert video is not None
    held = [v[:9] for v in held_out(given.held, each=3).values()]
    for levels in LEVELS:
        config = dataclasses.replace(tokenizers.TOKENIZERS["video-d4x8x8"], levels=levels, channels=len(levels))
        torch.manual_seed(0)
        tokenizer = tokenizers.build(config).eval()
        before = np.mean([psnr(v, reconstructor(tokenizer)(v)).mean() for v in held])
        calibrate(tokenizer, video)
        after = np.mean([psnr(v, reconstructor(tokenizer)(v)).mean() for v in held])
        print(f"{math.prod(levels):6d} codes {levels!s:20} {before:.2f} dB as built, {after:.2f} dB fitted", flush=True)


if __name__ == "__main__":
    main()
