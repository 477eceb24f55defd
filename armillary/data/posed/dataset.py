"""Windows of video with the camera's pose at every frame: RealEstate10K, `transforms.json` (nerfstudio, DL3DV), recorded simulators.

Whatever the file's convention, what comes out is the house's: OpenCV camera-to-world, intrinsics in pixels of the frames that come out.
A path that cannot be read, or that does not fit its pictures, is named and left out; the others are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from armillary.data.base import Entry, Split, hash_files
from armillary.data.episodes import EpisodesConfig
from armillary.data.moments import fitted, nearest
from armillary.data.pixels import Pixels
from armillary.data.posed.frames import Film, Library, Stills, beside
from armillary.errors import BadInput
from armillary.media import MediaError, poses
from armillary.progress import say, track
from armillary.types import Camera


@dataclass(frozen=True)
class PosedConfig:
    """A folder of posed video, searched in its subfolders too. `docs/data-posed.md` shows the layouts.

    Args:
        path: a folder with RealEstate10K pose files (`NAME.txt`) or with `transforms.json` files, video or pictures beside them, or
            a dataset that `armillary sim record` wrote.
        camera: of a recorded simulator; empty for the first.
        frames: in a window; fps: the rate they are taken at: for each tick the pose nearest in time. 0 takes every pose. Where poses
            have no times (`transforms.json`) and where a simulator was recorded, every frame is taken.
        size: height and width; frames are cropped to that shape in the middle and resized by area, and the intrinsics with them.
        clock: what the times of RealEstate10K count from: the beginning of the `source` video, or the first pose where `clip`s were
            cut out of it. Empty: `source` where the video beside it reaches the last pose so, else `clip`.
        held_out: share of the source videos (of the scenes) kept apart.
        focus: share of the windows drawn where the picture changes most.
        memory: GiB of decoded frames to keep.
    """

    path: str
    camera: str = ""
    frames: int = 9
    size: tuple[int, int] = (64, 64)
    fps: float = 10.0
    clock: Literal["", "source", "clip"] = ""
    held_out: float = 0.1
    focus: float = 0.0
    memory: float = 4.0

    def build(self, split: Split = "train") -> Pixels:
        """Raises BadInput: nothing to read there, no such camera, or no stretch is long enough."""
        root = Path(self.path)
        if not root.is_dir():
            raise BadInput(f"{root} is no folder. Posed video is read from a folder of pose files, or a recorded simulator.")
        if self.fps < 0:
            raise BadInput(f"fps is a rate, or 0 for every pose; got {self.fps}.")
        if (root / "meta" / "info.json").is_file():
            return self._recorded(root, split)
        stretches, broken = [], []
        files = [*_pose_files(root)]
        if not files:
            raise BadInput(
                f"{root} holds no posed video: no RealEstate10K text file, no transforms.json, and no recorded simulator."
            )
        library = Library(root)
        for file in track(files, "match poses and frames"):
            try:
                stretches += self._stretches(file, root, library)
            except (BadInput, MediaError, OSError, UnicodeDecodeError) as error:
                broken.append(f"{file.relative_to(root)}: {error}")
        if broken:
            say(f"warning: {len(broken)} of {len(files)} camera paths are left out:\n  " + "\n  ".join(broken[:20]))
        if not stretches:
            raise BadInput(f"None of the {len(files)} camera paths in {root} can be used. {broken[0]}")
        found = {s.entry.key: s for s in stretches}
        settings = json.dumps({"size": list(self.size), "fps": self.fps, "clock": self.clock})
        used = {f for s in stretches for f in s.files}
        return Pixels(
            str(root),
            [s.entry for s in stretches],
            lambda e: found[e.key].read(0, e.length),
            cut=lambda e, first, frames: found[e.key].read(first, frames),
            hash=hash_files(root, used, settings),
            split=split,
            frames=self.frames,
            size=self.size,
            fps=self.fps or _rate(stretches),
            held_out=self.held_out,
            focus=self.focus,
            memory=self.memory,
        )

    def _stretches(self, file: Path, root: Path, library: Library) -> list[_Stretch]:
        """Runs of frames at one rate, each with its poses. Raises BadInput, MediaError: the path or its pictures are no good."""
        if file.name == "transforms.json":
            path = poses.read_transforms(file, root)
            pictures = beside(file, path, self.size)
        else:
            path = poses.read_realestate(file)
            pictures = library.find(file, path, self.clock)
        if path.bent * self.size[1] > 1.0:
            say(
                f"warning: {path.key}: its lens moves a corner by {path.bent * self.size[1]:.1f} pixels, which is not undone; "
                "undistort the pictures where that matters."
            )
        runs = [np.arange(len(path))] if path.times is None or not self.fps else _ticks(path.times, self.fps)
        if path.times is not None and max(len(r) for r in runs) == 1 < len(path):
            raise BadInput(f"its poses come {_pace(path.times):.3g} a second, too seldom for fps={self.fps:g}")
        intrinsics = fitted(path.intrinsics, path.shape, pictures.shape, self.size, isinstance(pictures, Film))
        caption = file.with_name("caption.txt") if file.name == "transforms.json" else file.with_suffix(".caption.txt")
        texts = (caption.read_text(encoding="utf-8").strip(),) if caption.is_file() else ()
        out = []
        for n, run in enumerate(runs):
            camera = Camera(path.key, self.size[1], self.size[0], intrinsics[run], path.poses[run])
            key = file.relative_to(root).with_suffix("").as_posix()
            entry = Entry(f"{key}#{n}", path.group, len(run), texts, cameras=(camera,))
            files = {file, *pictures.files(run), *([caption] if texts else [])}
            times = None if path.times is None else path.times[run]
            out.append(_Stretch(entry, pictures, run, self.size, frozenset(files), times))
        return out

    def _recorded(self, root: Path, split: Split) -> Pixels:
        """Episodes of a simulator, which knows where its camera was."""
        plain = EpisodesConfig(self.path, self.camera, self.frames, self.size, self.held_out, self.focus, self.memory)
        data = plain.build(split)
        if "poses" not in data.fields:
            raise BadInput(f"{root} is a dataset of episodes that does not say where its camera was.")
        return data


@dataclass(frozen=True)
class _Stretch:
    """An entry and where its frames come from. Args: `run` numbers of its poses; `times` of them, where known."""

    entry: Entry
    pictures: Film | Stills
    run: np.ndarray
    size: tuple[int, int]
    files: frozenset[Path]
    times: np.ndarray | None

    def read(self, first: int, frames: int) -> np.ndarray:
        """uint8 `frames h w 3`."""
        try:
            return self.pictures.read(self.run[first : first + frames], self.size)
        except MediaError as error:
            raise BadInput(f"{self.entry.key} is damaged ({error}). Take it out of the folder.") from error


def _pose_files(root: Path) -> Iterable[Path]:
    for path in sorted(root.rglob("*")):
        if path.name == "transforms.json" or (path.suffix == ".txt" and poses.is_realestate(path)):
            yield path


def _ticks(times: np.ndarray, fps: float) -> list[np.ndarray]:
    """Runs of poses nearest to ticks of `fps`; where none is within half a tick, a run ends and the next begins at the next pose."""
    runs, begin = [], 0
    while begin < len(times):
        ticks = times[begin] + np.arange(int((times[-1] - times[begin]) * fps + 1e-6) + 1) / fps
        near = nearest(times, ticks)
        wrong = np.abs(times[near] - ticks) > 0.5 / fps + 1e-6
        wrong[1:] |= near[1:] <= near[:-1]
        stop = max(1, int(np.argmax(wrong))) if wrong.any() else len(ticks)
        runs.append(near[:stop])
        begin = int(near[stop - 1]) + 1
        if stop == len(ticks):
            break
    return runs


def _pace(times: np.ndarray) -> float:
    return (len(times) - 1) / float(times[-1] - times[0])


def _rate(stretches: Sequence[_Stretch]) -> float:
    """Frames a second where every pose is taken: the median over the paths that have times."""
    paces = [_pace(s.times) for s in stretches if s.times is not None and len(s.times) > 1]
    if not paces:
        raise BadInput("The poses have no times: say with fps at which rate their pictures follow one another.")
    return float(np.median(paces))
