"""Bins by shape and length, so that a training batch holds clips of one kind.

Aspect bins by width over height and length bins in seconds follow cosmos-curate's sharding (upper edge included); a bin for 2-5 s is
added because clips of 2 s and more are kept. Resolutions are named by the short side, and reach down to what a laptop trains on.
"""

from __future__ import annotations

from dataclasses import dataclass

from armillary.errors import BadInput

ASPECTS: tuple[tuple[float, str], ...] = ((0.65, "9x16"), (0.88, "3x4"), (1.16, "1x1"), (1.55, "4x3"), (float("inf"), "16x9"))
RESOLUTIONS: tuple[int, ...] = (64, 128, 256, 360, 480, 720, 1080, 2160)
LENGTHS: tuple[tuple[float, str], ...] = (
    (2.0, "0-2s"),
    (5.0, "2-5s"),
    (10.0, "5-10s"),
    (30.0, "10-30s"),
    (float("inf"), "30s-"),
)


@dataclass(frozen=True, order=True)
class Bucket:
    """One bin: `resolution` (short side at least so many pixels), `aspect`, `length`."""

    resolution: str
    aspect: str
    length: str

    @property
    def name(self) -> str:
        return f"{self.resolution}_{self.aspect}_{self.length}"


def aspect_of(width: int, height: int) -> str:
    """`16x9`, `4x3`, `1x1`, `3x4` or `9x16`."""
    if width < 1 or height < 1:
        raise BadInput(f"A bucket wants a width and a height; got {width}x{height}.")
    return next(name for edge, name in ASPECTS if width / height <= edge)


def length_of(seconds: float) -> str:
    """The length bin: a clip of exactly 5 s is the first of `5-10s`."""
    if not seconds >= 0:
        raise BadInput(f"A bucket wants a length in seconds; got {seconds}.")
    return next(name for edge, name in LENGTHS if seconds < edge or edge == float("inf"))


def resolution_of(width: int, height: int) -> str:
    """The largest of `RESOLUTIONS` that the short side reaches, e.g. `720p`; `tiny` below them all."""
    short = min(width, height)
    return next((f"{r}p" for r in reversed(RESOLUTIONS) if short >= r), "tiny")


def bucket_of(width: int, height: int, seconds: float) -> Bucket:
    """The bin of one clip."""
    return Bucket(resolution_of(width, height), aspect_of(width, height), length_of(seconds))
