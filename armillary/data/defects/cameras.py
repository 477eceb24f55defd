"""Whether each camera of a LeRobot data set shows what it should.

Cameras that were exchanged betray themselves by their size, by the statistics that the set carries of its pictures, or, where it carries
none, by one episode's views that look like the other episodes' views of the other camera.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.defects.rows import episode_stats
from armillary.data.defects.validate import Findings, episodes_named
from armillary.data.lerobot import stats as st
from armillary.data.lerobot.read import LeRobotDataset
from armillary.store import sha256_file

LOOKS = ("mean", "std", "q10", "q50", "q90")  # what tells two cameras' pictures apart
# By how much of [0, 1] the mean colour of an episode may miss its statistics: others looked at other frames, and codecs shift colours.
SHIFT = 0.06


# Cameras count as exchanged when each fits the other's so much better than its own. Measured on the sample of Bridge, whose cameras were
# moved between episodes: 1.04 to 2.1 as they are, 0.48 to 0.96 exchanged.
CROSSED = 0.7


@dataclass
class Seen:
    """What pictures look like: (position, camera) -> statistics and mean thumbnail `8 8 3`; camera -> file -> (height, width)."""

    stats: dict[tuple[int, str], st.Stats] = field(default_factory=dict)
    thumbs: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    sizes: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)


def check_sizes(data: LeRobotDataset, seen: Seen, found: Findings) -> None:
    """Heights and widths against meta/info.json."""
    declared = {c: _declared(data.features[key]) for c, key in data.keys.items()}
    wrong = {c: {n: s for n, s in files.items() if declared[c] and s != declared[c]} for c, files in seen.sizes.items()}
    told: set[str] = set()
    for a, b in itertools.combinations(wrong, 2):
        if wrong[a] and wrong[b] and set(wrong[a].values()) == {declared[b]} and set(wrong[b].values()) == {declared[a]}:
            what = f"Files of camera {a} have the size of camera {b}, and the other way round"
            found.add("swapped-cameras", f"cameras {a} and {b}: {', '.join(sorted([*wrong[a], *wrong[b]])[:4])}", what)
            told |= {a, b}
    for camera, files in wrong.items():
        for name, (height, width) in files.items():
            if camera not in told and (there := declared[camera]):
                what = f"Its pictures are {width}x{height}; meta/info.json says {there[1]}x{there[0]} for camera {camera}"
                found.add("video-size", name, what)


def _declared(feature: dict[str, Any]) -> tuple[int, int] | None:
    shape, names = feature.get("shape") or [], feature.get("names")
    if len(shape) != 3:
        return None
    if isinstance(names, list) and "height" in names and "width" in names:
        return int(shape[names.index("height")]), int(shape[names.index("width")])
    return (int(shape[1]), int(shape[2])) if shape[0] == 3 and shape[2] != 3 else (int(shape[0]), int(shape[1]))


def check_views(data: LeRobotDataset, seen: Seen, copied: set[str], found: Findings) -> None:
    """Pictures against the statistics that the set carries, and views against each other. Args: `copied` cameras told already."""
    carried, where = episode_stats(data)
    said = {(i, c): carried.get(i, {}).get(data.keys[c]) for i, c in seen.stats}
    known = {at: v for at, v in ((at, _vector(s)) for at, s in said.items() if s) if v is not None}
    swapped: dict[tuple[str, str], list[int]] = {}
    for i in sorted({i for i, _ in seen.thumbs}):
        cameras = [c for c in data.cameras if (i, c) in seen.thumbs]
        for a, b in itertools.combinations(cameras, 2):
            if (i, a) in known and (i, b) in known:
                straight, crossed = _both_ways(
                    {c: _vector(seen.stats[i, c]) for c in (a, b)}, {c: known[i, c] for c in (a, b)}, a, b
                )
                certain = straight > 0.02
            else:
                straight, crossed = _to_others(seen.thumbs, i, a, b)
                certain = straight > 0.05
            if certain and crossed < CROSSED * straight:
                swapped.setdefault((a, b), []).append(i)
    for (a, b), places in swapped.items():
        numbers = episodes_named(data.episodes[i]["episode_index"] for i in places)
        what = f"What camera {a} shows is what the set elsewhere says camera {b} shows, and the other way round"
        found.add("swapped-cameras", f"cameras {a} and {b}, {numbers}", what)
    told = {(i, c) for pair, places in swapped.items() for i in places for c in pair}
    off = {
        at: float(np.abs(known[at][:3] - v[:3]).max())
        for at, s in seen.stats.items()
        if at in known and at not in told and (v := _vector(s)) is not None
    }
    for camera in data.cameras:
        if bad := [i for (i, c), distance in off.items() if c == camera and distance > SHIFT and c not in copied]:
            numbers = episodes_named(data.episodes[i]["episode_index"] for i in bad)
            what = f"The mean colour of camera {camera} is off by up to {max(off[i, camera] for i in bad):.2f} of 1"
            found.add("stats-wrong", f"{where}, {numbers}", what)


def _to_others(thumbs: dict[tuple[int, str], np.ndarray], i: int, a: str, b: str) -> tuple[float, float]:
    """Mean distance of an episode's two views to the three nearest of the other episodes', and that with the cameras exchanged."""

    def near(view: np.ndarray, camera: str) -> float:
        others = sorted(float(np.abs(view - t).mean()) / 255 for (j, c), t in thumbs.items() if c == camera and j != i)
        return float(np.mean(others[:3])) if len(others) >= 3 else 0.0

    x, y = thumbs[i, a], thumbs[i, b]
    return (near(x, a) + near(y, b)) / 2, (near(x, b) + near(y, a)) / 2


def _both_ways(is_: dict[str, Any], said: dict[str, Any], a: str, b: str) -> tuple[float, float]:
    """Mean distance of two cameras to what is said of them, and to what is said of each other."""
    distance = lambda x, y: float(np.abs(x - y).mean())  # noqa: E731
    return (distance(is_[a], said[a]) + distance(is_[b], said[b])) / 2, (
        distance(is_[a], said[b]) + distance(is_[b], said[a])
    ) / 2


def _vector(stats: Any) -> np.ndarray | None:
    """Means first, then what else there is of `LOOKS`; None when the statistics are not those of a picture in colour."""
    try:
        out = np.concatenate([np.asarray(stats[k], np.float64).reshape(-1) for k in LOOKS])
    except (KeyError, TypeError, ValueError):
        return None
    return out if len(out) == 3 * len(LOOKS) and np.isfinite(out).all() else None


def check_copies(root: Path, files: dict[str, str], found: Findings) -> set[str]:
    """Files of different cameras that are the same bytes. Args: `files` name -> camera. Returns the cameras."""
    told: set[str] = set()
    by_size: dict[int, list[str]] = {}
    for name in files:
        if (root / name).is_file():
            by_size.setdefault((root / name).stat().st_size, []).append(name)
    for names in by_size.values():
        if len({files[n] for n in names}) < 2:
            continue
        by_hash: dict[str, list[str]] = {}
        for name in names:
            by_hash.setdefault(sha256_file(root / name), []).append(name)
        for same in by_hash.values():
            if len({files[n] for n in same}) > 1:
                cameras = " and ".join(sorted({files[n] for n in same}))
                found.add("same-video", " = ".join(same[:3]), f"Cameras {cameras} have the same file")
                told |= {files[n] for n in same}
    return told
