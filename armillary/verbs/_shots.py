"""`armillary curate shots`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

Settings = tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]]


def curate_shots(file: tyro.conf.Positional[Path], *, backend: str = "own", set: Settings = ()) -> dict[str, Any]:
    """Where one shot ends and the next begins: hard cuts, dissolves, fades and wipes of one video.

    A transition is the frames that belong to neither shot; a hard cut is the first frame of the new one. Times are presentation times on
    the stream's own clock, so a variable frame rate is right. Memory does not grow with the length.

    Example: armillary curate shots film.mp4 --json

    Args:
        file: a video.
        backend: `own`, or `transnetv2` (an optional package; many times the time, a GPU is used when there is one).
        set: settings to override: cut, gradual, inside, transnetv2 (thresholds between 0 and 1), weights.
    """
    from armillary.curate.shots import ShotConfig
    from armillary.curate.shots.windows import find
    from armillary.media import Reader
    from armillary.presets import override
    from armillary.progress import say

    settings = override(ShotConfig(backend=backend), set)
    with Reader(file) as reader:
        found = find(reader, settings)
    if found.lost:
        say(f"{found.lost} frames of {file} did not decode; frames are counted without them.")
    rows = [
        {
            "kind": t.kind,
            "start_frame": t.start,
            "end_frame": t.end,
            "start_s": round(float(found.times[t.start]), 6),
            "end_s": round(float(found.times[t.end]), 6),
            "confidence": round(min(1.0, max(0.0, t.score)), 4),
        }
        for t in found.transitions
    ]
    return {"file": str(file), "fps": found.fps, "frames": len(found.times), "transitions": rows}
