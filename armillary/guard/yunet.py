"""A face detector of one's own: YuNet (Wu et al. 2023), or another ONNX file of its outputs, through OpenCV's `FaceDetectorYN`.

The file is the user's; none ships. It is tried on a grey picture before anything else, so that one of another layout is a sentence at once
and not a video with faces in it later.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, Failed, require
from armillary.guard.centerface import Face
from armillary.store import sha256_file

VARIABLE = "ARMILLARY_GUARD_FACES"


class YuNet:
    """The detector, a `FaceDetector`.

    Args:
        path: the ONNX file.
        threshold: least score (square root of class score times objectness).
        overlap: intersection over union above which the weaker of two boxes is dropped.
        width, least: as for `CenterFace`: pictures are shrunk to at most this width, and enlarged to `least` pixels on the longer side.

    Raises:
        BadInput: no such file, or not one that OpenCV reads as such a detector. MissingExtra: OpenCV is not installed.
    """

    name = "yunet"

    def __init__(
        self, path: str | Path, threshold: float = 0.6, overlap: float = 0.3, width: int = 640, least: int = 256
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise BadInput(f"There is no face detector at {path}: the ONNX file of YuNet is wanted.")
        if not (0.0 < threshold < 1.0 and 0.0 < overlap < 1.0):
            raise BadInput(f"A face detector's threshold and overlap lie between 0 and 1; got {threshold:g} and {overlap:g}.")
        self.cv2: Any = require("cv2", "a face detector of one's own")
        self.width, self.least = width, least
        self._lock = threading.Lock()  # OpenCV's detector keeps the size of the picture it is at
        try:
            self._net = self.cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, overlap, 5000)
            self.detect(np.full((256, 320, 3), 127, np.uint8))
        except (Failed, self.cv2.error, SystemError) as error:
            told = " ".join(str(error).split())[:200]
            raise BadInput(
                f"{path} is no face detector of YuNet's layout that OpenCV {self.cv2.__version__} reads: {told}"
            ) from error
        self.version = f"1@{threshold:g}+{sha256_file(path)[:8]}"

    @staticmethod
    def from_environment() -> YuNet | None:
        """The file in `ARMILLARY_GUARD_FACES`; None when it is not set."""
        path = os.environ.get(VARIABLE, "")
        return YuNet(path) if path else None

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Faces of uint8 `h w 3` RGB, the best first.

        Raises:
            Failed: the network could not be run, or gave no numbers.
        """
        from PIL import Image

        h, w = picture.shape[:2]
        zoom = self.least / max(h, w) if max(h, w) < self.least else min(1.0, self.width / w)
        size = max(1, round(w * zoom)), max(1, round(h * zoom))
        small = picture if size == (w, h) else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
        try:
            with self._lock:
                self._net.setInputSize(size)
                _, rows = self._net.detect(np.ascontiguousarray(small[..., ::-1]))
        except self.cv2.error as error:
            raise Failed(f"the face detector could not look: {' '.join(str(error).split())[:200]}") from error
        rows = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != 15 or not np.isfinite(rows).all():
            raise Failed(f"the face detector gave {rows.shape} numbers, or some that are none; rows of 15 are wanted")
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
        scale = np.array([size[0] / w, size[1] / h] * 2)
        boxes = np.clip(corners, 0, [*size, *size]) / scale
        faces = [Face((b[0], b[1], b[2], b[3]), float(s)) for b, s in zip(boxes.tolist(), rows[:, 14])]
        return sorted((f for f in faces if f.box[2] - f.box[0] >= 1 and f.box[3] - f.box[1] >= 1), key=lambda f: -f.score)
