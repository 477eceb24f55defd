"""Reports as sections of a page: which figures stand in front, which charts, which tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armillary.evaluate.blocks import Block, Cell, Chart, Details, Figure, Figures, Prose, Section, Series, Table
from armillary.evaluate.objects import CLASSES
from armillary.types import Report

ARMS = {"dream": "dream", "copy": "copy", "reconstruction": "tokenizer"}
LEGEND = "Copy: the last given frame, repeated. Tokenizer: the truth, encoded and decoded, the best the world could show."
MEASURES = {"psnr": "PSNR, dB", "psnr_changed": "PSNR on changed pixels, dB", "ssim": "SSIM", "sharpness": "sharpness"}


def amount(value: Mapping[str, Any], digits: int = 1, unit: str = "") -> str:
    """An Estimate as `24.8 dB`, or a dash."""
    return "–" if value["mean"] is None else f"{value['mean']:.{digits}f}{unit}"


def between(value: Mapping[str, Any], digits: int = 1, scale: float = 1.0, unit: str = "") -> str:
    """Its interval as `95 %: 24.1 to 25.6`."""
    if value["mean"] is None:
        return "not measured"
    return f"95 %: {scale * value['low']:.{digits}f} to {scale * value['high']:.{digits}f}{unit}"


def percent(value: Mapping[str, Any]) -> str:
    return "–" if value["mean"] is None else f"{100 * value['mean']:.0f} %"


def pixels(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _notes(report: Report) -> list[Block]:
    return [Details("How this was measured", [Prose("\n\n".join(report.notes))])] if report.notes else []


def tokenizer_section(report: Report, title: str = "Reconstruction", before: Sequence[Block] = ()) -> Section:
    """What `evaluate_tokenizer` measured."""
    m = report.metrics
    figures = [
        Figure(amount(m["psnr"], 1, " dB"), "PSNR", between(m["psnr"])),
        Figure(amount(m["psnr_foreground"], 1, " dB"), "PSNR, moving pixels only", between(m["psnr_foreground"])),
        Figure(amount(m["ssim"], 3), "SSIM", between(m["ssim"], 3)),
        Figure(f"{m['compression']:.0f}×", "fewer values than the pixels have", ""),
    ]
    if codes := m.get("codes"):
        figures[3] = Figure(f"{codes['bits_per_pixel']:.2f}", "bits a pixel", f"{codes['vocab']} codes in the vocabulary")
        figures.append(Figure(f"{codes['used']}", "codes in use", f"of {codes['vocab']}; perplexity {codes['perplexity']:.0f}"))
    figures.append(Figure(f"{m['frames_per_second']:.0f}", "frames a second", "there and back, this machine"))
    columns = ("video", "frames", "size", "PSNR, dB", "moving pixels, dB", "SSIM", "sharpness")
    rows: list[tuple[Cell, ...]] = [
        (r["name"], r["frames"], f"{r['width']}×{r['height']}", r["psnr"], r["psnr_foreground"], r["ssim"], r["sharpness"])
        for r in m["clips"]
    ]
    return Section(title, [*before, Figures(figures), Details("Every video", [Table(columns, rows)]), *_notes(report)])


def world_section(report: Report, title: str = "Rollouts against the truth", before: Sequence[Block] = ()) -> Section:
    """What `evaluate_world` measured."""
    m = report.metrics
    horizons = [str(h) for h in m["horizons"]]
    far = horizons[-1]
    near = next((h for h in reversed(horizons) if int(h) <= 16), horizons[0])
    figures = [
        Figure(amount(m["psnr"]["dream"][near], 1, " dB"), f"PSNR, frame +{near}", between(m["psnr"]["dream"][near])),
        Figure(_signed(m["over_copy"][near]), f"over copying the last frame, +{near}", between(m["over_copy"][near])),
    ]
    if "objects" in m:
        untouched, pushed, tip = (
            m["objects"]["dream"]["untouched"][near],
            m["objects"]["dream"]["pushed"][near],
            m["tip"]["dream"][far],
        )
        figures += [
            Figure(percent(untouched["lost"]), f"of untouched objects lost, +{near}", f"of {untouched['n']}"),
            Figure(
                percent(pushed["in_place"]),
                f"of pushed objects in place, +{near}",
                f"of {pushed['n']}; {percent(pushed['lost'])} lost",
            ),
            Figure(f"{pixels(tip['error_px'])} px", f"tip error, +{far}", f"median; {percent(tip['lost'])} of {tip['n']} lost"),
        ]
    figures.append(Figure(f"{m['frames_per_second']:.0f}", "frames a second", "dreamed, this machine"))
    blocks: list[Block] = [*before, Figures(figures), _curve(m, "psnr_changed"), _measure_table(m, horizons)]
    if "objects" in m:
        blocks += [_object_table(m, horizons), _tip_table(m, horizons)]
    blocks.append(Details("Other curves", [_curve(m, "psnr"), _curve(m, "ssim"), _curve(m, "sharpness")]))
    return Section(title, [*blocks, *_notes(report)])


def _signed(value: Mapping[str, Any]) -> str:
    return "–" if value["mean"] is None else f"{value['mean']:+.1f} dB".replace("-", "−")


def _curve(m: Mapping[str, Any], name: str) -> Chart:
    horizons = [int(h) for h in m["horizons"]]
    series = []
    for arm, values in m["curves"][name].items():
        if all(v is None for v in values):
            continue
        series.append(Series(ARMS[arm], range(1, len(values) + 1), values, quiet=arm == "copy"))
    title, unit = {
        "psnr": ("PSNR over all pixels", "dB"),
        "psnr_changed": ("PSNR on the pixels that changed", "dB"),
        "ssim": ("Structural similarity", "SSIM"),
        "sharpness": ("Sharpness against the truth's", "ratio of gradients"),
    }[name]
    note = (
        f"Mean over {m['episodes']} episodes; values at +{', +'.join(map(str, horizons))} with intervals in the table. {LEGEND}"
    )
    return Chart(f"{title}, by steps dreamed", series, "frames after the last given one", unit, note=note)


def _measure_table(m: Mapping[str, Any], horizons: list[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    strong = []
    for name, label in MEASURES.items():
        digits = 1 if "psnr" in name else 3
        for arm, values in m[name].items():
            if arm == "dream":
                strong.append(len(rows))
            cells = [_with_interval(values[h], digits) if arm == "dream" else amount(values[h], digits) for h in horizons]
            rows.append((label, ARMS[arm], *cells))
    return Table(
        ("measure", "of", *(f"+{h}" for h in horizons)), rows, "Pixels", f"Small: 95 % interval. {LEGEND}", strong, grouped=True
    )


def _with_interval(value: Mapping[str, Any], digits: int) -> str:
    if value["mean"] is None:
        return "–"
    return f"{value['mean']:.{digits}f}\n{value['low']:.{digits}f} to {value['high']:.{digits}f}"


def _object_table(m: Mapping[str, Any], horizons: list[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind in (k for k in CLASSES if any(m["objects"]["dream"][k][h]["n"] for h in horizons)):
        for arm, kinds in m["objects"].items():
            cells = []
            for h in horizons:
                v = kinds[kind][h]
                cells.append(f"{round(v['n'] * (v['lost']['mean'] or 0))}/{v['n']}" if v["n"] else "–")
            last = kinds[kind][horizons[-1]]
            rows.append((kind, ARMS[arm], *cells, pixels(last["error_px"]), percent(last["in_place"])))
    far = horizons[-1]
    columns = ("objects", "of", *(f"lost +{h}" for h in horizons), f"error +{far}, px", f"in place +{far}")
    note = "Copying keeps every object and moves none: read its losses beside what is in place."
    return Table(columns, rows, "Objects", note, [i for i, r in enumerate(rows) if r[1] == ARMS["dream"]], grouped=True)


def _tip_table(m: Mapping[str, Any], horizons: list[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for arm, tips in m["tip"].items():
        rows.append(
            (ARMS[arm], *(pixels(tips[h]["error_px"]) for h in horizons), *(percent(tips[h]["lost"]) for h in horizons[-1:]))
        )
    return Table(("tip of", *(f"error +{h}, px" for h in horizons), f"lost +{horizons[-1]}"), rows, "Tool tip")


def control_section(report: Report, title: str = "Control", before: Sequence[Block] = ()) -> Section:
    """What `evaluate_control` measured."""
    m = report.metrics
    figures = [
        Figure(m["verdict"].lower(), "verdict", ""),
        Figure(
            f"{amount(m['variants']['swapped']['ratio'], 1)}×",
            "swapped actions against another seed",
            between(m["variants"]["swapped"]["ratio"]),
        ),
        Figure(
            percent(m["own_truth"]),
            "nearer to its own truth than under swapped actions",
            f"of {m['own_truth']['n']}; chance 50 %",
        ),
    ]
    if path := m.get("path"):
        figures.append(
            Figure(
                percent(path["follows"]),
                "of tips nearer to the commanded path",
                f"of {path['follows']['n']} frames; chance 50 %; {path['lost']} lost",
            )
        )
    rows: list[tuple[Cell, ...]] = [
        (name, v["n"], amount(v["difference"], 2), amount(v["ratio"], 1), between(v["ratio"]), percent(v["louder"]))
        for name, v in m["variants"].items()
    ]
    table = Table(
        ("actions", "episodes", "difference, grey levels", "ratio", "interval", "above their floor"),
        rows,
        "Dreams under other actions",
        f"Between two seeds under the same actions: {amount(m['floor'], 2)} grey levels.",
    )
    said = m["why"][:1].upper() + m["why"][1:]
    blocks: list[Block] = [*before, Figures(figures), Prose(said), table]
    if path:
        columns = ("px of a 64-pixel image", *(f"+{h}" for h in path["error_px"]))
        lines: list[tuple[Cell, ...]] = [
            ("dreamed tip to the commanded path", *(pixels(v) for v in path["error_px"].values())),
            ("the two paths apart", *(pixels(v) for v in path["apart_px"].values())),
        ]
        blocks.append(Table(columns, lines, "Path of the tip (medians)"))
    return Section(title, [*blocks, *_notes(report)])
