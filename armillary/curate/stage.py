"""What a stage is: something that looks at clips of one stretch of video and gives them back, with more known about them.

Measuring and judging are kept apart: a score is written for every clip, a rejection only where a threshold of the config says so, and
a rejected clip stays in the list with its reason. Changing a threshold later needs no new decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from armillary.curate.analyse import Segment
from armillary.types import Clip, Rejection


@dataclass(frozen=True)
class Context:
    """What a stage may look at beside the clips: the stretch they lie in, and the file it came from.

    Args:
        path: the source file. name: how it is called in the records.
        content: sha256 of its bytes.
        folder: where this stage may leave files.
    """

    segment: Segment
    path: Path
    name: str
    content: str
    folder: Path


class Stage(Protocol):
    """One step over the clips of a segment.

    `process` returns the clips in the same order, each with further `scores`, `tags`, `caption`, `path`, `embedding` or `rejected`.
    """

    name: str

    def process(self, clips: list[Clip], context: Context) -> list[Clip]: ...


def noted(
    clip: Clip,
    scores: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    rejections: tuple[Rejection, ...] = (),
) -> Clip:
    """The clip with scores (rounded to six significant digits, so that records do not hang on the last bit), tags and rejections added."""
    return clip.replace(
        scores={**clip.scores, **{k: float(f"{v:.6g}") for k, v in (scores or {}).items()}},
        tags={**clip.tags, **(tags or {})},
        rejected=(*clip.rejected, *rejections),
    )


def above(by: str, score: float, threshold: float, why: str) -> tuple[Rejection, ...]:
    """A rejection when `score` exceeds `threshold`."""
    return (Rejection(by, why, float(f"{score:.6g}"), threshold),) if score > threshold else ()


def below(by: str, score: float, threshold: float, why: str) -> tuple[Rejection, ...]:
    """A rejection when `score` falls short of `threshold`."""
    return (Rejection(by, why, float(f"{score:.6g}"), threshold),) if score < threshold else ()
