"""What a caption is asked for: a window of 256 frames, as in the paper (section 3.3); the config, and the protocol of those who answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from armillary.curate.analyse import Look, Segment
from armillary.types import Clip

WINDOW = 256  # frames
REST = 128  # a last window of fewer frames joins the one before it

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
        For `transformers`, `model` is a folder.
    key_env: the environment variable that holds the key; the key itself is in no config and no record.
    frames: pictures sent. tokens: most tokens of an answer.
    timeout: seconds for an answer, all of it. retries: further tries. backoff: seconds before the first of them, doubled for each next.
    max_wait: most seconds before a try, also when the endpoint asks for more. concurrency: requests under way.
    give_up: after so many failures with no success between, the endpoint is not asked again for the clips of the same task; 0: never.
    """

    by: str = "measured"
    sidecar: bool = True
    url: str = ""
    model: str = ""
    key_env: str = "ARMILLARY_CAPTION_KEY"
    frames: int = 8
    tokens: int = 400
    timeout: float = 60.0
    retries: int = 3
    backoff: float = 0.5
    max_wait: float = 60.0
    concurrency: int = 8
    give_up: int = 16
    prompt: str = PROMPT


@dataclass(frozen=True)
class Window:
    """A stretch of a clip that gets a caption of its own.

    Args:
        first, last: frames of the clip, half open. start, end: seconds on the source's clock.
        looks: pictures in it, in order. alone: whether it is the whole clip.
    """

    clip: Clip
    first: int
    last: int
    start: float
    end: float
    looks: tuple[Look, ...]
    alone: bool = True


@dataclass(frozen=True)
class Answer:
    """A caption, or why there is none."""

    text: str
    error: str = ""


class Captioner(Protocol):
    """Gives each window its caption, in order. What goes wrong with one window is that window's `error`, not an exception.

    `source` goes into the tag `caption_source`.
    """

    source: str

    def captions(self, windows: Sequence[Window]) -> list[Answer]: ...


def spans(frames: int) -> list[tuple[int, int]]:
    """Windows of a clip of so many frames: `[(0, 256), (256, 512), …]`, a rest of under 128 joined to the last."""
    edges = list(range(0, max(frames, 1), WINDOW))
    if len(edges) > 1 and frames - edges[-1] < REST:
        edges.pop()
    return list(zip(edges, [*edges[1:], frames]))


def windows_of(clip: Clip, segment: Segment) -> list[Window]:
    """The windows of a clip, timed by its frames' own times."""
    times = segment.times[segment.within(clip.start, clip.end)]
    count = clip.num_frames or len(times)
    ranges = spans(count)
    if len(times) != count:  # frames that did not decode: as if they were evenly spread
        times = np.linspace(clip.start, clip.end, count, endpoint=False)
    out = []
    for first, last in ranges:
        start = clip.start if first == 0 else float(times[first])
        end = clip.end if last >= count else float(times[last])
        looks = tuple(segment.looks_within(start, end))
        out.append(Window(clip, first, last, start, end, looks, len(ranges) == 1))
    return out


def picked(looks: Sequence[Look], most: int) -> list[Look]:
    """At most so many, evenly spread, first and last among them."""
    if not looks:
        return []
    return [looks[int(i)] for i in np.unique(np.linspace(0, len(looks) - 1, min(most, len(looks))).round())]
