"""A drive as a folder (written by `driving.write`): read, and looked through for cameras that are missing, swapped or out of step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary import media
from armillary.data.base import Entry
from armillary.data.driving.write import FORMAT, POINTS, VERSION, trajectories
from armillary.data.moments import fitted, frame_times, shown_at
from armillary.errors import BadInput
from armillary.media import MediaError
from armillary.media.poses import rigid
from armillary.presets import from_json
from armillary.store import read_json, sha256_file
from armillary.types import ActionSpec, Camera

# Going round to the right, beginning where the front camera may look.
ROUND = ("front", "right", "rear_right", "rear", "rear_left", "left")
AHEAD = 40.0  # degrees to either side that still are the front


@dataclass(frozen=True)
class Drive:
    """An entry and how its frames are read.

    Args:
        read: (first, frames) -> uint8 `(v frames) h w 3`.
        files: that it is made of, with their sha256 where that was taken.
    """

    entry: Entry
    fps: float
    spec: ActionSpec | None
    read: Callable[[int, int], np.ndarray]
    files: Mapping[Path, str]


def read_drive(folder: Path, root: Path, views: tuple[str, ...], size: tuple[int, int]) -> Drive:
    """One drive of a dataset at `root`, seen by `views` at `size` = (height, width).

    Raises:
        BadInput, MediaError: what does not fit.
    """
    told = read_json(folder / "drive.json")
    if not isinstance(told, dict) or told.get("format") != FORMAT or told.get("version") != VERSION:
        raise BadInput(f"its drive.json is not of format {FORMAT!r}, version {VERSION}")
    told = {**told, "cameras": _named(told.get("cameras")), "captions": _named(told.get("captions"))}
    videos = {p.stem.replace("-", "_"): p for p in sorted(folder.glob("*.mp4"))}
    lacking = [f"{v}.mp4" for v in views if v not in videos]
    lacking += [f"the calibration of {v}" for v in views if v not in told["cameras"]]
    if lacking:
        raise BadInput(f"it lacks {', '.join(lacking)}; there are {', '.join(p.name for p in videos.values()) or 'no videos'}")
    try:
        rigs = {v: rigid(np.array(c["rig"], np.float64)[None])[0] for v, c in told["cameras"].items()}
        lenses = {v: np.array(c["intrinsics"], np.float64).reshape(3, 3) for v, c in told["cameras"].items()}
        shapes = {v: (float(c["height"]), float(c["width"])) for v, c in told["cameras"].items()}
        fps = float(told["fps"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"its drive.json is not complete: {error}") from error
    if not 0 < fps < 1000:
        raise BadInput(f"its fps is {fps}")
    check_places(rigs)
    files = _written(told.get("videos") or {}, {v: videos[v] for v in views}, videos)
    spec = from_json(ActionSpec, told["spec"]) if told.get("spec") else None
    ego, actions, way = _motion(folder / "motion.safetensors", fps, spec)
    times = {view: frame_times(videos[view]) for view in views}
    for view, clock in times.items():
        if len(clock) != len(ego):
            raise BadInput(f"{videos[view].name} has {len(clock)} frames, the car {len(ego)} poses")
    cameras = []
    for view in views:
        info = media.probe(videos[view])
        lens = fitted(lenses[view], shapes[view], (info.height, info.width), size, video=True)
        cameras.append(Camera(view, size[1], size[0], lens, ego @ rigs[view]))

    def read(first: int, frames: int) -> np.ndarray:
        try:
            return np.concatenate([shown_at(videos[v], times[v][first : first + frames], size) for v in views])
        except MediaError as error:
            raise BadInput(f"{folder} is damaged ({error}). Take it out of {root}.") from error

    sentences = tuple(str(told["captions"].get(v, "")) for v in views)
    key = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    entry = Entry(
        key=key,
        group=str(told.get("source") or key),
        length=len(ego),
        texts=(str(told["caption"]),) if told.get("caption") else (),
        actions=actions,
        cameras=tuple(cameras),
        trajectory=way,
        ego=ego,
        view_texts=sentences if any(sentences) else (),
    )
    return Drive(entry, fps, spec, read, files | {folder / "drive.json": "", folder / "motion.safetensors": ""})


def _named(table: Any) -> dict[str, Any]:
    """By view: `rear-left` is `rear_left`."""
    return {str(k).replace("-", "_"): v for k, v in table.items()} if isinstance(table, dict) else {}


def _motion(path: Path, fps: float, spec: ActionSpec | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Ego poses `t 4 4`, actions `t a`, trajectories `t 64 3`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path.name} is missing or damaged ({error})") from error
    ego = arrays.get("ego")
    if ego is None or ego.ndim != 3 or ego.shape[1:] != (4, 4) or not len(ego):
        raise BadInput(f"{path.name} has no `ego` of shape t 4 4")
    ego = rigid(ego.astype(np.float64))
    actions, way = arrays.get("actions"), arrays.get("trajectory")
    for name, array, shape in (
        ("actions", actions, (len(ego), spec.dim if spec else 0)),
        ("trajectory", way, (len(ego), POINTS, 3)),
    ):
        if array is not None and (array.shape != shape or not np.isfinite(array).all()):
            raise BadInput(f"{path.name}: {name} is {array.shape} (or not finite); {shape} is wanted")
    if spec is not None and actions is None:
        raise BadInput(f"{path.name} has no `actions`, which drive.json speaks of")
    way = trajectories(ego, fps) if way is None else way
    return ego, None if actions is None else actions.astype(np.float32), way.astype(np.float32)


def bearing(rig: np.ndarray) -> float:
    """Where a camera on a vehicle looks: degrees to the right of straight ahead, in [-180, 180)."""
    return float((np.degrees(np.arctan2(-rig[1, 2], rig[0, 2])) + 180.0) % 360.0 - 180.0)


def check_places(rigs: Mapping[str, np.ndarray]) -> None:
    """Raises BadInput: going round the car, the cameras do not come in the order of their names."""
    wanted = [v for v in ROUND if v in rigs]
    angle = {v: bearing(rigs[v]) for v in wanted}
    found = sorted(wanted, key=lambda v: (angle[v] + AHEAD) % 360.0)
    if found == wanted:
        return
    wrong = [
        f"{here} looks {angle[here]:+.0f} degrees, where {there} belongs" for there, here in zip(wanted, found) if here != there
    ]
    pair = [here for there, here in zip(wanted, found) if here != there]
    swap = f"{pair[0]} and {pair[1]} are swapped: " if len(pair) == 2 else "its cameras are swapped: "
    raise BadInput(swap + "; ".join(wrong) + " (to the right of straight ahead)")


def _written(told: Mapping[str, str], wanted: Mapping[str, Path], videos: Mapping[str, Path]) -> dict[Path, str]:
    """sha256 of each wanted video. Raises BadInput: one is not the file it was written as, above all when it is another's."""
    told = _named(told)
    found = {path: sha256_file(path) for path in (videos if told else wanted).values()}
    owner = {sha: view for view, sha in told.items()}
    for view, path in wanted.items():
        if view in told and told[view] != found[path]:
            other = owner.get(found[path])
            if other:
                raise BadInput(f"{path.name} holds what {other}.mp4 was written as: their files are swapped")
            raise BadInput(
                f"{path.name} is not the file it was written as; if that is meant, take it out of `videos` in drive.json"
            )
    return {path: found[path] for path in wanted.values()}
