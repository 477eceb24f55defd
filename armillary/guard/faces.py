"""The face rail: detect every few frames, track, and hide each face in a copy for as long as its track lives, and a little longer.

A detector misses frames; one missed frame shows a face. Detections are therefore joined to tracks by overlap, gaps are interpolated, and
each track is held some frames before its first and after its last sighting. Boxes are enlarged, and what is inside is smoothed with a
width tied to the box: small pixel blocks can be undone over many frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armillary.errors import BadInput
from armillary.guard.centerface import CenterFace, FaceDetector, iou
from armillary.guard.rail import Finding

STYLES = ("blur", "solid")


@dataclass(frozen=True)
class FacesConfig:
    """How faces are followed and hidden.

    Args:
        every: a frame of so many is given to the detector (the last one always is).
        hold: frames a track lives before its first and after its last sighting, and the longest gap that is bridged.
        overlap: least intersection over union of consecutive sightings of one face.
        grow: factor by which a box is enlarged; at 1.3 a detector still finds some heads again by their outline, at 1.5 none.
        least: boxes with a shorter side under so many pixels are left alone (nobody can be known from them).
        single: score that a face seen in one looked-at frame only must have; weaker lone hits are mostly not faces.
        style: `blur` or `solid` (the box's mean colour).
    """

    every: int = 2
    hold: int = 6
    overlap: float = 0.2
    grow: float = 1.5
    least: int = 3
    single: float = 0.5
    style: str = "blur"


@dataclass
class Track:
    """Sightings of one face: frame -> box, and the best score."""

    boxes: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    score: float = 0.0

    @property
    def last(self) -> int:
        return max(self.boxes)


def link(sightings: dict[int, list], config: FacesConfig) -> list[Track]:
    """Join detections (frame -> faces) to tracks: best overlap first, each detection once."""
    tracks: list[Track] = []
    for frame in sorted(sightings):
        alive = [t for t in tracks if frame - t.last <= config.hold + config.every]
        pairs = sorted(
            ((iou(t.boxes[t.last], f.box), i, j) for i, t in enumerate(alive) for j, f in enumerate(sightings[frame])),
            reverse=True,
        )
        used_t: set[int] = set()
        used_f: set[int] = set()
        for overlap, i, j in pairs:
            if overlap < config.overlap or i in used_t or j in used_f:
                continue
            used_t.add(i)
            used_f.add(j)
            alive[i].boxes[frame] = sightings[frame][j].box
            alive[i].score = max(alive[i].score, sightings[frame][j].score)
        tracks += [Track({frame: f.box}, f.score) for j, f in enumerate(sightings[frame]) if j not in used_f]
    return tracks


def spread(track: Track, frames: int, config: FacesConfig) -> dict[int, tuple[float, float, float, float]]:
    """The boxes of a track in every frame it lives in: interpolated between sightings, held at both ends."""
    seen = sorted(track.boxes)
    corners = np.array([track.boxes[i] for i in seen])
    span = range(max(0, seen[0] - config.hold), min(frames, seen[-1] + config.hold + 1))
    columns = [np.interp(list(span), seen, corners[:, k]) for k in range(4)]
    return {i: tuple(float(c[n]) for c in columns) for n, i in enumerate(span)}  # type: ignore[misc]


def hide(picture: np.ndarray, box: tuple[float, float, float, float], config: FacesConfig) -> None:
    """Smooth or fill an enlarged box of one picture, in place (the caller owns the copy)."""
    from PIL import Image, ImageFilter

    h, w = picture.shape[:2]
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_w, half_h = (box[2] - box[0]) / 2 * config.grow, (box[3] - box[1]) / 2 * config.grow
    x0, x1 = max(0, int(np.floor(cx - half_w))), min(w, int(np.ceil(cx + half_w)))
    y0, y1 = max(0, int(np.floor(cy - half_h))), min(h, int(np.ceil(cy + half_h)))
    if x1 <= x0 or y1 <= y0:
        return
    patch = picture[y0:y1, x0:x1]
    if config.style == "solid":
        patch[:] = patch.reshape(-1, 3).mean(0).round().astype(np.uint8)
        return
    # To a grid of few cells and back removes detail for good; the blur after it removes the grid.
    size = (x1 - x0, y1 - y0)
    few = (
        Image.fromarray(patch)
        .resize((min(3, size[0]), min(3, size[1])), Image.Resampling.BOX)
        .resize(size, Image.Resampling.BICUBIC)
    )
    patch[:] = np.asarray(few.filter(ImageFilter.GaussianBlur(0.2 * max(size))))


class Faces:
    """The rail.

    Args:
        detector: another one than CenterFace.
    """

    name, first = "faces", False

    def __init__(self, detector: FaceDetector | None = None, config: FacesConfig | None = None) -> None:
        self.detector: FaceDetector = detector or CenterFace()
        self.config = config or FacesConfig()
        if self.config.style not in STYLES or self.config.every < 1 or self.config.hold < 0:
            raise BadInput(f"Faces are hidden by {' or '.join(STYLES)}, looked for every 1 or more frames; got {self.config}.")
        self.version = f"1+{self.detector.name}-{self.detector.version}"

    def check(self, frames: np.ndarray, fps: float) -> Finding:
        if frames.dtype != np.uint8:
            frames = (np.clip(frames, 0, 1) * 255 + 0.5).astype(np.uint8)
        tracks = self.tracks(frames)
        out = np.array(frames)
        touched: set[int] = set()
        for track in tracks:
            for i, box in spread(track, len(frames), self.config).items():
                hide(out[i], box, self.config)
                touched.add(i)
        told = f"{len(tracks)} faces hidden in {len(touched)} of {len(frames)} frames" if tracks else "no face found"
        return Finding(False, told, frames=out, facts={"tracks": len(tracks), "frames_with_faces": len(touched)})

    def tracks(self, frames: np.ndarray) -> list[Track]:
        """Faces of uint8 `t h w 3`, followed through the frames that were looked at."""
        config = self.config
        looked = sorted({*range(0, len(frames), config.every), len(frames) - 1} - {-1})
        seen = {i: [f for f in self.detector.detect(np.ascontiguousarray(frames[i])) if _large(f.box, config)] for i in looked}
        return [t for t in link(seen, config) if len(t.boxes) > 1 or t.score >= config.single or len(looked) == 1]


def _large(box: tuple[float, float, float, float], config: FacesConfig) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= config.least


class FacesOff:
    """Stands where the face rail would: the caller said not to look for faces, and every record says that he did."""

    name, first, version = "faces", False, "1"

    def check(self, frames: np.ndarray, fps: float) -> Finding:
        return Finding(False, "faces switched off by the caller; not looked for", skipped=True)
