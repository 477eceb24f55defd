"""How the embedded features rank distortions of real frames, and where their distance saturates.

    python benchmarks/tokenizer/features.py FOLDER [--save]

FOLDER holds videos; two frames of each are cropped and resized to 64 x 64. Beside the shipped weights: the same network with random
ones, and mean absolute error. `order` and `monotonic` are those of `recipes/features.py`; `blur` is the mean distance by the width of a
Gaussian in pixels.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import torch

from armillary import features, media
from armillary.errors import ArmillaryError
from armillary.evaluate.footage import find
from armillary.progress import say
from armillary.recipes.distort import gaussian
from armillary.recipes.features import contenders, ranked
from armillary.store import write_json

WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)


def frames(folder: Path) -> torch.Tensor:
    """uint8 `n 3 64 64`."""
    out = []
    for item in find(folder, "videos"):
        try:
            film = item.read(90).frames
        except ArmillaryError as error:
            say(f"{item.name} was left out: {error}")
            continue
        out += [media.fit(film[i], (64, 64)) for i in sorted({min(5, len(film) - 1), max(0, len(film) - 2)})]
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", action="store_true", help="also write the dated result beside the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    held, network = frames(given.folder), features.load("small")
    scaled = held.float() / 127.5 - 1
    blurred = {w: torch.stack([gaussian(x.float() / 255, w) for x in held]).clamp(0, 1) * 2 - 1 for w in WIDTHS}
    rows = {}
    for name, distance in contenders(network, scaled).items():  # type: ignore[arg-type]
        curve = {str(w): round(float(distance(scaled, x).mean()), 4) for w, x in blurred.items()}
        rows[name] = ranked(distance, held, 1) | {"blur": curve}
        say(f"{name}: {rows[name]['order']}")
    result = {
        "date": datetime.date.today().isoformat(),
        "frames": len(held),
        "features": {"name": network.name, "sha256": network.sha256},
        "rows": rows,
    }
    if given.save:
        write_json(Path(__file__).parent / f"features-{result['date']}.json", result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
