"""The page of a curation run: what came in, what stayed, what was left out and why, with pictures; made from what lies in the folder."""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary import __version__
from armillary.curate import load_clips
from armillary.curate.rows import read_table
from armillary.errors import BadInput
from armillary.evaluate.blocks import (
    Block,
    Cell,
    Chart,
    Details,
    Figure,
    Figures,
    Images,
    Page,
    Picture,
    Prose,
    Section,
    Series,
    Table,
)
from armillary.evaluate.page import write_page
from armillary.media import read_image
from armillary.progress import clock
from armillary.store import read_json
from armillary.types import Clip, Rejection

KEPT, EACH, PAIRS, ROWS = 24, 8, 12, 40  # kept clips, rejected ones of a reason, duplicates and table rows shown at most
BINS = 24
LEAST = 4  # clips a histogram wants
GAP = 6  # pixels between a duplicate and the clip that stays
SEPARATE = r"[0-9a-f]{16}|'[^']*'|\"[^\"]*\"|\d+x\d+|\d[\d.]*"  # what differs between reasons of one kind


def write_report(out: str | Path) -> Path:
    """`out/report.html`, self-contained: no picture or text is fetched from elsewhere.

    Args:
        out: a folder that `curate` wrote; `thumbs/` and `timing.json` may be missing.

    Raises:
        BadInput: it holds no finished run.
    """
    out = Path(out)
    run = _Run(out)
    sections = [run.short(), run.funnel(), run.kept_clips(), run.rejected_clips(), run.scores()]
    sections += [s for s in (run.mix(), run.captions(), run.duplicates(), run.problems(), run.time()) if s is not None]
    page = Page(
        "Curated footage",
        "What came in, what stayed, and why the rest was left out.",
        sections,
        facts=[
            ("folder", out.resolve().name),
            ("date", datetime.date.today().isoformat()),
            ("version", f"armillary {__version__}"),
            *([("runner", str(run.timing["runner"]))] if "runner" in run.timing else []),
        ],
        foot="Made by `armillary curate`. Every clip, kept or not, is a row of `clips.parquet`, every input one of `sources.parquet`.",
    )
    return write_page(page, out / "report.html")


