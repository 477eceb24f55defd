"""Line charts as SVG text: axes on round numbers, bands, direct labels. Colours are the page's (classes), so that they follow its theme.

Lines differ in dash and marker as well as in colour. A chart is drawn once a width: text that is scaled with its picture is unreadable
on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from armillary.errors import BadInput
from armillary.evaluate.blocks import Chart, Series
from armillary.evaluate.escape import clean

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
MARKERS = ("circle", "square", "diamond", "triangle", "cross")
COLOURS = 5
MOST_MARKERS = 14


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2, 5 x 10^n apart) that hold [low, high] between the first and the last."""
    span = high - low
    raw = span / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    slack = 1e-6 * step  # a bound that float noise puts beside a round number needs no further tick
    first, last = math.floor((low + slack) / step), math.ceil((high - slack) / step)
    # Far from zero the quotient itself is rounded, and may have stepped over the bound.
    first -= first * step > low + slack
    last += last * step < high - slack
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """As few digits as tell it: 1200, 24.8, 0.031."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def styles(chart: Chart) -> list[tuple[str, str, str]]:
    """(colour class, dash, marker) of each line; quiet lines share the grey."""
    out, loud = [], 0
    for series in chart.series:
        if series.quiet:
            out.append(("sq", DASHES[1 + sum(s[0] == "sq" for s in out) % 2], "circle"))
        else:
            out.append((f"s{loud % COLOURS}", DASHES[loud // COLOURS % len(DASHES)], MARKERS[loud % len(MARKERS)]))
            loud += 1
    return out


def marked(series: Series) -> bool:
    """Whether its points are few enough to be drawn each."""
    return not series.quiet and sum(_real(y) is not None for y in series.y) <= MOST_MARKERS


def legend_key(style: tuple[str, str, str], points: bool) -> str:
    """The little line that stands for a series in the legend."""
    colour, dash, marker = style
    return (
        f'<svg class="key {colour}" viewBox="0 0 30 10" width="30" height="10" aria-hidden="true">'
        f'<path class="line" d="M1 5H29"{_dashed(dash)}/>{_marker(marker, 15, 5) if points else ""}</svg>'
    )


def draw(chart: Chart, width: int) -> str:
    """The chart as one `<svg>` of `width` CSS pixels.

    Raises:
        BadInput: no value to draw, or a series whose lists differ in length.
    """
    points = [_points(s) for s in chart.series]
    xs = [x for p in points for x, *_ in p]
    ys = [v for p in points for _, *values in p for v in values if v is not None]
    if not ys:
        raise BadInput(f"The chart {chart.title!r} has no value to draw.")
    ys += list(chart.y_range or ())
    wide = width >= 500
    y_low, y_high = min(ys), max(ys)
    if y_high - y_low < 1e-12:
        y_low, y_high = y_low - 0.5 * (abs(y_low) or 1), y_high + 0.5 * (abs(y_high) or 1)
    y_ticks = ticks(y_low, y_high, 5)
    x_low, x_high = min(xs), max(xs)
    if x_high - x_low < 1e-12:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    x_ticks = [t for t in ticks(x_low, x_high, 8 if wide else 4) if x_low - 1e-9 <= t <= x_high + 1e-9]
    longest = max((len(s.name) for s in chart.series), default=0)
    right = min(16 + 7.2 * longest, 0.3 * width) if wide else 48
    left = 16 + 7.2 * max(len(number(t)) for t in y_ticks)
    # A marked line has its label above the curves, which it would else cross.
    top, bottom, height = 26 if chart.mark is None else 38, 44, round(width * (0.46 if wide else 0.72))

    def px(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (width - left - right)

    def py(y: float) -> float:
        return height - bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)

    out = [
        f'<svg class="plot {"wide" if wide else "narrow"}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{clean(chart.title)}">'
    ]
    for t in y_ticks:
        out.append(f'<path class="grid" d="M{left:.1f} {py(t):.1f}H{width - right:.1f}"/>')
        out.append(f'<text class="tick" x="{left - 7:.1f}" y="{py(t) + 3.8:.1f}" text-anchor="end">{number(t)}</text>')
    base = height - bottom
    out.append(f'<path class="axis" d="M{left:.1f} {base}H{width - right:.1f}"/>')
    for t in x_ticks:
        out.append(f'<path class="axis" d="M{px(t):.1f} {base}v4"/>')
        out.append(f'<text class="tick" x="{px(t):.1f}" y="{base + 17}" text-anchor="middle">{number(t)}</text>')
    out.append(f'<text class="name" x="0" y="11">{clean(chart.y_label)}</text>')
    out.append(f'<text class="name" x="{width - right:.1f}" y="{height - 6}" text-anchor="end">{clean(chart.x_label)}</text>')
    if chart.mark is not None and x_low <= chart.mark[0] <= x_high:
        x = px(chart.mark[0])
        place, anchor = (x - 5, "end") if x > width - right - 90 else (x + 5, "start")
        out.append(f'<path class="mark" d="M{x:.1f} {top - 18}V{base}"/>')
        out.append(f'<text class="tick" x="{place:.1f}" y="{top - 8}" text-anchor="{anchor}">{clean(chart.mark[1])}</text>')
    ends = []
    for p, series, style in zip(points, chart.series, styles(chart)):
        out.append(f'<g class="{style[0]}">{_band(p, px, py)}{_line(p, px, py, style, marked(series))}</g>')
        last = next(((x, y) for x, y, *_ in reversed(p) if y is not None), None)
        if last is not None:
            ends.append((py(last[1]), px(last[0]), series.name if wide else number(last[1]), style[0]))
    for (y, (_, x, name, colour)), _ in zip(_spaced(ends, 14, top, base), ends):
        out.append(
            f'<text class="end {colour}" x="{x + 8:.1f}" y="{y + 4:.1f}">{clean(_cut(name, right) if wide else name)}</text>'
        )
    return "".join(out) + "</svg>"


def _points(series: Series) -> list[tuple[float, float | None, float | None, float | None]]:
    n = len(series.x)
    low, high = series.low or [None] * n, series.high or [None] * n
    if not n == len(series.y) == len(low) == len(high):
        raise BadInput(f"Series {series.name!r} has {n} x, {len(series.y)} y, {len(low)} low and {len(high)} high values.")
    return [(float(x), _real(y), _real(a), _real(b)) for x, y, a, b in zip(series.x, series.y, low, high)]


def _real(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _marker(kind: str, x: float, y: float) -> str:
    if kind == "circle":
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.8"/>'
    shapes = {
        "square": "m-2.6 -2.6h5.2v5.2h-5.2z",
        "diamond": "m0 -3.6l3.6 3.6l-3.6 3.6l-3.6 -3.6z",
        "triangle": "m0 -3.4l3.2 5.8h-6.4z",
        "cross": "m-3 -3l6 6m0 -6l-6 6",
    }
    return f'<path class="dot {kind}" d="M{x:.1f} {y:.1f}{shapes[kind]}"/>'


def _line(points: Sequence[tuple], px, py, style: tuple[str, str, str], points_too: bool) -> str:
    path, pen = [], "M"
    for x, y, *_ in points:
        if y is None:
            pen = "M"
            continue
        path.append(f"{pen}{px(x):.1f} {py(y):.1f}")
        pen = "L"
    out = f'<path class="line" d="{"".join(path)}"{_dashed(style[1])}/>' if path else ""
    if points_too:
        out += "".join(_marker(style[2], px(x), py(y)) for x, y, *_ in points if y is not None)
    return out


def _band(points: Sequence[tuple], px, py) -> str:
    held = [(x, a, b) for x, _, a, b in points if a is not None and b is not None]
    if len(held) < 2:
        return ""
    up = "L".join(f"{px(x):.1f} {py(b):.1f}" for x, _, b in held)
    down = "L".join(f"{px(x):.1f} {py(a):.1f}" for x, a, _ in reversed(held))
    return f'<path class="band" d="M{up}L{down}Z"/>'


def _spaced(ends: list[tuple], gap: float, top: float, base: float) -> list[tuple[float, tuple]]:
    """Label heights as near to their lines as `gap` apart allows."""
    order = sorted(ends, key=lambda e: e[0])
    places: list[float] = []
    for e in order:
        places.append(max(e[0], places[-1] + gap) if places else max(e[0], top))
    over = places[-1] - base if places else 0
    if over > 0:  # push the pile up again from the bottom
        places[-1] = base
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    return list(zip(places, order))


def _cut(name: str, room: float) -> str:
    most = max(3, int((room - 10) / 7))
    return name if len(name) <= most else name[: most - 1] + "…"
