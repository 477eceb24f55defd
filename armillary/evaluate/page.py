"""One self-contained `report.html`: style, script, charts, pictures and videos inside, so that it opens from disk with no network.

A content security policy in the page forbids it every address but its own data; the script is admitted by its hash. All text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from armillary import media
from armillary.errors import BadInput
from armillary.evaluate import chart as svg
from armillary.evaluate.blocks import (
    Block,
    Cell,
    Chart,
    Details,
    Figures,
    Group,
    Images,
    Movie,
    Page,
    Picture,
    Prose,
    Table,
    Verdicts,
    Videos,
)
from armillary.evaluate.escape import clean, inline
from armillary.store import write_text

HERE = Path(__file__).parent
WIDE, NARROW = 880, 350  # CSS pixels: the text column of a desktop page and of a phone
SMALL = 160  # a picture up to this size is shown enlarged, pixel by pixel
SHOWN = 200  # CSS pixels of an enlarged video
LARGEST = 640
PLAYED = ("h264", "vp8", "vp9", "av1")
TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
DATA_ROWS = 60  # a chart of more points is not repeated as a table

# An armillary sphere in six strokes: horizon, meridian, two tropics, the ecliptic, the axis.
MARK = (
    '<svg viewBox="0 0 26 26" aria-hidden="true"><circle cx="13" cy="13" r="10.5"/><ellipse cx="13" cy="13" rx="10.5" ry="3.4"/>'
    '<ellipse cx="13" cy="13" rx="3.6" ry="10.5"/><ellipse cx="13" cy="13" rx="10.5" ry="3.4" transform="rotate(-38 13 13)"/>'
    '<path d="M13 .8v24.4"/><circle cx="13" cy="13" r="1.3" fill="currentColor" stroke="none"/></svg>'
)
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 26 26' fill='none' stroke='#9a7420' stroke-width='2'>"
    "<circle cx='13' cy='13' r='11'/><ellipse cx='13' cy='13' rx='11' ry='4' transform='rotate(-35 13 13)'/></svg>"
)
SIGNS = {
    "ran": '<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.6"/></svg>',
    "skipped": '<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.6"/></svg>',
    "failed": '<svg viewBox="0 0 12 12" aria-hidden="true"><path d="M1.5 1.5l9 9m0-9l-9 9"/></svg>',
    "blocked": '<svg viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="4.8"/><path d="M2.6 9.4l6.8-6.8"/></svg>',
}


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        BadInput: a block that cannot be shown (an empty chart, a video no browser plays, a table with ragged rows).
    """
    return write_text(path, render(page))


