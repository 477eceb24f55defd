"""Windows of drives seen by several cameras at once, with the way the car took: our folders (`write_drive`), or a recorded simulator.

The views ride on the batch's time axis as `(v t)`, in the order of the config; poses, intrinsics and sentences come for each of them. A
drive that lacks a camera, whose cameras are swapped or whose files do not fit together is named and left out; the others are used.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary import media
from armillary.data.base import Entry, Split, hash_files, split_entries
from armillary.data.driving.folder import Drive, check_places, read_drive
from armillary.data.driving.write import VIEWS, ego_poses, trajectories
from armillary.data.moments import fitted
from armillary.data.pixels import Pixels, fit_spec
from armillary.data.truth import load_truth
from armillary.errors import BadInput, lookup
from armillary.media import MediaError
from armillary.progress import say, track
from armillary.types import Camera


@dataclass(frozen=True)
class DrivingConfig:
    """A folder of drives, or a dataset that `armillary sim record driving --cameras front left right rear rear_left rear_right` wrote.

    Args:
        path: a folder with a `drive.json` in each subfolder, or the recorded dataset.
        views: which cameras, in the order in which they ride on time.
        frames: in a window, of each view; taken at the drives' own rate.
        size: height and width; frames are cropped to that shape in the middle and resized by area, and the intrinsics with them.
        held_out: share of the drives (of what they were cut out of, where that is told) kept apart.
        focus: share of the windows drawn where the pictures change most.
        memory: GiB of decoded frames to keep.
        actions: false leaves them out.
    """

    path: str
    views: tuple[str, ...] = VIEWS
    frames: int = 9
    size: tuple[int, int] = (64, 64)
    held_out: float = 0.05
    focus: float = 0.0
    memory: float = 4.0
    actions: bool = True

    def build(self, split: Split = "train") -> Pixels:
        """Raises BadInput: nothing to read there, no such view, or no drive can be used."""
        root = Path(self.path)
        for view in self.views:
            lookup({v: v for v in VIEWS}, view, "view")
        if not self.views or len(set(self.views)) < len(self.views):
            raise BadInput(f"views wants one or more different ones of {', '.join(VIEWS)}; got {list(self.views)}.")
        recorded = (root / "meta" / "info.json").is_file()
        drives, broken = _recorded(root, self) if recorded else _folders(root, self)
        drives, odd = _alike(drives)
        if broken := broken + odd:
            say(f"warning: {len(broken)} of {len(drives) + len(broken)} drives are left out:\n  " + "\n  ".join(broken[:20]))
        if not drives:
            raise BadInput(f"None of the {len(broken)} drives in {root} can be used. {broken[0]}")
        found = {d.entry.key: d for d in drives}
        entries = [d.entry for d in drives]
        spec = drives[0].spec if self.actions else None
        if spec is not None:
            long = [e for e in entries if e.length >= self.frames] or entries
            spec = fit_spec(spec, split_entries(long, self.held_out, "train", str(root)))
        settings = json.dumps({"views": list(self.views), "size": list(self.size)})
        return Pixels(
            str(root),
            entries,
            lambda e: found[e.key].read(0, e.length),
            cut=lambda e, first, frames: found[e.key].read(first, frames),
            hash=hash_files(
                root, {f for d in drives for f in d.files}, settings, {k: v for d in drives for k, v in d.files.items()}
            ),
            split=split,
            frames=self.frames,
            size=self.size,
            fps=drives[0].fps,
            spec=spec,
            held_out=self.held_out,
            focus=self.focus,
            memory=self.memory,
            views=len(self.views),
        )


def _alike(drives: Sequence[Drive]) -> tuple[list[Drive], list[str]]:
    """The drives at the commonest rate with the commonest actions, and a sentence about each other one."""
    if not drives:
        return [], []
    fps, _ = Counter(d.fps for d in drives).most_common(1)[0]
    spec, _ = Counter(d.spec for d in drives if d.fps == fps).most_common(1)[0]
    kept, odd = [], []
    for drive in drives:
        if drive.fps != fps:
            odd.append(f"{drive.entry.key}: it has {drive.fps:g} frames a second, most have {fps:g}")
        elif drive.spec != spec:
            why = "; ".join(drive.spec.differences(spec)) if drive.spec and spec else "only some drives have any"
            odd.append(f"{drive.entry.key}: its actions are not those of most ({why})")
        else:
            kept.append(drive)
    return kept, odd


def _folders(root: Path, config: DrivingConfig) -> tuple[list[Drive], list[str]]:
    files = sorted(root.rglob("drive.json")) if root.is_dir() else []
    if not files:
        raise BadInput(f"{root} holds no drives: no drive.json in it or its subfolders, and it is no recorded simulator.")
    drives, broken = [], []
    for file in track(files, "look at the drives"):
        try:
            drives.append(read_drive(file.parent, root, config.views, config.size))
        except (BadInput, MediaError, OSError) as error:
            broken.append(f"{file.parent.relative_to(root)}: {error}")
    return drives, broken


# A recorded simulator -------------------------------------------------------------------------------------------------------------


def _recorded(root: Path, config: DrivingConfig) -> tuple[list[Drive], list[str]]:
    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.data.lerobot.write import truth_path

    source = LeRobotDataset(root)
    lacking = [v for v in config.views if v not in source.cameras]
    if lacking:
        raise BadInput(
            f"{root} lacks the cameras {', '.join(lacking)}; it has {', '.join(source.cameras) or 'none'}. Record it with "
            f"--cameras {' '.join(config.views)}, or name fewer in views."
        )
    shared = {p: "" for folder in ("meta", "data", "videos", "images") for p in (root / folder).rglob("*") if p.is_file()}
    drives, broken = [], []
    for i in track(range(len(source)), "look at the drives"):
        key = f"episode_{i:06d}"
        try:
            truth, facts, cameras = load_truth(truth_path(root, i))
            views = {c.name: c for c in cameras}
            if "ego" not in truth or not set(config.views) <= set(views):
                raise BadInput("it does not say where the car and its cameras were; it was recorded by something else")
            ego = ego_poses(truth["ego"])
            check_places({v: np.linalg.inv(ego[0]) @ views[v].pose.reshape(-1, 4, 4)[0] for v in VIEWS if v in views})
            episode = source.episode(i, cameras=())
        except BadInput as error:
            broken.append(f"{key}: {error}")
            continue
        said = facts.get("captions", {})
        entry = Entry(
            key=key,
            group=key,
            length=len(episode),
            texts=tuple(t for t in (episode.instruction, episode.caption) if t),
            actions=np.asarray(episode.actions, np.float32),
            cameras=tuple(_seen(views[v], config.size) for v in config.views),
            trajectory=trajectories(ego, source.fps),
            ego=ego,
            view_texts=tuple(said.get(v, "") for v in config.views) if said else (),
        )

        def read(first: int, frames: int, i: int = i) -> np.ndarray:
            seen = source.episode(i, cameras=config.views).frames
            return np.concatenate([media.fit(seen[v][first : first + frames], config.size) for v in config.views])

        drives.append(Drive(entry, source.fps, source.spec, read, shared | {truth_path(root, i): ""}))
    return drives, broken


def _seen(camera: Camera, size: tuple[int, int]) -> Camera:
    shape = (camera.height, camera.width)
    lens = fitted(camera.intrinsics, shape, shape, size, video=False)
    return dataclasses.replace(camera, width=size[1], height=size[0], intrinsics=lens)
