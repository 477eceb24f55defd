"""The embedded captioner: it says what was measured and nothing else. It is dull and true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.curate.analyse import Look
from armillary.curate.caption_window import Answer, CaptionConfig, Window

# How the camera's tag (`filters.camera`) reads in a sentence; a tag that is not here is told as it stands.
CAMERA = {
    "static": "from a standing camera",
    "moving": "from a moving camera",
    "handheld": "from a handheld camera",
    "shaky": "from a shaking camera",
    "pan left": "panning left",
    "pan right": "panning right",
    "tilt up": "tilting up",
    "tilt down": "tilting down",
    "zoom in": "zooming in",
    "zoom out": "zooming out",
    "dolly in": "moving forward",
    "dolly out": "moving back",
    "roll cw": "turning clockwise about its axis",
    "roll ccw": "turning counterclockwise about its axis",
    "unknown": "",
}
STILL = ("static", "unknown", "shaky", "handheld", "")
KINDS = {
    "screen": "screen recording",
    "drawing": "drawn animation",
    "animation": "animation",
    "game": "game recording",
    "simulated": "simulation",
}
SLOW, FAST = 0.05, 0.2  # picture widths a second
LITTLE, MUCH = 0.01, 0.05
LOOKS = 4  # that light and colours are told from


class Measured:
    """Words for the measurements already in `clip.scores` and `clip.tags`, and for light and colours of the looks."""

    source = "measured"

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = config or CaptionConfig()

    def captions(self, windows: Sequence[Window]) -> list[Answer]:
        return [Answer(self.sentence(w)) for w in windows]

    def sentence(self, window: Window) -> str:
        clip = window.clip
        shape = "portrait " if clip.height > clip.width else ""
        kind = f"{shape}{KINDS.get(clip.tags.get('type', ''), 'video clip')}"
        whole = f"A {kind} of {clip.end - clip.start:.1f} seconds"
        if not window.alone:  # camera and movement were measured over the whole clip: the sentence must not say them of a part
            whole = f"{window.end - window.start:.1f} seconds from a {kind} of {clip.end - clip.start:.1f} seconds"
        camera = camera_of(clip.tags.get("camera", ""), clip.scores)
        parts = [whole + (f", {camera}" if camera else "")]
        if window.looks:
            some = window.looks[:: -(-len(window.looks) // LOOKS)]
            parts.append(f"{light_of(some)}, mostly {' and '.join(colours_of(some))}")
        objects = clip.scores.get("objects")
        if objects is not None:
            amount = "much" if objects > MUCH else "some" if objects > LITTLE else "little"
            parts.append(f"with {amount} movement" + ("" if window.alone else " in the clip"))
        return "; ".join(parts) + "."


def camera_of(tag: str, scores: Mapping[str, float]) -> str:
    """`panning left slowly`: the tag in words, and how fast, where a speed was measured (`camera_speed`, picture widths a second)."""
    words = CAMERA.get(tag, f"camera movement: {tag}" if tag else "")
    speed = scores.get("camera_speed")
    if not words or speed is None or tag in STILL:
        return words
    pace = "slowly" if speed < SLOW else "fast" if speed > FAST else ""
    if tag == "moving":
        return f"from a {pace} moving camera" if pace else words
    return f"{words} {pace}".rstrip()


def light_of(looks: Sequence[Look]) -> str:
    mean = float(np.mean([k.rgb.mean() for k in looks]))
    return "dark" if mean < 60 else "bright" if mean > 170 else "evenly lit"


def colours_of(looks: Sequence[Look]) -> list[str]:
    """One or two plain names for what most pixels are, commonest first."""
    pixels = np.concatenate([k.rgb[::4, ::4].reshape(-1, 3) for k in looks]).astype(np.float32) / 255.0
    high, low = pixels.max(1), pixels.min(1)
    spread = high - low
    hue = np.zeros(len(pixels))
    r, g, b = pixels.T
    some = spread > 1e-3
    for top, value in (
        (r == high, ((g - b) / np.maximum(spread, 1e-3)) % 6),
        (g == high, (b - r) / np.maximum(spread, 1e-3) + 2),
        (b == high, (r - g) / np.maximum(spread, 1e-3) + 4),
    ):
        hue = np.where(some & top, value * 60, hue)
    names = np.array(["red", "orange", "yellow", "green", "cyan", "blue", "purple", "red"])
    edges = np.array([15, 45, 70, 165, 195, 260, 335])
    named = names[np.searchsorted(edges, hue, side="right")]
    grey = np.where(high < 0.2, "black", np.where(high > 0.85, "white", "grey"))
    named = np.where((spread < 0.12) | (high < 0.2), grey, named)
    named = np.where((named == "orange") & (high < 0.6), "brown", named)
    words, counts = np.unique(named, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [str(words[i]) for i in order[:2] if counts[i] > 0.15 * len(named)] or [str(words[order[0]])]
