"""What a report page is made of, as plain descriptions: a page has sections, a section has blocks.

Text is text: it is escaped, whatever it holds. The one mark it knows is `code` between backticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armillary.types import Verdict

Cell = str | int | float | None


@dataclass(frozen=True)
class Prose:
    """Paragraphs, parted by empty lines; a paragraph whose lines all begin with `- ` is a list."""

    text: str


@dataclass(frozen=True)
class Figure:
    """One number worth a glance: `value` as it is to be read («24.8 dB»), what it is, and what qualifies it."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Figures:
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Table:
    """Rows under column heads. Floats are written with 3 digits, None as a dash; columns of numbers are set right.

    A line break in a cell sets what follows small beneath, such as an interval under its mean.

    Args:
        strong: indices of rows to set in bold.
        grouped: a first cell like the one above it is left empty, and a line parts the groups.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    strong: Sequence[int] = ()
    grouped: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a chart. None or NaN in `y` breaks it; `low` and `high` draw a band around it; `quiet` sets a reference in grey."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    quiet: bool = False


@dataclass(frozen=True)
class Chart:
    """A line chart with axes, a legend and labels at the ends of its lines.

    Args:
        y_range: (lowest, highest) that must be inside; the data's own range otherwise.
        mark: (x, label) of a vertical line, such as where the dream begins.
    """

    title: str
    series: Sequence[Series]
    x_label: str
    y_label: str
    y_range: tuple[float, float] | None = None
    mark: tuple[float, str] | None = None
    note: str = ""


@dataclass(frozen=True)
class Movie:
    """One video: frames uint8 `t h w 3` (encoded here), or the path of an mp4 or webm a browser plays."""

    label: str
    source: np.ndarray | str | Path
    fps: float = 10.0


@dataclass(frozen=True)
class Group:
    """Videos side by side that play in step under one slider, as «truth | dream | difference».

    Args:
        given: the first so many frames were given, not dreamed; the slider says so.
    """

    movies: Sequence[Movie]
    label: str = ""
    given: int = 0


@dataclass(frozen=True)
class Videos:
    groups: Sequence[Group]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image: uint8 `h w 3`, or the path of a png, jpg or webp."""

    label: str
    source: np.ndarray | str | Path


@dataclass(frozen=True)
class Images:
    pictures: Sequence[Picture]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Verdicts:
    """What ran, what was skipped and why, what failed."""

    verdicts: Sequence[Verdict]
    title: str = ""


@dataclass(frozen=True)
class Details:
    """Blocks folded away behind a summary."""

    summary: str
    blocks: Sequence[Block]
    open: bool = False


Block = Prose | Figures | Table | Chart | Videos | Images | Verdicts | Details


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report: `facts` are name and value pairs set small under the title (machine, date, versions); `foot` ends the page."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = field(default=())
    foot: str = ""
