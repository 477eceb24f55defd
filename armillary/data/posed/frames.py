"""Where the pictures of a camera path lie: a video with a frame for each pose, or a picture for each; and that there is one for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from armillary import media
from armillary.data.clips import VIDEO
from armillary.data.moments import frame_times, nearest, shown_at
from armillary.errors import BadInput
from armillary.media.poses import Path3D

IMAGE = (".png", ".jpg", ".jpeg", ".webp")


class Film:
    """Frames of a video, one for each pose. Args: `times` of these frames on the file's clock."""

    def __init__(self, file: Path, times: np.ndarray) -> None:
        self.file, self.times = file, times
        info = media.probe(file)
        self.shape = info.height, info.width

    @classmethod
    def matched(cls, file: Path, times: np.ndarray, wanted: np.ndarray) -> Film:
        """The frame nearest to each wanted second after the first frame; `times` are those of all frames.

        Raises:
            BadInput: none is within half a frame, or two poses share one.
        """
        at, step = nearest(times - times[0], wanted), _step(times)
        off = np.abs(times[at] - times[0] - wanted)
        if off.max() > 0.5 * step + 2e-3:
            k = int(off.argmax())
            raise BadInput(
                f"{file.name} has no frame at {wanted[k]:.3f} s, where pose {k} is; the nearest is {off[k]:.3f} s away"
            )
        if len(np.unique(at)) < len(at):
            raise BadInput(f"{file.name} has fewer frames than poses: it shows {1 / step:.3g} a second")
        return cls(file, times[at])

    def files(self, run: np.ndarray) -> Iterable[Path]:
        return (self.file,)

    def read(self, run: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return shown_at(self.file, self.times[run], size)


class Stills:
    """One picture for each pose."""

    def __init__(self, paths: Sequence[Path], told: tuple[float, float]) -> None:
        self.paths = paths
        for path in paths:
            if not path.is_file():
                raise BadInput(f"its picture {path.name} is not there")
        with Image.open(paths[0]) as image:
            self.shape = image.height, image.width
        if told != (1.0, 1.0) and abs(self.shape[0] * told[1] / (self.shape[1] * told[0]) - 1.0) > 0.01:
            raise BadInput(
                f"its pictures are {self.shape[1]}x{self.shape[0]}, of another shape than the {told[1]:g}x{told[0]:g} of the intrinsics"
            )

    def files(self, run: np.ndarray) -> Iterable[Path]:
        return (self.paths[k] for k in run)

    def read(self, run: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        out = []
        for k in run:
            frame = media.read_image(self.paths[k])
            if frame.shape[:2] != self.shape:
                raise BadInput(
                    f"{self.paths[k]} is {frame.shape[1]}x{frame.shape[0]}, the first {self.shape[1]}x{self.shape[0]}."
                )
            out.append(media.fit(frame, size))
        return np.stack(out)


@dataclass(frozen=True)
class Library:
    """Where RealEstate10K's pictures lie: beside the text, or anywhere in the folder under the same name."""

    root: Path

    @cached_property
    def known(self) -> dict[str, list[Path]]:
        out: dict[str, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            if path.is_dir():
                out.setdefault(path.name, []).append(path)
            elif path.suffix.lower() in VIDEO:
                out.setdefault(path.stem, []).append(path)
        return out

    def find(self, file: Path, path: Path3D, clock: str) -> Film | Stills:
        assert path.times is not None
        near = [file.with_suffix(suffix) for suffix in VIDEO] + [file.with_suffix("")]
        found = [p for p in near if p.exists()] or self.known.get(file.stem, [])
        if len(found) != 1:
            many = f"{len(found)} have its name: {', '.join(str(p.relative_to(self.root)) for p in found[:3])}"
            raise BadInput(many if found else f"there is no video {file.stem}.mp4 and no folder {file.stem}/ of pictures")
        if found[0].is_dir():
            return Stills(_stamped(found[0], np.rint(path.times * 1e6).astype(np.int64)), path.shape)
        times = frame_times(found[0])
        whole = clock == "source" or (not clock and path.times[-1] <= times[-1] - times[0] + _step(times))
        return Film.matched(found[0], times, path.times - (0.0 if whole else path.times[0]))


def _stamped(folder: Path, stamps: np.ndarray) -> list[Path]:
    """The picture of each time (microseconds), by its name; where names are no times, by order."""
    pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE)
    named = {int(p.stem): p for p in pictures if p.stem.isdigit()}
    if all(int(s) in named for s in stamps):
        return [named[int(s)] for s in stamps]
    if len(pictures) == len(stamps) and not any(int(s) in named for s in stamps):
        return sorted(pictures, key=lambda p: (len(p.stem), p.stem)) if len(named) == len(pictures) else pictures
    missing = [int(s) for s in stamps if int(s) not in named]
    raise BadInput(f"{len(missing)} of its {len(stamps)} pictures are not in {folder.name}/ (first: {missing[0]}.png)")


def beside(file: Path, path: Path3D, size: tuple[int, int]) -> Film | Stills:
    """The pictures a `transforms.json` names, or one video in its folder with as many frames as there are poses.

    Where `images_2`, `images_4` ... hold the same pictures made smaller, as DL3DV ships them, the smallest that is large enough is taken.
    """
    folder, names = file.parent, [Path(name) for name in path.names]
    outside = next((n for n in names if n.is_absolute() or ".." in n.parts), None)
    if outside is not None:
        raise BadInput(f"its picture {outside} lies outside its folder")
    found: Stills | None = None
    for option in _versions(folder, names[0]):
        inside = [folder / option / n.relative_to(n.parts[0]) if option else folder / n for n in names]
        if inside[0].is_file():
            found = Stills(inside, path.shape)
            if found.shape[0] >= size[0] and found.shape[1] >= size[1]:
                break
    if found is not None:
        return found
    films = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEO]
    if len(films) != 1:
        raise BadInput(f"its picture {names[0]} is not there, and its folder holds {len(films)} videos")
    times = frame_times(films[0])
    if path.times is not None:
        return Film.matched(films[0], times, path.times)
    if len(times) != len(path):
        raise BadInput(f"{films[0].name} has {len(times)} frames for {len(path)} poses without times")
    return Film(films[0], times)


def _step(times: np.ndarray) -> float:
    """Seconds from frame to frame."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def _versions(folder: Path, name: Path) -> list[str]:
    """`images_8`, `images_4`, ... for `images/0001.png`, the smallest pictures first and in the end those named (empty)."""
    top = name.parts[0] if len(name.parts) > 1 else ""
    smaller = {p.name: p.name[len(top) + 1 :] for p in folder.glob(f"{top}_*") if top}
    return [*sorted((n for n, by in smaller.items() if by.isdigit()), key=lambda n: -int(smaller[n])), ""]
