"""Sections on long dreams and on copying: curves over the horizon, the verdict in words, the numbers beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.evaluate import collapse, versus
from armillary.evaluate.blocks import Block, Cell, Chart, Details, Figure, Figures, Prose, Section, Series, Table
from armillary.evaluate.present import amount, between, percent, pixels
from armillary.types import Report

ARMS = {"truth": "truth", "dream": "dream", "copy": "copy", "reconstruction": "tokenizer"}
QUIET = ("copy", "truth")
CURVES = {
    "kept": ("Objects still there", "share of objects"),
    "in_place": ("Objects in place", "share of objects"),
    "error_px": ("How far from their place", "px of a 64-pixel image, median"),
    "invented": ("Objects made up", "share of objects with a second one"),
    "psnr": ("PSNR against the truth", "dB"),
    "sharpness": ("Sharpness against the beginning's", "ratio"),
    "contrast": ("Contrast against the beginning's", "ratio"),
    "saturation": ("Saturation against the beginning's", "ratio"),
    "colour": ("Mean colour away from the beginning's", "grey levels"),
    "movement": ("Movement from frame to frame", "grey levels"),
}
FRONT = ("kept", "error_px", "psnr", "sharpness", "colour")


def long_section(report: Report, title: str = "", before: Sequence[Block] = ()) -> Section:
    """What `evaluate_long` measured. `before`: films and sheets, shown under the verdict."""
    m = report.metrics
    far, near = list(m["horizons"])[-1], next(iter(m["horizons"]))
    held = m["collapse"]["dream"]
    half = held["median_horizon"]
    figures = [
        Figure(str(m["verdict"]).lower(), f"over {m['times']:g} times the trained length", f"{m['past'] + m['steps']} frames"),
        Figure(percent(held["share"]), "of episodes collapse", _percent_between(held["share"])),
    ]
    if half is not None:
        figures.append(Figure(f"+{half}", "half have collapsed by this frame", f"of {m['steps']} dreamed"))
    if "objects" in m:
        things = m["objects"]["dream"]
        figures += [
            Figure(percent(things[near]["kept"]), f"of objects still there, +{near}", _percent_between(things[near]["kept"])),
            Figure(percent(things[far]["kept"]), f"of objects still there, +{far}", _percent_between(things[far]["kept"])),
            Figure(f"{pixels(things[far]['error_px'])} px", f"from their place, +{far}", "median of those that are there"),
        ]
    figures.append(Figure(amount(m["psnr"]["dream"][far], 1, " dB"), f"PSNR, +{far}", between(m["psnr"]["dream"][far])))
    charts = [_curve(m, name) for name in CURVES if name in m["curves"]]
    front = [c for c in charts if c.title in {CURVES[n][0] for n in FRONT}]
    rest = [c for c in charts if c not in front]
    blocks: list[Block] = [Figures(figures), Prose(m["why"]), *before, *front, _table(m), *_versus_details(m["versus"])]
    blocks += [Details("Other curves", rest), _collapse_table(m)]
    blocks.append(Details("How this was measured", [Prose("\n\n".join(report.notes))]))
    return Section(title or f"{m['times']:g} times the trained length", blocks)


def versus_section(found: Mapping[str, Any], title: str = "Against copying, frame by frame") -> Section:
    """What `against_copy` found, verdict first."""
    horizons = found["horizons"]
    figures = [Figure(str(found["verdict"]).lower(), f"at +1 to +{horizons[-1]}", f"{found['episodes']} episodes, paired")]
    for name in (n for n in versus.NAMES if n in found):
        good, even, bad = (len(found[side][name]) for side in ("better", "alike", "worse"))
        label = f"horizons: {_lower(versus.NAMES[name])} better"
        if name == "kept":  # which copying cannot be bettered in
            good, label = good + even, "horizons: as many objects kept"
        figures.append(Figure(f"{good} of {good + bad + even * (name != 'kept')}", label, f"worse at {bad or 'none'}"))
    gain = [found["psnr"][str(h)]["difference"] for h in horizons]
    mean, low, high = ([g[k] for g in gain] for k in ("mean", "low", "high"))
    line = Series("dream less copy", horizons, mean, low, high)
    chart = Chart(
        "PSNR gained over copying",
        [line],
        "frames after the last given one",
        "dB",
        y_range=(0.0, 0.0),
        note="Band: paired 95 % interval.",
    )
    return Section(title, [Figures(figures), Prose(found["why"]), chart, _versus_table(found)])


def _lower(name: str) -> str:
    return name if name.startswith("PSNR") else name[0].lower() + name[1:]


def _percent_between(value: Mapping[str, Any]) -> str:
    return between(value, 0, 100, " %")


def _curve(m: Mapping[str, Any], name: str) -> Chart:
    x = m["curves"]["x"]
    series = []
    for arm, line in m["curves"][name].items():
        if all(v is None for v in line["mean"]) or (arm == "truth" and name in ("kept", "in_place", "error_px")):
            continue
        band = {k: line[k] for k in ("low", "high")} if arm == "dream" and "low" in line else {}
        series.append(Series(ARMS[arm], x, line["mean"], quiet=arm in QUIET, **band))
    title, unit = CURVES[name]
    bounds = (
        (0.0, 1.0)
        if name in ("kept", "in_place")
        else (0.0, 0.0)
        if name in ("invented", "error_px", "colour", "movement")
        else None
    )
    mark = (m["trained"] - m["past"], "trained length") if m["trained"] > m["past"] else None
    note = "Band: 95 % interval over episodes." if any(len(s.low) for s in series) else ""
    note = "Of the objects that are there." if name == "error_px" else note
    return Chart(title, series, "frames after the last given one", unit, y_range=bounds, mark=mark, note=note)


def _table(m: Mapping[str, Any]) -> Table:
    horizons = list(m["horizons"])
    rows: list[tuple[Cell, ...]] = []
    strong = []

    def add(label: str, by_arm: Mapping[str, Any], write: Any) -> None:
        for arm in ARMS:
            if arm in by_arm:
                if arm == "dream":
                    strong.append(len(rows))
                rows.append((label, ARMS[arm], *(write(by_arm[arm][h]) for h in horizons)))

    if "objects" in m:
        judged = {arm: v for arm, v in m["objects"].items() if arm != "truth"}
        add("still there", judged, lambda v: percent(v["kept"]))
        add("in place", judged, lambda v: percent(v["in_place"]))
        add("position error, px", judged, lambda v: pixels(v["error_px"]))
        add("made up", m["objects"], lambda v: percent(v["invented"]))
    add("PSNR, dB", m["psnr"], lambda v: amount(v, 1))
    for name in (*collapse.LOOKS, "movement"):
        digits = 2 if name in collapse.RATIOS else 1
        by_arm = {arm: v[name] for arm, v in m["looks"].items()}
        add(name, by_arm, lambda v, digits=digits: amount(v, digits))
    heads = [f"+{h} ({k:g}×)" for h, k in m["horizons"].items()]
    note = (
        "In brackets: times the trained length, given frames counted. Sharpness, contrast and saturation: ratios to the beginning; colour: "
        "grey levels away from it; movement: grey levels a frame."
    )
    return Table(("", "of", *heads), rows, "At multiples of the trained length", note, strong, grouped=True)


def _collapse_table(m: Mapping[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for arm in (a for a in ARMS if a in m["collapse"]):
        found = m["collapse"][arm]
        why = ", ".join(f"{k} {v}" for k, v in sorted(found["why"].items(), key=lambda item: -item[1])) or "–"
        half, left = found["median_horizon"], found["left"]["median_horizon"]
        rows.append(
            (
                ARMS[arm],
                percent(found["share"]),
                f"+{half}" if half else "–",
                percent(found["left"]["share"]),
                f"+{left}" if left else "–",
                why,
            )
        )
    columns = ("of", "collapsed", "half by", "looks left the truth's range", "half by", "what gave way first, episodes")
    return Table(columns, rows, "Collapse", "", [i for i, r in enumerate(rows) if r[0] == ARMS["dream"]])


def _versus_details(found: Mapping[str, Any]) -> list[Block]:
    return [Details("Against copying, paired", [Prose(found["why"]), _versus_table(found)])]


def _versus_table(found: Mapping[str, Any]) -> Table:
    names = [n for n in versus.NAMES if n in found]
    rows: list[tuple[Cell, ...]] = []
    for h in found["horizons"]:
        rows.append(
            (f"+{h}", *(_pair(found[n][str(h)], *((100.0, 0) if n in ("kept", "in_place") else (1.0, 1))) for n in names))
        )
    units = {"kept": "%", "in_place": "%", "psnr": "dB"}
    heads = {"kept": "kept", "error_px": "error", "moved_error_px": "error of what moved", "in_place": "in place"}
    columns = ("frame", *(f"{heads.get(n, versus.NAMES[n])}, {units.get(n, 'px')}" for n in names))
    note = (
        "Dream | copy of the last given frame; beneath, dream less copy and its paired 95 % interval. Less is better for position errors, "
        "which are distances of the objects that both show; in place counts what is lost as misplaced. Copying keeps every object."
    )
    return Table(columns, rows, "", note)


def _pair(row: Mapping[str, Any], scale: float, digits: int) -> str:
    value = row["difference"]
    if value["mean"] is None:
        return "–"
    mean, low, high = (signed(scale * value[k], digits) for k in ("mean", "low", "high"))
    return f"{scale * row['dream']:.{digits}f} | {scale * row['copy']:.{digits}f}\n{mean} ({low} to {high})"


def signed(value: float, digits: int) -> str:
    """`+1.2`, `−0.3`, and a plain zero for what rounds to it."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")
