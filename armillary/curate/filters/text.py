"""Text laid over the picture afterwards: captions, titles, logos. Text that belongs to the scene moves with it and is let through.

First a cheap look for strokes that stand still on the screen while the picture around them changes. Only where there are some, and only
where an OCR engine is installed, a few looks are read: boxes that stay in place count. Without OCR the strokes alone decide, under a
higher threshold, and the clip says so (`tags["text_by"]`). In a scene that does not move, laid-over text and a sign on a wall cannot be
told apart: it is measured as `text_still`, and only much of it is rejected.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.curate.analyse import Look
from armillary.curate.stage import Context, above, noted
from armillary.errors import require
from armillary.media import resize
from armillary.types import Clip

WIDE = 320  # the size strokes are looked for at


@dataclass(frozen=True)
class TextConfig:
    """Areas are shares of the picture.

    Args:
        max_area: most laid-over text read by OCR. max_still: most text in all, where nothing around it moves.
        max_strokes: most stroke area where there is no OCR.
        ocr: whether to read at all. frames: how many looks are read.
        confidence: least of a word.
        stroke: gradient in 8-bit steps from which a pixel is an edge. moving: change around a box, in 8-bit steps.
    """

    max_area: float = 0.004
    max_still: float = 0.03
    max_strokes: float = 0.012
    ocr: bool = True
    frames: int = 3
    confidence: float = 0.75
    stroke: float = 60.0
    moving: float = 4.0


@dataclass(frozen=True)
class Box:
    """A rectangle in shares of the picture, and how much the picture around it changes."""

    left: float
    top: float
    right: float
    bottom: float
    around: float = 0.0
    text: str = ""

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def overlap(self, other: Box) -> float:
        """Intersection over union."""
        w = min(self.right, other.right) - max(self.left, other.left)
        h = min(self.bottom, other.bottom) - max(self.top, other.top)
        both = max(0.0, w) * max(0.0, h)
        return both / max(1e-9, self.area + other.area - both)


class Text:
    name = "text"

    def __init__(self, config: TextConfig | None = None) -> None:
        self.config = config or TextConfig()

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c = self.config
        looks = context.segment.looks_within(clip.start, clip.end)
        boxes = strokes(looks, c)
        area = sum(b.area for b in boxes if b.around > c.moving)
        scores = {"text_strokes": area}
        if not boxes:
            return noted(clip, {**scores, "text": 0.0}, {"text_by": "strokes"})
        engine = reader() if c.ocr and not clip.rejected else None
        if engine is None:
            tag = "strokes" if not clip.rejected else "strokes (rejected before)"
            why = "strokes that stand over the picture"
            return noted(clip, {**scores, "text": area}, {"text_by": tag}, above("text", area, c.max_strokes, why))
        pictures = self._pictures(looks)
        if not any(words(engine, part, c.confidence) for part in _parts(pictures[0], boxes)):
            return noted(
                clip, {**scores, "text": 0.0, "text_still": 0.0}, {"text_by": "ocr"}
            )  # reading is dear: this settles it
        read = [words(engine, picture, c.confidence) for picture in pictures]
        stay = [_with_surroundings(b, looks) for b in standing(read)]
        laid = sum(b.area for b in stay if b.around > c.moving)
        still = sum(b.area for b in stay if b.around <= c.moving)
        said = " ".join(b.text for b in stay)[:80]
        rejections = above("text", laid, c.max_area, f"text over the picture: {said!r}")
        rejections = rejections or above("text", laid + still, c.max_still, f"much text that stands still: {said!r}")
        return noted(clip, {**scores, "text": laid, "text_still": still}, {"text_by": "ocr"}, rejections)

    def _pictures(self, looks: list[Look]) -> list[np.ndarray]:
        """A few looks, evenly spread; the middle one first."""
        count = min(self.config.frames, len(looks))
        picks = sorted(
            {int(i) for i in np.linspace(0, len(looks) - 1, count).round()}, key=lambda i: abs(2 * i - len(looks) + 1)
        )
        return [looks[i].rgb for i in picks]


def _parts(picture: np.ndarray, boxes: list[Box], most: int = 4) -> list[np.ndarray]:
    """The largest boxes cut out with room around them; letters smaller than what OCR likes are enlarged."""
    h, w = picture.shape[:2]
    out = []
    for box in sorted(boxes, key=lambda b: -b.area)[:most]:
        room = max(6, round(0.6 * (box.bottom - box.top) * h))
        top, bottom = max(0, round(box.top * h) - room), min(h, round(box.bottom * h) + room)
        left, right = max(0, round(box.left * w) - room), min(w, round(box.right * w) + room)
        part = picture[top:bottom, left:right]
        out.append(resize(part, (2 * part.shape[0], 2 * part.shape[1])) if bottom - top < 64 else part)
    return out


def strokes(looks: list[Look], c: TextConfig) -> list[Box]:
    """Boxes of dense edges that stand still in every look, with how much changes around them.

    Looks are compared at no more than `WIDE` pixels across; fewer than three tell nothing.
    """
    if len(looks) < 3:
        return []
    cv2 = require("cv2", "finding text")
    picks = np.unique(np.linspace(0, len(looks) - 1, min(8, len(looks))).round().astype(int))
    h, w = looks[0].rgb.shape[:2]
    ratio = min(1.0, WIDE / max(h, w))
    size = (round(w * ratio), round(h * ratio))
    grey = np.stack(
        [cv2.resize(cv2.cvtColor(looks[i].rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA) for i in picks]
    )
    h, w = grey.shape[1:]
    if min(h, w) < 48:
        return []
    across = np.stack([np.abs(cv2.Sobel(g, cv2.CV_32F, 1, 0, ksize=3)) / 2 for g in grey])
    edges = across + np.stack([np.abs(cv2.Sobel(g, cv2.CV_32F, 0, 1, ksize=3)) / 2 for g in grey])
    firm = ((edges > c.stroke).mean(0) >= 0.85) & (edges.std(0) < 0.35 * edges.mean(0) + 8)
    change = grey.astype(np.float32).std(0)
    # letters are many upright strokes side by side; a table's edge or a horizon has none along its length
    upright = (firm & (across.mean(0) > 0.4 * c.stroke)).astype(np.float32)
    dense = (cv2.boxFilter(upright, -1, (17, 5)) > 0.25).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(dense, connectivity=8)
    out = []
    for left, top, width, height, _ in stats[1:count]:
        if 4 <= height <= h / 4 and width >= 1.5 * height and width >= 14:
            box = Box(left / w, top / h, (left + width) / w, (top + height) / h)
            out.append(_around(box, change, firm))
    return out


def _around(box: Box, change: np.ndarray, firm: np.ndarray | None = None) -> Box:
    """The box with the mean change in a frame about it (and within it, between the strokes)."""
    h, w = change.shape
    pad_x, pad_y = max(4, round(0.04 * w)), max(4, round(0.06 * h))
    top, bottom = max(0, round(box.top * h) - pad_y), min(h, round(box.bottom * h) + pad_y)
    left, right = max(0, round(box.left * w) - pad_x), min(w, round(box.right * w) + pad_x)
    part = change[top:bottom, left:right]
    if firm is not None:
        loose = part[~firm[top:bottom, left:right]]
    else:
        outer = np.ones(part.shape, bool)
        outer[
            round(box.top * h) - top : round(box.bottom * h) - top, round(box.left * w) - left : round(box.right * w) - left
        ] = False
        loose = part[outer]
    return Box(box.left, box.top, box.right, box.bottom, float(loose.mean()) if loose.size else 0.0, box.text)


def _with_surroundings(box: Box, looks: list[Look]) -> Box:
    grey = np.stack([k.rgb for k in looks[:: max(1, len(looks) // 8)]]).astype(np.float32).mean(3)
    return _around(box, grey.std(0))


def standing(read: list[list[Box]]) -> list[Box]:
    """Boxes of the first frame that every other frame has too, in the same place."""
    if len(read) < 2:
        return []
    out = []
    for i, boxes in enumerate(read):
        for box in boxes:
            elsewhere = sum(any(box.overlap(b) > 0.6 for b in other) for j, other in enumerate(read) if j != i)
            if elsewhere >= max(1, (len(read) - 1) // 2) and not any(box.overlap(o) > 0.6 for o in out):
                out.append(box)
    return out


@functools.cache
def reader() -> Any:
    """The OCR engine, or None when it is not installed."""
    try:
        ocr = require("rapidocr", "reading overlaid text")
    except ImportError:
        return None
    threads = {f"EngineConfig.onnxruntime.{k}_op_num_threads": 1 for k in ("intra", "inter")}
    scale = {"Det.limit_type": "max", "Det.limit_side_len": 960}  # never enlarge: the default would, at twice the time
    return ocr.RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False, **threads, **scale})


def words(engine: Any, frame: np.ndarray, confidence: float) -> list[Box]:
    """What OCR reads in uint8 `h w 3`: words of at least two letters or digits."""
    h, w = frame.shape[:2]
    result = engine(np.ascontiguousarray(frame[..., ::-1]), use_cls=False)
    if result.boxes is None or not result.txts:
        return []
    out = []
    for corners, text, score in zip(result.boxes, result.txts, result.scores):
        if score >= confidence and sum(ch.isalnum() for ch in text) >= 2:
            (left, top), (right, bottom) = np.min(corners, 0), np.max(corners, 0)
            out.append(Box(float(left) / w, float(top) / h, float(right) / w, float(bottom) / h, 0.0, text))
    return out