class _Run:
    """What lies in a folder, and the sections made of it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.clips = load_clips(out)
        self.sources = read_table(out / "sources.parquet")
        self.summary = read_json(out / "summary.json")
        self.config: dict[str, Any] = self.summary.get("config", {})
        try:
            self.timing: dict[str, Any] = read_json(out / "timing.json")
        except BadInput:
            self.timing = {}
        self.kept = [c for c in self.clips if not c.rejected]
        self.by_id = {c.id: c for c in self.clips}

    # --- in short ---------------------------------------------------------------------------------------------------------------------

    def short(self) -> Section:
        status = Counter(str(r["status"]) for r in self.sources)
        read = sum(r["duration_s"] or 0.0 for r in self.sources if r["status"] != "duplicate")
        hours = sum(c.end - c.start for c in self.kept)
        apart = ", ".join(f"{n} {name}" for name, n in sorted(status.items()) if name != "ok")
        share = f", {100 * hours / read:.0f} % of what was read" if read else ""
        figures = [
            Figure(f"{len(self.sources):,}", "sources", apart or "all of them whole"),
            Figure(f"{len(self.kept):,}", "clips kept", f"of {len(self.clips):,} found"),
            Figure(length(hours), "of video kept", f"of {length(read)} read" + share),
        ]
        rate = self.timing.get("real_time_per_core")
        wall, seen = self.timing.get("wall_s"), self.timing.get("analysed_s") or 0.0
        if rate:
            figures.append(Figure(f"{rate:.1f}×", "real time per core", "video decoded over CPU seconds, all steps"))
        elif wall is not None:
            figures.append(Figure(clock(wall), "of work in the last run", "nothing had to be decoded again"))
        if wall and seen:
            figures.append(Figure(f"{seen / wall:.1f}×", "real time", f"{length(seen)} of video in {clock(wall)}"))
        return Section("In short", [Figures(figures)])

    def steps(self) -> list[str]:
        """Names of the filters in the order in which they judge."""
        known = ["length", *self.config.get("filters", []), "error", "dedup"]
        return known[:-2] + sorted({r.by for c in self.clips for r in c.rejected} - set(known)) + known[-2:]

    def funnel(self) -> Section:
        """Where each clip was lost first, and how many each filter would have rejected alone."""
        order = {name: i for i, name in enumerate(self.steps())}
        first = Counter(min((r.by for r in c.rejected), key=order.__getitem__) for c in self.clips if c.rejected)
        any_ = Counter(by for c in self.clips for by in {r.by for r in c.rejected})
        total = left = len(self.clips)
        rows: list[tuple[Cell, ...]] = [("found", None, total, None, bar(1.0))]
        for name in order:
            if name not in any_ and name == "error":
                continue
            left -= first[name]
            rows.append((name, first[name], left, any_[name], bar(left / max(1, total))))
        table = Table(
            ("filter", "dropped here", "left", "rejected in all", ""),
            rows,
            note="A clip that several filters reject is dropped where the first of them stands; `rejected in all` counts it for each.",
        )
        return Section("What was dropped where", [table])

    # --- pictures ---------------------------------------------------------------------------------------------------------------------

    def thumb(self, clip: Clip) -> Path | None:
        path = self.out / "thumbs" / f"{clip.id}.jpg"
        try:
            read_image(path)
        except (BadInput, OSError):
            return None
        return path

    def pictures(self, clips: Iterable[Clip], most: int, say: Callable[[Clip], str]) -> list[Picture]:
        """Of at most so many clips, spread over all."""
        seen = [c for c in spread(list(clips), 8 * most) if (self.out / "thumbs" / f"{c.id}.jpg").is_file()]
        have = [(c, path) for c in spread(seen, most) if (path := self.thumb(c)) is not None]
        return [Picture(f"{where(c)}: {say(c)}" if say(c) else where(c), path) for c, path in have]

    def kept_clips(self) -> Section:
        if not self.kept:
            return Section("Kept", [Prose("No clip was kept.")])
        shown = self.pictures(
            self.kept, KEPT, lambda c: ", ".join(c.tags[k] for k in ("camera", "topic") if known(c.tags.get(k)))
        )
        return Section("Kept", self.gallery("", shown, len(self.kept)))

    def gallery(self, title: str, shown: Sequence[Picture], count: int) -> list[Block]:
        if not shown:
            return [Prose(f"{title + ': ' if title else ''}{count} clips, of which there is no picture.")]
        return [Images(shown, title, f"{len(shown)} of {count:,}" if len(shown) < count else "")]

    def rejected_clips(self) -> Section:
        groups: dict[tuple[str, str], list[tuple[Clip, Rejection]]] = {}
        for clip in self.clips:
            for r in clip.rejected:
                if r.by != "dedup":
                    groups.setdefault((r.by, kind_of(r.reason)), []).append((clip, r))
        order = {name: i for i, name in enumerate(self.steps())}
        blocks: list[Block] = []
        for (by, kind), found in sorted(groups.items(), key=lambda g: (order[g[0][0]], -len(g[1]), g[0])):
            told = {c.id: r for c, r in found}
            shown = self.pictures([c for c, _ in found], EACH, lambda c: against(told[c.id]))  # noqa: B023
            count = len(found)
            reasons = {r.reason for _, r in found}
            title = f"{by}: {reasons.pop() if len(reasons) == 1 else kind} ({count:,} clip{'s' if count > 1 else ''})"
            blocks.append(Details(title, self.gallery("", shown, count), open=len(blocks) < 2))
        if not blocks:
            blocks = [Prose("No filter rejected a clip.")]
        return Section(
            "Rejected, by reason", [Prose("Under each picture: its score, and the threshold that it missed."), *blocks]
        )

    # --- numbers ----------------------------------------------------------------------------------------------------------------------

    def scores(self) -> Section:
        missed = Counter((r.by, r.threshold) for c in self.clips for r in c.rejected)
        found = thresholds(self.clips, self.config)
        most = {key for key, _ in missed.most_common(2)}
        blocks: list[Block] = []
        for name, (by, threshold) in found.items():
            values = [(score_of(c, name), not c.rejected) for c in self.clips]
            numbers = [(v, kept) for v, kept in values if v is not None and np.isfinite(v)]
            if len(numbers) >= LEAST:
                chart = histogram(name, numbers, threshold, len(values) - len(numbers))
                blocks.append(Details(f"{by}: {name}", [chart], open=(by, threshold) in most))
        head = Prose("How the clips lie about each threshold. `kept` are those that every filter let pass.")
        return Section("Scores", [head, *(blocks or [Prose("Too few clips for a histogram.")])])

    def mix(self) -> Section | None:
        blocks: list[Block] = []
        for tag, title in (("camera", "Camera motion"), ("type", "Type"), ("topic", "Topic")):
            every, kept = (Counter(c.tags[tag] for c in group if tag in c.tags) for group in (self.clips, self.kept))
            if every:
                total = max(1, sum(kept.values()))
                rows = [(n, k, kept[n], f"{100 * kept[n] / total:.0f} %") for n, k in every.most_common()]
                blocks.append(Table((title.lower(), "clips", "kept", "of those kept"), rows[:ROWS], title))
        return Section("What it shows", blocks) if blocks else None

    def captions(self) -> Section | None:
        if not self.kept:
            return None
        by = Counter(c.tags.get("caption_source", "none") for c in self.kept)
        failed = [c for c in self.clips if "caption_error" in c.tags]
        told = spread([c for c in self.kept if c.caption], 12)
        rows = [(f"{c.caption[:600]}\n{where(c)}, {c.tags.get('caption_source', 'unknown')}",) for c in told]
        blocks: list[Block] = [Table(("whose words", "clips kept"), by.most_common())]
        if rows:
            blocks.append(Table(("caption, clip, and whose words",), rows, "Some of them"))
        if failed:
            lines = [(where(c), c.tags["caption_error"][:300]) for c in failed[:ROWS]]
            blocks.append(
                Table(("clip", "why"), lines, f"Captions that failed ({len(failed):,})", shown_of(len(lines), len(failed)))
            )
        return Section("Captions", blocks)

    def duplicates(self) -> Section | None:
        pairs = [
            (c, self.by_id.get(c.tags.get("duplicate_of", ""))) for c in self.clips if any(r.by == "dedup" for r in c.rejected)
        ]
        found = [(c, w) for c, w in pairs if w is not None]
        if not pairs:
            return None
        shown: list[Picture] = []
        for clip, winner in spread(found, PAIRS):
            paths = self.thumb(clip), self.thumb(winner)
            if paths[0] and paths[1]:
                row = next(r for r in clip.rejected if r.by == "dedup")
                likeness = f", likeness {row.score:.3g}" if row.score is not None else ""
                label = f"Left out: {where(clip)}, {size(clip)}. Stays: {where(winner)}, {size(winner)}{likeness}"
                shown.append(Picture(label, beside(read_image(paths[0]), read_image(paths[1]))))
        head = Prose(
            f"{len(pairs):,} clips show what another shows too. On the left what was left out, on the right what stays."
        )
        return Section("Duplicates", [head, *self.gallery("", shown, len(pairs))])

    def problems(self) -> Section | None:
        bad = [r for r in self.sources if r["status"] not in ("ok", "duplicate")]
        twice = [r for r in self.sources if r["status"] == "duplicate"]
        blocks: list[Block] = []
        if bad:
            names = [Path(r["source"]).name for r in bad[:ROWS]]
            rows = [(f"{n}: {r['reason'].replace(r['source'], 'it')}\n{r['status']}, {r['kind']}",) for n, r in zip(names, bad)]
            blocks.append(Table(("file, and what is wrong with it",), rows, note=shown_of(len(rows), len(bad))))
        if twice:
            rows = [(Path(r["source"]).name, r["reason"]) for r in twice[:ROWS]]
            blocks.append(Table(("file", "the same as"), rows, "Files that are there twice", shown_of(len(rows), len(twice))))
        return Section("Files that failed or were damaged", blocks) if blocks else None

    def time(self) -> Section | None:
        cpu: Mapping[str, float] = self.timing.get("cpu_s", {})
        if not cpu:
            return None
        seen, total = self.timing.get("analysed_s") or 0.0, sum(cpu.values())
        rows: list[tuple[Cell, ...]] = [
            (name, float(s), f"{100 * s / total:.0f} %" if total else None, float(3600 * s / seen) if seen else None)
            for name, s in cpu.items()
        ]
        rows.append(("in all", float(total), None, float(3600 * total / seen) if seen else None))
        note = f"The last run took {clock(self.timing.get('wall_s', 0))} and decoded {length(seen)} of video."
        columns = ("step", "CPU seconds", "share", "CPU seconds an hour of video")
        return Section("Time", [Table(columns, rows, note=note, strong=[len(rows) - 1])])


def thresholds(clips: Sequence[Clip], config: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Score -> (filter, threshold), for every score that has one.

    A setting `max_blur` of a filter belongs to the score `blur`. Where the names do not say so, the rejections do: each holds the score
    that missed the threshold, and the score of that value in all clips so rejected is the one that was judged.
    """
    found: dict[str, tuple[str, float]] = {}
    names = {n for c in clips for n in c.scores}
    minimum = config.get("split", {}).get("min_seconds")
    if minimum is not None:
        found["seconds"] = "length", float(minimum)
    for by in config.get("filters", []):
        for key, value in config.get(by, {}).items():
            score = key.removeprefix("max_").removeprefix("min_")
            if key != score and score in names and isinstance(value, (int, float)):
                found[score] = by, float(value)
    rows: dict[tuple[str, float], list[set[str]]] = {}
    for clip in clips:
        for r in clip.rejected:
            if r.score is not None and r.threshold is not None and r.by not in ("length", "dedup"):
                rows.setdefault((r.by, r.threshold), []).append(
                    {n for n, v in clip.scores.items() if math.isclose(v, r.score, rel_tol=1e-5)}
                )
    for (by, threshold), sets in sorted(rows.items()):
        common = set.intersection(*sets) - set(found)
        if len(common) == 1 and not any(held == (by, threshold) for held in found.values()):
            found[common.pop()] = by, threshold
    return found


