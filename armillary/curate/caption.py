"""A sentence for a clip: from a sidecar beside the video, from a vision model behind an OpenAI-style address, or from what was measured.

The measured caption says only what the measurements say (camera, movement, light, colours, length). It is dull and true.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from armillary.curate.analyse import Look
from armillary.curate.stage import Context
from armillary.errors import BadInput, Failed, lookup
from armillary.types import Clip

PROMPT = (
    "These are frames of one video clip, in order. Describe in one paragraph of about 80 words what is seen: the place, the things and "
    "people, what they do and in which order, and how the camera moves. Say nothing that cannot be seen."
)


@dataclass(frozen=True)
class CaptionConfig:
    """Args:
    by: a name in `CAPTIONERS`, or `none`.
    sidecar: whether `name.txt` or `name.json` beside the video comes first.
    url, model: of an OpenAI-style endpoint, e.g. `http://localhost:8000/v1`; empty reads `$ARMILLARY_CAPTION_URL`, `_MODEL`.
    key_env: the environment variable that holds the key; the key itself is in no config and no record.
    frames: pictures sent. timeout: seconds for an answer. retries: further tries.
    """

    by: str = "measured"
    sidecar: bool = True
    url: str = ""
    model: str = ""
    key_env: str = "ARMILLARY_CAPTION_KEY"
    frames: int = 8
    timeout: float = 60.0
    retries: int = 2
    prompt: str = PROMPT


class Captioner(Protocol):
    """Gives a clip its caption; `looks` are pictures in order."""

    name: str

    def caption(self, clip: Clip, looks: Sequence[Look]) -> str: ...


class Measured:
    """Words for the measurements already in `clip.scores` and `clip.tags`, and for the colours of the looks."""

    name = "measured"

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = config or CaptionConfig()

    def caption(self, clip: Clip, looks: Sequence[Look]) -> str:
        camera = {
            "static": "from a standing camera",
            "moving": "from a moving camera",
            "shaky": "from a shaking camera",
            "pan left": "panning left",
            "pan right": "panning right",
            "tilt up": "tilting up",
            "tilt down": "tilting down",
            "zoom in": "moving or zooming in",
            "zoom out": "moving or zooming out",
            "roll": "turning about its axis",
        }.get(clip.tags.get("camera", ""), "")
        kind = {"screen": "screen recording", "drawing": "drawn animation"}.get(clip.tags.get("type", ""), "video clip")
        shape = "portrait " if clip.height > clip.width else ""
        parts = [f"A {shape}{kind} of {clip.end - clip.start:.1f} seconds" + (f", {camera}" if camera else "")]
        if looks:
            parts.append(f"{light_of(looks)}, mostly {' and '.join(colours_of(looks))}")
        objects = clip.scores.get("objects")
        if objects is not None:
            parts.append(
                "with much movement" if objects > 0.05 else "with some movement" if objects > 0.01 else "with little movement"
            )
        return "; ".join(parts) + "."


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


class Endpoint:
    """Asks a vision model behind `POST {url}/chat/completions`."""

    name = "endpoint"

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = c = config or CaptionConfig()
        self.url = (c.url or os.environ.get("ARMILLARY_CAPTION_URL", "")).rstrip("/")
        self.model = c.model or os.environ.get("ARMILLARY_CAPTION_MODEL", "")
        if not self.url.startswith(("http://", "https://")) or not self.model:
            raise BadInput(
                "The endpoint captioner wants an address and a model: set caption.url (for instance http://localhost:8000/v1) and "
                f"caption.model, or $ARMILLARY_CAPTION_URL and $ARMILLARY_CAPTION_MODEL; got {self.url!r} and {self.model!r}."
            )

    def caption(self, clip: Clip, looks: Sequence[Look]) -> str:
        picks = (
            np.unique(np.linspace(0, len(looks) - 1, min(self.config.frames, len(looks))).round().astype(int)) if looks else []
        )
        content: list[dict[str, Any]] = [{"type": "text", "text": self.config.prompt}]
        content += [{"type": "image_url", "image_url": {"url": _data_url(looks[i].rgb)}} for i in picks]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "max_tokens": 400, "temperature": 0}
        problem: Exception = Failed("no try was made")
        for wait in (*(0.5 * 2**k for k in range(self.config.retries)), None):
            try:
                return self._answer(json.dumps(body).encode())
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise BadInput(f"The caption endpoint {self.url} refused: HTTP {error.code} {error.reason}.") from error
                problem = error
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                problem = error
            if wait is not None:
                time.sleep(wait)
        raise Failed(f"The caption endpoint {self.url} gave no caption for clip {clip.id}: {problem}.") from problem

    def _answer(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.config.key_env, ""):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=self.config.timeout) as reply:
            answer = json.loads(reply.read(1 << 20))
        text = str(answer["choices"][0]["message"]["content"]).strip()
        if not text:
            raise ValueError("an empty answer")
        return " ".join(text.split())


def _data_url(rgb: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


CAPTIONERS: dict[str, Any] = {"measured": Measured, "endpoint": Endpoint}


class Caption:
    """The stage: a caption for every clip that is not rejected, and `tags["caption_by"]`."""

    name = "caption"

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = c = config or CaptionConfig()
        self.captioner: Captioner | None = None if c.by == "none" else lookup(CAPTIONERS, c.by, "captioner")(c)

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        given = read_sidecar(context.path) if self.config.sidecar else {}
        return [self._one(clip, context, given) for clip in clips]

    def _one(self, clip: Clip, context: Context, given: dict[str, str]) -> Clip:
        facts = {k: v for k, v in given.items() if k != "caption"}
        clip = clip.replace(tags={**clip.tags, **facts})
        if clip.rejected:
            return clip
        if given.get("caption"):
            return clip.replace(caption=given["caption"], tags={**clip.tags, "caption_by": "sidecar"})
        if self.captioner is None:
            return clip
        looks = context.segment.looks_within(clip.start, clip.end)
        return clip.replace(caption=self.captioner.caption(clip, looks), tags={**clip.tags, "caption_by": self.captioner.name})


def read_sidecar(video: Path) -> dict[str, str]:
    """What stands in `name.json` (its `caption`, and every other text as a tag) or `name.txt` (the caption) beside a video.

    Raises:
        BadInput: for a sidecar that cannot be read.
    """
    for path in (video.with_suffix(".json"), video.with_suffix(".txt")):
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        try:
            text = path.read_text()
            data = json.loads(text) if path.suffix == ".json" else {"caption": text}
        except (OSError, ValueError) as error:
            raise BadInput(f"The sidecar {path} is not readable: {error}.") from error
        if isinstance(data, dict):
            return {str(k): " ".join(v.split()) for k, v in data.items() if isinstance(v, str)}
    return {}
