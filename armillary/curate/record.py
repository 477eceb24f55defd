"""A window's analysis on disk: arrays in an `.npz`, pictures as JPEGs one after the other in a `.jpgs` beside it.

No pickle; a torn or foreign file counts as not there. The pictures stay on disk until one is looked at.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.analyse import Look, Segment, Stored, join
from armillary.curate.flow import CELLS, FlowRow
from armillary.curate.shots import Transition
from armillary.errors import Failed
from armillary.media import VideoInfo
from armillary.presets import from_json, to_json
from armillary.store import atomic_path, write_bytes

FORMAT = 4
FLOW = tuple(f.name for f in dataclasses.fields(FlowRow) if f.name != "growth")
ARRAYS = ("times", "change", "change_peak", "luma", "contrast", "keys")


def save_segment(path: Path, segment: Segment) -> None:
    """Write one window, whole or not at all."""
    measures = sorted({name for k in segment.looks for name in k.measures})
    packed = [k.picture if isinstance(k.picture, bytes) else b"" for k in segment.looks]
    head = {
        "format": FORMAT,
        "info": to_json(segment.info),
        "end": segment.end,
        "lost": segment.lost,
        "errors": list(segment.errors),
        "measures": measures,
        "kinds": [t.kind for t in segment.transitions],
    }
    arrays: dict[str, Any] = {
        "head": np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8),
        "transitions": np.array([(t.start, t.end, t.score) for t in segment.transitions], np.float64).reshape(-1, 3),
        "gaps": np.array(segment.gaps, np.int64),
        "flow": np.array([[getattr(r, n) for n in FLOW] for r in segment.flow], np.float64).reshape(-1, len(FLOW)),
        "flow_growth": np.array([r.growth for r in segment.flow], np.float32).reshape(-1, CELLS * CELLS),
        "look_times": np.array([k.time for k in segment.looks], np.float64),
        "look_measures": np.array([[k.measures.get(m, np.nan) for m in measures] for k in segment.looks], np.float64),
        "look_vectors": np.array([k.vector for k in segment.looks], np.float32),
        "look_hashes": np.array([k.hash for k in segment.looks], np.uint64),
        "look_ends": np.cumsum([len(p) for p in packed], dtype=np.int64),
        **{name: getattr(segment, name) for name in ARRAYS},
    }
    write_bytes(path.with_suffix(".jpgs"), b"".join(packed))  # first: the arrays' being there says that all is
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_segment(path: Path, seen: bool = True) -> Segment | None:
    """The window that `save_segment` wrote, or None when there is none that is whole and of this format.

    Args:
        seen: with its looks and its flow; without, it takes a tenth of the memory.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            head = json.loads(data["head"].tobytes())
            if head["format"] != FORMAT:
                return None
            names = [n for n in data.files if n != "head" and (seen or not n.startswith(("look_", "flow")) or n == "look_ends")]
            return _segment(head, {name: data[name] for name in names}, path.with_suffix(".jpgs"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _segment(head: dict[str, Any], a: dict[str, np.ndarray], pictures: Path) -> Segment:
    ends = [0, *(int(e) for e in a["look_ends"])]
    if pictures.stat().st_size != ends[-1]:
        raise ValueError("the pictures do not belong to the record")
    looks = (
        ()
        if "look_times" not in a
        else tuple(
            Look(
                float(t),
                Stored(pictures, ends[i], ends[i + 1] - ends[i]),
                {m: float(x) for m, x in zip(head["measures"], a["look_measures"][i])},
                a["look_vectors"][i],
                int(a["look_hashes"][i]),
            )
            for i, t in enumerate(a["look_times"])
        )
    )
    flow = (
        ()
        if "flow" not in a
        else tuple(FlowRow(*row.tolist(), growth=growth) for row, growth in zip(a["flow"], a["flow_growth"], strict=True))
    )
    return Segment(
        info=from_json(VideoInfo, head["info"]),
        end=float(head["end"]),
        transitions=tuple(Transition(k, int(s), int(e), float(x)) for k, (s, e, x) in zip(head["kinds"], a["transitions"])),
        flow=flow,
        looks=looks,
        lost=int(head["lost"]),
        gaps=tuple(int(g) for g in a["gaps"]),
        errors=tuple(head["errors"]),
        **{name: a[name] for name in ARRAYS},
    )


def load_all(paths: Sequence[Path], seen: bool = True) -> Segment:
    """Windows joined; `seen` as in `load_segment`.

    Raises:
        Failed: naming the first that is not whole; it is removed, so that the next run makes it again.
    """
    parts = []
    for path in paths:
        part = load_segment(path, seen)
        if part is None:
            path.unlink(missing_ok=True)
            raise Failed(f"{path.name} is no whole record of a window.")
        parts.append(part)
    return join(parts)
