"""Where the coloured things are in a video, and whether a dream kept them.

A simulator's truth says where each object is in one frame; its colour is learned from the pixels there, not from a constant, and the
same tracker then reads the true video and the dreamed one. A dreamed object is compared with what the tracker finds in the truth, so
that the tracker's own bias cancels; how far the tracker is from the exact truth is reported beside it.

Places are continuous pixel coordinates x, y: column `j`, row `i` is the square [j, j+1) x [i, i+1).

Colour is hue and saturation made nearly independent of shading (opponent colours over brightness), plus a little brightness. A pixel
belongs to the nearest learned colour if it lies within that colour's radius. The radius is calibrated on the frame the colour was
learned from: the one that gains most pixels of the object against pixels elsewhere, and at most half the way to the colours around it,
so that an object which has faded by half no longer counts. Of those pixels only the densest spot of about the object's own size
counts, so that a smear or crumbs elsewhere do not pass for it either. The tool's tip is too small for that and is a mark (`marks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.errors import BadInput
from armillary.evaluate.marks import find_mark

# Truth arrays are computed for images of this width unless the caller says otherwise.
TRUTH_SIZE = 64
LOST = 0.3  # of the area in the truth
NEAR_PX, NEAR_SHARE = 2.0, 1 / 3  # a moved object is in place within max(2 px, a third of its way); pixels of a 64-pixel image
MOVED_PX = 2.0
COVERED = 0.5  # of its whole area: less than this and something stands before it
MIN_AREA = 4.0  # fewer visible pixels than this cannot be judged
CLASSES = ("untouched", "pushed", "occluded")


@dataclass(frozen=True)
class Colour:
    """A learned colour: its place in feature space, the radius around it, the size in pixels of the thing that has it, and for a mark what
    lies around it (then it is found as `marks` says, whatever the radius)."""

    name: str
    centre: np.ndarray
    radius: float
    area: float
    around: np.ndarray | None = None


@dataclass(frozen=True)
class Tracks:
    """What was found: `position` float `t k 2` (x, y in pixels, NaN where nothing) and `area` float `t k` in pixels; `spare`: the area of
    a second thing of the same colour, 0 where there is none, `None` where nobody asked."""

    position: np.ndarray
    area: np.ndarray
    names: tuple[str, ...]
    spare: np.ndarray | None = None

    def held(self, frames: int) -> Tracks:
        """What was found in the last frame, shown for so many frames more."""
        more = {n: np.concatenate([v := getattr(self, n), np.repeat(v[-1:], frames, axis=0)]) for n in ("position", "area")}
        spare = None if self.spare is None else np.concatenate([self.spare, np.repeat(self.spare[-1:], frames, axis=0)])
        return Tracks(more["position"], more["area"], self.names, spare)


def features(frames: np.ndarray) -> np.ndarray:
    """uint8 `... 3` -> float `... 3`: red-green and yellow-blue over brightness, and a tenth of the weight in brightness itself."""
    x = frames.astype(np.float64) / 255
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    total = r + g + b + 0.25  # the constant damps the noise of dark pixels
    return np.stack([(r - g) / total, (0.5 * (r + g) - b) / total, 0.1 * (r + g + b)], axis=-1)


def _disc(shape: tuple[int, ...], point: np.ndarray, radius: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (x + 0.5 - point[0]) ** 2 + (y + 0.5 - point[1]) ** 2 <= max(radius, 0.71) ** 2


def _spread(area: float) -> float:
    """Radius that holds a thing of this area even when it is three times as long as wide."""
    return 1.2 * np.sqrt(area) + 1.5


class ColourTracker:
    """Finds things by colours learned from one frame each.

    Args:
        colours: made by `learn`.
    """

    def __init__(self, colours: Sequence[Colour]) -> None:
        self.colours = tuple(colours)
        self.names = tuple(c.name for c in self.colours)

    @classmethod
    def learn(
        cls, frames: np.ndarray, points: np.ndarray, areas: np.ndarray, names: Sequence[str], marks: Sequence[str] = ()
    ) -> ColourTracker:
        """Learn one colour a thing.

        Args:
            frames: uint8 `k h w 3`, for each thing a frame in which it is well visible.
            points: `k 2`, its place x, y in that frame, in pixels of that frame.
            areas: `k`, its visible pixels there.
            marks: names of those that are only a few pixels large.
        """
        if not (len(frames) == len(points) == len(areas) == len(names)) or len(names) == 0:
            raise BadInput(
                f"One frame, point, area and name a thing; got {len(frames)}, {len(points)}, {len(areas)}, {len(names)}."
            )
        centres = []
        for frame, point, area in zip(frames, points, areas):
            inside = _disc(frame.shape[:2], point, 0.3 * np.sqrt(area))
            if not inside.any():
                raise BadInput(
                    f"A thing at {np.round(point, 1).tolist()} is outside its {frame.shape[1]}x{frame.shape[0]} frame."
                )
            centres.append(np.median(features(frame[inside]), axis=0))
        stack = np.stack(centres)
        colours = []
        for k, (frame, point, area) in enumerate(zip(frames, points, areas)):
            seen = features(frame)
            distance, nearest = _nearest(seen, stack)
            around = _around(seen, point, float(area))
            mine = np.where(nearest == k, distance, np.inf)
            radius = _calibrate(mine, point, float(area), 0.5 * float(np.linalg.norm(around - stack[k])))
            colours.append(Colour(names[k], stack[k], radius, float(area), around if names[k] in marks else None))
        return cls(colours)

    def track(self, frames: np.ndarray, spares: bool = False) -> Tracks:
        """Find every thing in uint8 `t h w 3`; with `spares` also a second one of its colour, well away from it."""
        t, k = len(frames), len(self.colours)
        position, area, second = np.full((t, k, 2), np.nan), np.zeros((t, k)), np.zeros((t, k))
        stack = np.stack([c.centre for c in self.colours])
        for i, frame in enumerate(frames):
            pixels = features(frame)
            distance, nearest = _nearest(pixels, stack)
            for j, colour in enumerate(self.colours):
                if colour.around is not None:
                    others = [c.centre[:2] for c in self.colours if c is not colour]
                    mark = find_mark(pixels[..., :2], colour.centre[:2], colour.around[:2], others, np.sqrt(colour.area))
                    if mark is not None:
                        position[i, j], area[i, j] = mark
                    continue
                mask, reach = (nearest == j) & (distance < colour.radius), _spread(colour.area)
                if not mask.any():
                    continue
                position[i, j], area[i, j] = _densest(mask, reach)
                if spares and (rest := mask & ~_disc(mask.shape, position[i, j], 1.5 * reach)).any():
                    second[i, j] = _densest(rest, reach)[1]
        return Tracks(position, area, self.names, second if spares else None)

    def count(self, frames: np.ndarray, least: float = 10.0) -> np.ndarray:
        """How many separate things of each colour there are in uint8 `t h w 3`: int `t k`.

        A thing is a patch of `least` pixels or more; cracks of a pixel or two do not part it.
        """
        stack = np.stack([c.centre for c in self.colours])
        out = np.zeros((len(frames), len(self.colours)), np.int64)
        for i, frame in enumerate(frames):
            distance, nearest = _nearest(features(frame), stack)
            for j, colour in enumerate(self.colours):
                mask = (nearest == j) & (distance < colour.radius)
                patches = _patches(mask)
                out[i, j] = sum(int((mask & (patches == p)).sum() >= least) for p in np.unique(patches[patches > 0]))
        return out


def _grown(x: np.ndarray) -> np.ndarray:
    """The largest value of each pixel's 3 x 3 neighbourhood, `h w`."""
    padded = np.pad(x, 1)
    h, w = x.shape
    return np.max([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)


def _patches(mask: np.ndarray) -> np.ndarray:
    """A number above 0 for each patch of pixels that touch, after cracks are closed; 0 elsewhere; `h w`."""
    edge = np.pad(mask, 2)
    closed = mask | ~_grown(~_grown(edge))[2:-2, 2:-2]
    label = np.where(closed, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(closed, _grown(label), 0)
        if np.array_equal(spread, label):
            return label
        label = spread


def _nearest(pixels: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel `h w` to the nearest of `k` colours, and which that is."""
    squares = np.stack([np.einsum("hwc,hwc->hw", d := pixels - centre, d) for centre in centres])
    return np.sqrt(squares.min(0)), squares.argmin(0)


def _around(pixels: np.ndarray, point: np.ndarray, area: float) -> np.ndarray:
    """The usual colour in a ring around a thing."""
    shape = pixels.shape[:2]
    ring = _disc(shape, point, 1.6 * _spread(area)) & ~_disc(shape, point, _spread(area))
    return np.median(pixels[ring] if ring.any() else pixels.reshape(-1, 3), axis=0)


def _calibrate(distance: np.ndarray, point: np.ndarray, area: float, most: float) -> float:
    """The radius up to `most` that gains most: pixels of the thing up to its area, less those beyond it, less twice those far from it."""
    near = _disc(distance.shape, point, _spread(area))
    steps = np.linspace(0.02, 1.0, 50) * max(most, 1e-6)
    mine = np.array([(near & (distance < s)).sum() for s in steps])
    far = np.array([(~near & (distance < s)).sum() for s in steps])
    score = np.minimum(mine, area) - np.maximum(mine - area, 0) - 2 * far
    best = np.flatnonzero(score >= score.max() - 1e-9)
    return float(steps[best[len(best) // 2]])  # the middle of a plateau is the safest place on it


def _densest(mask: np.ndarray, radius: float) -> tuple[np.ndarray, int]:
    """Centroid and count of the mask's pixels around the spot where a square of the thing's size holds most of them."""
    half = max(1, round(radius / 2))
    padded = np.pad(mask.astype(np.int64), half + 1).cumsum(0).cumsum(1)
    side = 2 * half + 1
    count = padded[side:, side:] - padded[:-side, side:] - padded[side:, :-side] + padded[:-side, :-side]
    y, x = np.nonzero(mask)
    # Squares that hold as many are all over the thing: the one nearest to their middle is the best start.
    rows, columns = np.nonzero(count == count.max())
    best = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    spot = np.array([columns[best], rows[best]], np.float64)
    for _ in range(2):
        keep = (x - spot[0]) ** 2 + (y - spot[1]) ** 2 <= radius**2
        if not keep.any():  # a hollow thing: its middle is nowhere near its pixels
            keep[((x - spot[0]) ** 2 + (y - spot[1]) ** 2).argmin()] = True
        spot = np.array([x[keep].mean(), y[keep].mean()])
    return spot + 0.5, int(keep.sum())


@dataclass(frozen=True)
class Scene:
    """An episode's objects as the tracker needs them: all arrays `t k ...`, in pixels of the frames that are looked at."""

    position: np.ndarray
    area: np.ndarray
    full: np.ndarray
    hidden: np.ndarray
    tip: np.ndarray | None
    scale: float

    @classmethod
    def read(cls, truth: Mapping[str, np.ndarray], size: int, truth_size: int = TRUTH_SIZE) -> Scene | None:
        """The scene of a truth record in frames of width `size`; None when it holds no objects.

        Raises:
            BadInput: arrays that do not fit one another.
        """
        if "object_px" not in truth:
            return None
        scale = size / truth_size
        position = np.asarray(truth["object_px"], np.float64)
        if position.ndim != 3 or position.shape[-1] != 2:
            raise BadInput(f"truth['object_px'] is t k 2; got {position.shape}.")
        position = position * scale
        shape = position.shape[:2]
        area = np.asarray(truth.get("object_area", np.full(shape, np.nan)), np.float64) * scale**2
        hidden = np.asarray(truth.get("object_hidden", np.zeros(shape, bool)), bool)
        for name, array in (("object_area", area), ("object_hidden", hidden)):
            if array.shape != shape:
                raise BadInput(f"truth[{name!r}] is t k = {shape} as 'object_px' says; got {array.shape}.")
        # What would show if nothing stood before it; without that the largest area ever seen is the best guess.
        full = np.broadcast_to(np.fmax.reduce(area, axis=0, initial=0.0), shape)
        if "object_full" in truth:
            full = np.asarray(truth["object_full"], np.float64).reshape(shape) * scale**2
        tip = np.asarray(truth["tip_px"], np.float64) if "tip_px" in truth else None
        if tip is not None:
            tip = tip * scale
        return cls(position, area, full, hidden, tip, scale)

    @property
    def num(self) -> int:
        return self.position.shape[1]

    def visible(self) -> np.ndarray:
        """Bool `t k`: enough of the object shows for a verdict."""
        return ~self.hidden & ~(self.area < MIN_AREA)

    def learn(self, frames: np.ndarray) -> ColourTracker:
        """A tracker for this scene's objects and, last, the tool's tip, each learned where it first shows best.

        Args:
            frames: uint8 `t h w 3`, the true video.
        """
        t = min(len(frames), len(self.position))
        size = frames.shape[1:3]
        usual = (6.0 * self.scale) ** 2
        pictures, points, areas, names = [], [], [], []
        for k in range(self.num):
            seen = self.visible()[:t, k] & inside(self.position[:t, k], size)
            area = np.where(np.isnan(self.area[:t, k]), usual, self.area[:t, k])
            whole = seen & (area >= 0.8 * area[seen].max()) if seen.any() else seen
            i = int(whole.argmax())  # the first frame in which it shows (nearly) whole; frame 0 if it never shows
            pictures.append(frames[i])
            points.append(np.clip(self.position[i, k], 0.5, np.array(size[::-1]) - 0.5))
            areas.append(max(area[i], MIN_AREA))
            names.append(f"object {k}")
        if self.tip is not None:
            on = inside(self.tip[:t], size)
            i = int(on.argmax())
            pictures.append(frames[i])
            points.append(np.clip(self.tip[i], 0.5, np.array(size[::-1]) - 0.5))
            areas.append((3.0 * self.scale) ** 2)
            names.append("tip")
        return ColourTracker.learn(np.stack(pictures), np.stack(points), np.array(areas), names, marks=("tip",))

    def kind(self, start: int, at: int) -> list[str]:
        """For each object one of `CLASSES`, over the frames `start..at`.

        Pushed: it moved more than 2 px of a 64-pixel image. Occluded: it did not, and at some frame less than half of it showed.
        Untouched: neither.
        """
        out = []
        for k in range(self.num):
            way = float(np.linalg.norm(self.position[at, k] - self.position[start, k]))
            area = self.area[start : at + 1, k]
            covered = self.hidden[start : at + 1, k].any() or bool((area < COVERED * self.full[start : at + 1, k]).any())
            out.append("pushed" if way > MOVED_PX * self.scale else "occluded" if covered else "untouched")
        return out


def inside(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Which points `t 2` (x, y) lie in an image of (height, width)."""
    h, w = size[:2]
    return (points >= 0).all(1) & (points[:, 0] < w) & (points[:, 1] < h)


@dataclass(frozen=True)
class Sighting:
    """One object at one frame: its class, whether it is lost, how far it is from the truth and how far the truth has moved (px at 64)."""

    kind: str
    lost: bool
    error: float
    moved: float

    @property
    def in_place(self) -> bool:
        return not self.lost and self.error <= max(NEAR_PX, NEAR_SHARE * self.moved)


def compare(scene: Scene, truth: Tracks, dream: Tracks, start: int, at: int) -> list[Sighting]:
    """Judge each object at frame `at` of a dream that began after frame `start`; `truth` and `dream` are tracks of the whole episode.

    An object that the truth hides at that frame, or that the tracker itself does not find in the truth, is not judged.
    """
    out = []
    visible = scene.visible()
    for k, kind in enumerate(scene.kind(start, at)):
        if not visible[at, k] or truth.area[at, k] < LOST * max(np.nan_to_num(scene.area[at, k]), MIN_AREA):
            continue
        lost = bool(dream.area[at, k] < LOST * truth.area[at, k])
        error = float(np.linalg.norm(dream.position[at, k] - truth.position[at, k])) / scene.scale
        moved = float(np.linalg.norm(scene.position[at, k] - scene.position[start, k])) / scene.scale
        out.append(Sighting(kind, lost, error if not lost else float("nan"), moved))
    return out


def tip_error(scene: Scene, truth: Tracks, dream: Tracks, at: int) -> tuple[bool, float] | None:
    """Whether the dream lost the tool's tip at frame `at`, and its error in px at 64 (NaN when lost); None when the truth shows none."""
    if scene.tip is None or truth.area[at, -1] == 0:
        return None
    lost = bool(dream.area[at, -1] == 0)
    error = float(np.linalg.norm(dream.position[at, -1] - truth.position[at, -1])) / scene.scale
    return lost, error if not lost else float("nan")