def render(page: Page) -> str:
    """The page as one HTML text."""
    style, script = (HERE / "page.css").read_text(), (HERE / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    titles = [clean(s.title) for s in page.sections]
    contents = "".join(f'<li><a href="#s{i}"><span class="no">{i}</span>{title}</a></li>' for i, title in enumerate(titles, 1))
    facts = "".join(f"<div><dt>{clean(k)}</dt><dd>{clean(v)}</dd></div>" for k, v in page.facts)
    sections = "".join(
        f'<section id="s{i}"><div class="side"><span class="no">{i}</span><h2>{title}</h2></div>'
        f'<div class="body">{_blocks(section.blocks)}</div></section>\n'
        for i, (title, section) in enumerate(zip(titles, page.sections), 1)
    )
    icon = base64.b64encode(ICON.encode()).decode()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{clean(page.title)}</title>
<link rel="icon" href="data:image/svg+xml;base64,{icon}">
<style>
{style}</style>
</head>
<body>
<div class="sheet">
<header class="masthead">
<div class="maker">{MARK}<span>Armillary</span></div>
<h1>{clean(page.title)}</h1>
{f'<p class="subtitle">{inline(page.subtitle)}</p>' if page.subtitle else ""}
{f'<dl class="facts">{facts}</dl>' if facts else ""}
</header>
{f'<nav class="contents" aria-label="Contents"><ol>{contents}</ol></nav>' if len(titles) > 2 else ""}
<main>
{sections}</main>
{f"<footer>{inline(page.foot)}</footer>" if page.foot else ""}
</div>
<script>{script}</script>
</body>
</html>
"""


def _blocks(blocks: Sequence[Block]) -> str:
    out = []
    for block in blocks:
        draw = DRAWN.get(type(block))
        if draw is None:
            raise BadInput(f"A section holds {', '.join(c.__name__ for c in DRAWN)}; got {type(block).__name__}.")
        out.append(f"<div>{draw(block)}</div>")
    return "\n".join(out)


def _titled(title: str, inside: str, note: str = "") -> str:
    return (f"<h3>{clean(title)}</h3>" if title else "") + inside + (f'<p class="note">{inline(note)}</p>' if note else "")


def _prose(block: Prose) -> str:
    out = []
    for part in block.text.strip().split("\n\n"):
        lines = [line.strip() for line in part.strip().splitlines()]
        if lines and all(line.startswith("- ") for line in lines):
            out.append("<ul>" + "".join(f"<li>{inline(line[2:])}</li>" for line in lines) + "</ul>")
        elif lines:
            out.append(f"<p>{inline(' '.join(lines))}</p>")
    return f'<div class="prose">{"".join(out)}</div>'


def _figures(block: Figures) -> str:
    cells = "".join(
        f'<div><dt>{clean(f.label)}</dt><dd class="value">{clean(f.value)}</dd>'
        f"{f'<dd class=under>{inline(f.note)}</dd>' if f.note else ''}</div>"
        for f in block.figures
    )
    return f'<dl class="figures">{cells}</dl>'


def cell(value: Cell) -> str:
    """A table's value as text: three significant digits or one decimal, a dash for nothing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return str(value)


def _is_number(value: Cell) -> bool:
    return (
        value is None
        or (isinstance(value, (int, float)) and not isinstance(value, bool))
        or cell(value)[:1] in "0123456789+-−–"
    )


def _written(value: Cell) -> str:
    first, _, under = cell(value).partition("\n")
    return inline(first) + (f"<small>{inline(under)}</small>" if under else "")


def _table(block: Table) -> str:
    rows = [tuple(r) for r in block.rows]
    if ragged := [r for r in rows if len(r) != len(block.columns)]:
        raise BadInput(f"A table of {len(block.columns)} columns has a row of {len(ragged[0])}: {ragged[0]}.")
    right = [bool(rows) and all(_is_number(r[c]) for r in rows) for c in range(len(block.columns))]
    mark = [' class="num"' if r else "" for r in right]
    head = "".join(f'<th scope="col"{m}>{clean(c)}</th>' for c, m in zip(block.columns, mark))
    body, above = [], None
    for i, row in enumerate(rows):
        same = block.grouped and i > 0 and row[0] == above
        names = [n for n, on in (("strong", i in block.strong), ("part", block.grouped and i > 0 and not same)) if on]
        cells = ["" if same and c == 0 else _written(v) for c, v in enumerate(row)]
        inside = "".join(f"<td{m}>{v}</td>" for v, m in zip(cells, mark))
        kind = f' class="{" ".join(names)}"' if names else ""
        body.append(f"<tr{kind}>{inside}</tr>")
        above = row[0]
    name, kind = clean(block.title or "table"), ' class="grouped"' if block.grouped else ""
    made = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    return _titled(block.title, made, block.note)


def _chart(block: Chart) -> str:
    keys = "".join(
        f"<li>{svg.legend_key(style, svg.marked(series))}{clean(series.name)}</li>"
        for series, style in zip(block.series, svg.styles(block))
    )
    legend = f'<ul class="legend">{keys}</ul>' if len(block.series) > 1 else ""
    xs = sorted({float(x) for s in block.series for x in s.x})
    data = ""
    if len(xs) <= DATA_ROWS:
        lines = [dict(zip(map(float, s.x), s.y)) for s in block.series]
        rows = [(svg.number(x), *(_as_float(line.get(x)) for line in lines)) for x in xs]
        table = _table(Table((block.x_label, *(s.name for s in block.series)), rows))
        data = f'<details class="data"><summary>The same as numbers</summary>{table}</details>'
    return _titled(block.title, legend + svg.draw(block, WIDE) + svg.draw(block, NARROW), block.note) + data


def _as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _encoded(movie: Movie) -> tuple[str, int, int, int, float]:
    """(data URI, width, height as filmed, frames, frames a second)."""
    if isinstance(movie.source, np.ndarray):
        frames = movie.source
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise BadInput(f"The video {movie.label!r} is not uint8 t h w 3: {frames.dtype} {frames.shape}.")
        height, width = frames.shape[1:3]
        # H.264 halves the colour resolution; at twice the size every pixel of a small video keeps its own colour.
        doubled = frames.repeat(2, axis=1).repeat(2, axis=2) if max(height, width) <= SMALL else frames
        with tempfile.TemporaryDirectory() as folder:
            path = media.write_video(Path(folder) / "movie.mp4", doubled, movie.fps, crf=16)
            content, kind, fps, count = path.read_bytes(), "video/mp4", float(movie.fps), len(frames)
    else:
        path = Path(movie.source)
        info = media.probe(path)
        if path.suffix.lower() not in TYPES or info.codec not in PLAYED:
            raise BadInput(f"{path.name} ({info.codec}) is not played by every browser; give H.264 in mp4, or frames.")
        content, kind = path.read_bytes(), TYPES[path.suffix.lower()]
        width, height, fps, count = info.width, info.height, info.fps, info.num_frames
    return f"data:{kind};base64,{base64.b64encode(content).decode()}", width, height, count, fps


def _group(group: Group) -> str:
    if not group.movies:
        raise BadInput("A group of videos holds at least one.")
    made = [_encoded(m) for m in group.movies]
    movies = []
    for movie, (uri, width, height, _, _) in zip(group.movies, made):
        grain = ' class="grain"' if max(width, height) <= SMALL else ""
        name = clean(movie.label or "video")
        movies.append(
            f'<figure class="movie"><video{grain} src="{uri}" width="{width}" height="{height}" aria-label="{name}" '
            f"autoplay muted loop playsinline controls></video>{f'<figcaption>{name}</figcaption>' if movie.label else ''}</figure>"
        )
    widest = max(m[1] for m in made)
    shown = SHOWN * (2 if len(made) == 1 else 1) if widest <= SMALL else min(widest, LARGEST)
    frames, fps = min(m[3] for m in made), made[0][4]
    facts = f'data-frames="{frames}" data-fps="{fps:.6g}" data-given="{group.given}"'  # one clock a group: its first video's
    beside = " beside" if len(made) == 3 and widest <= SMALL and group.label else ""  # more leave no room for the label
    return (
        f'<figure class="group{beside}" style="--n:{len(made)};--w:{shown}px" {facts}>'
        f"{f'<figcaption>{inline(group.label)}</figcaption>' if group.label else ''}"
        f'<div class="row">{"".join(movies)}</div></figure>'
    )


def _videos(block: Videos) -> str:
    return _titled(block.title, f'<div class="groups">{"".join(_group(g) for g in block.groups)}</div>', block.note)


def _picture(picture: Picture) -> str:
    if isinstance(picture.source, np.ndarray):
        frame = picture.source
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise BadInput(f"The picture {picture.label!r} is not uint8 h w 3: {frame.dtype} {frame.shape}.")
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG", optimize=True)
        content, kind = buffer.getvalue(), "image/png"
    else:
        path = Path(picture.source)
        if path.suffix.lower() not in PICTURES:
            raise BadInput(f"{path.name} is no picture a page can hold; give one of {', '.join(PICTURES)}.")
        frame, content, kind = media.read_image(path), path.read_bytes(), PICTURES[path.suffix.lower()]
    height, width = frame.shape[:2]
    small = max(width, height) <= SMALL
    shown = SHOWN if small else width
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img{" class=grain" if small else ""} src="{uri}" width="{width}" height="{height}" alt="{clean(picture.label)}">'
    broad = width > 2.2 * height and width > LARGEST  # on a phone such a strip is scrolled, not shrunk
    if broad:
        image = f'<div class="scroll" tabindex="0" role="region" aria-label="{clean(picture.label)}">{image}</div>'
    caption = f"<figcaption>{inline(picture.label)}</figcaption>" if picture.label else ""
    style = 'class="picture broad"' if broad else f'class="picture" style="width:{shown}px"'
    return f"<figure {style}>{image}{caption}</figure>"


def _images(block: Images) -> str:
    return _titled(block.title, f'<div class="pictures">{"".join(_picture(p) for p in block.pictures)}</div>', block.note)


def _verdicts(block: Verdicts) -> str:
    rows = []
    for v in block.verdicts:
        state = "blocked" if v.blocked and v.state == "ran" else v.state
        score = f" (score {v.score:.2f})" if v.score is not None else ""
        rows.append(
            f'<li><span class="badge {state}">{SIGNS[state]}{state}</span><span>{clean(v.rail)}</span>'
            f'<span class="why">{inline(v.reason)}{score}</span></li>'
        )
    return _titled(block.title, f'<ul class="verdicts">{"".join(rows)}</ul>')


def _details(block: Details) -> str:
    opened = " open" if block.open else ""
    return (
        f'<details{opened}><summary>{clean(block.summary)}</summary><div class="body">{_blocks(block.blocks)}</div></details>'
    )


DRAWN: dict[type, Callable[[Any], str]] = {
    Prose: _prose,
    Figures: _figures,
    Table: _table,
    Chart: _chart,
    Videos: _videos,
    Images: _images,
    Verdicts: _verdicts,
    Details: _details,
}