def score_of(clip: Clip, name: str) -> float | None:
    return clip.end - clip.start if name == "seconds" and name not in clip.scores else clip.scores.get(name)


def histogram(name: str, numbers: Sequence[tuple[float, bool]], threshold: float, without: int = 0) -> Chart:
    """Counts in equal bins as stairs, all clips and those kept, the threshold drawn in; the farthest are counted in the outer bins."""
    every, kept = np.array([v for v, _ in numbers]), np.array([v for v, k in numbers if k])
    low, high = (float(x) for x in np.percentile(every, [0.5, 99.5]))
    low, high = min(low, threshold), max(high, threshold)
    span = (high - low) or 1.0
    edges = np.linspace(low - 0.03 * span, high + 0.03 * span, BINS + 1)
    x = [float(e) for e in np.repeat(edges, 2)[1:-1]]

    def stairs(values: np.ndarray) -> list[float | None]:
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        return [float(c) for c in np.repeat(counts, 2)]

    series = [Series("all clips", x, stairs(every), quiet=True), Series("kept", x, stairs(kept))]
    top = 1.1 * max(v for v in series[0].y if v is not None)
    note = f"{without:,} clips have no such score." if without else ""
    return Chart("", series, name, "clips", (0.0, top), (threshold, f"threshold {threshold:g}"), note)


def bar(share: float) -> str:
    return "█" * round(10 * share) or "▏"


def where(clip: Clip) -> str:
    return f"{Path(clip.source).name} {clip.start:.1f}–{clip.end:.1f} s"


def size(clip: Clip) -> str:
    return f"{clip.width}×{clip.height}"


def known(tag: str | None) -> bool:
    return tag not in (None, "", "unknown")


def kind_of(reason: str) -> str:
    """A reason without what differs from clip to clip."""
    return re.sub(r"\s+", " ", re.sub(SEPARATE, "…", reason)).strip()


def against(r: Rejection) -> str:
    return "" if r.score is None or r.threshold is None else f"{r.score:.3g} against {r.threshold:.3g}"


def length(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def shown_of(shown: int, count: int) -> str:
    return f"{shown} of {count:,}" if shown < count else ""


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, most).round()]


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures at one height with a white gap between."""
    from armillary.media import resize

    height = min(left.shape[0], right.shape[0])
    parts = [resize(p[None], (height, max(1, round(p.shape[1] * height / p.shape[0]))))[0] for p in (left, right)]
    return np.concatenate([parts[0], np.full((height, GAP, 3), 255, np.uint8), parts[1]], axis=1)
