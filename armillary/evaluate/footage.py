"""What a tokenizer is measured on: clips and pictures of the layouts that evaluation data come in, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary import media
from armillary.errors import ArmillaryError, BadInput, lookup
from armillary.types import Video

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
DAVIS_RATE = 24.0  # frames a second, as the set was filmed


@dataclass(frozen=True)
class Footage:
    """One clip that has not been read yet: its name, and how to read its first so many frames (all of them for None)."""

    name: str
    read: Callable[[int | None], Video]


def _still(frames: np.ndarray, fps: float, path: str) -> Video:
    return Video(frames, fps, np.arange(len(frames)) / fps, path)


def davis(root: Path) -> list[Footage]:
    """`JPEGImages/<resolution>/<name>/*.jpg`, the largest resolution there is; a resolution's own folder may be given instead."""
    home = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
    sizes = sorted(p for p in home.iterdir() if p.is_dir() and any(d.is_dir() for d in p.iterdir()))
    home = max(sizes, key=_resolution) if sizes else home

    def reader(files: list[Path]) -> Callable[[int | None], Video]:
        return lambda most: _still(np.stack([media.read_image(f) for f in files[:most]]), DAVIS_RATE, str(files[0].parent))

    out = []
    for folder in sorted(p for p in home.iterdir() if p.is_dir()):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
        if files:
            out.append(Footage(f"{folder.name}", reader(files)))
    return out


def _resolution(folder: Path) -> tuple[int, str]:
    """`Full-Resolution` above `1080p` above `480p`."""
    digits = "".join(c for c in folder.name if c.isdigit())
    return (1 << 30 if folder.name.lower().startswith("full") else int(digits or 0)), folder.name


def videos(root: Path) -> list[Footage]:
    """Video files, also in subfolders: TokenBench, or a plain folder."""

    def reader(file: Path) -> Callable[[int | None], Video]:
        return lambda most: media.read_video(file, max_frames=most)

    return [Footage(str(p.relative_to(root)), reader(p)) for p in _files(root, VIDEOS)]


def images(root: Path) -> list[Footage]:
    """Pictures, also in subfolders, as COCO and ImageNet keep them: each a clip of one frame."""

    def reader(file: Path) -> Callable[[int | None], Video]:
        return lambda most: _still(media.read_image(file)[None], 1.0, str(file))

    return [Footage(str(p.relative_to(root)), reader(p)) for p in _files(root, PICTURES)]


def lerobot(root: Path) -> list[Footage]:
    """Episodes of a LeRobot dataset, each camera by itself."""
    from armillary.data.lerobot.read import LeRobotDataset

    held = LeRobotDataset(root)

    def reader(index: int, camera: str) -> Callable[[int | None], Video]:
        def read(most: int | None) -> Video:
            episode = held.episode(index, cameras=(camera,))
            return _still(episode.frames[camera][:most], episode.fps, str(root))

        return read

    cameras = list(held.cameras)
    several = len(cameras) > 1
    return [
        Footage(f"episode {i}{f' {camera}' if several else ''}", reader(i, camera))
        for i in range(len(held))
        for camera in cameras
    ]


LAYOUTS: dict[str, Callable[[Path], list[Footage]]] = {"lerobot": lerobot, "davis": davis, "videos": videos, "images": images}


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith("."))


def layout_of(root: Path) -> str:
    """Which of `LAYOUTS` a folder has.

    Raises:
        BadInput: none.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is no folder of clips or pictures.")
    if (root / "meta" / "info.json").is_file():
        return "lerobot"
    if (root / "JPEGImages").is_dir():
        return "davis"
    if _files(root, VIDEOS):
        return "videos"
    if _files(root, PICTURES):
        return "images"
    raise BadInput(
        f"{root} holds nothing to measure on: neither a LeRobot dataset, nor JPEGImages/<resolution>/<clip>/*.jpg as DAVIS, "
        f"nor videos ({', '.join(VIDEOS)}), nor pictures ({', '.join(PICTURES)})."
    )


def find(root: str | Path, layout: str = "", most: int | None = None, seed: int = 0) -> list[Footage]:
    """The clips of a folder; of more than `most` a random choice that the seed fixes, in order of their names.

    Raises:
        BadInput: an unknown layout, or nothing there.
    """
    root = Path(root)
    name = layout or layout_of(root)
    if not root.is_dir():
        raise BadInput(f"{root} is no folder of clips or pictures.")
    found = lookup(LAYOUTS, name, "layout of clips")(root)
    if not found:
        raise BadInput(f"{root} holds no clip in the layout {name!r}.")
    if most is not None and len(found) > most:
        chosen = np.random.default_rng(seed).choice(len(found), most, replace=False)
        found = [found[i] for i in sorted(chosen)]
    return found


def read_all(
    footage: list[Footage],
    *,
    size: int | tuple[int, int] | None = None,
    max_frames: int | None = None,
    skipped: list[dict[str, str]] | None = None,
) -> Iterator[tuple[str, Video]]:
    """Each clip in turn. One that cannot be read is named in `skipped`, and the rest goes on.

    Args:
        size: (height, width), or one number for both, to crop and resize to; None keeps the clip's own.
    """
    for item in footage:
        try:
            video = item.read(max_frames)
            frames = video.frames[:max_frames]
            if size is not None:
                frames = media.fit(frames, (size, size) if isinstance(size, int) else size)
        except (ArmillaryError, OSError, ValueError) as error:
            if skipped is None:
                raise
            skipped.append({"name": item.name, "why": str(error)})
            continue
        yield item.name, Video(frames, video.fps, video.times[: len(frames)], video.path)
