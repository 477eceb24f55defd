"""The red team: attacks and harmless prompts through the gate that generation takes, and a report that two releases can be compared by.

A share is a share of rows refused, with its 95 % Wilson interval. A refusal because a rail could not run is no success: such rows are
counted as `failed` and make the report say that it measured a broken gate.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary import __version__
from armillary.errors import BadInput
from armillary.guard.attacks import LANGUAGES, REWRITES, written_on
from armillary.guard.checks import summary
from armillary.guard.fit import BLIND, FRESH, Row, read_rows
from armillary.guard.gate import Gate, Open
from armillary.guard.rails import default_gate
from armillary.progress import track
from armillary.types import Verdict

FORMAT = 1
PICTURES = 12  # films for the attack by picture: a face detector looks at each of their frames


def wilson(hits: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson 1927); (0, 1) of no rows."""
    if not rows:
        return 0.0, 1.0
    share, scale = hits / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def redteam(
    prompts: Sequence[str | Path] = (),
    out: str | Path | None = None,
    *,
    gate: Gate | Open | None = None,
    baseline: str | Path | None = None,
    seed: int = 0,
    most: int = 150,
) -> dict[str, Any]:
    """Ask the gate every family of attacks and of harmless prompts.

    Args:
        prompts: CSVs of `text,label` (`safe` or `unsafe`; `source`, `style`, `category` if known); the prompts of this project that nothing
            was fitted to (`FRESH`, `BLIND`) when none is given.
        out: a folder for `redteam.json`, `report.md` and `cases.jsonl` (every case with its verdict, and its text).
        gate: the default gate unless given.
        baseline: an earlier `redteam.json`; families whose share moved are listed.
        most: rows of a label that are rewritten; more are thinned out evenly. The plain families take all rows.

    Returns:
        what `redteam.json` holds: `{"format", "version", "seed", "prompts", "guard", "families": {name: {"kind", "rows", "refused",
        "share", "low", "high", "failed", "unchecked", "by"}}, "slices": the same by source and style, "passed": attacks that passed in
        plain, "stopped": harmless prompts refused, "moved"}`.

    Raises:
        BadInput: prompts that cannot be read, or a baseline of another format.
    """
    gate = gate or default_gate()
    files = list(prompts) or [FRESH, BLIND]
    rows = read_rows(files)
    earlier = _earlier(baseline)
    cases: list[dict[str, Any]] = []
    for row in track(rows, "plain"):
        kind = "attack" if row.unsafe else "benign"
        cases.append(_case(kind, f"{kind}: plain", f"{row.source} {row.slice}", row.text, gate.check_prompt(row.text)))
    for name, rewrite in track(list(REWRITES.items())[1:], "families"):
        for kind in ("attack", "benign"):
            for row in _thinned([r for r in rows if r.unsafe is (kind == "attack")], most):
                text = rewrite(row.text, random.Random(f"{seed} {name} {row.text}"))
                cases.append(_case(kind, f"{kind}: {name}", row.source, text, gate.check_prompt(text)))
    for language, text in LANGUAGES.items():
        cases.append(_case("attack", "attack: other languages", language, text, gate.check_prompt(text)))
    for kind in ("attack", "benign"):
        some = _thinned([r for r in rows if r.unsafe is (kind == "attack")], PICTURES)
        for row, film in track(list(zip(some, written_on([r.text for r in some]))), f"{kind} by picture"):
            verdicts = gate.check_frames(film, 8.0)[0]  # as for a dream from a picture alone: there is no prompt
            cases.append(_case(kind, f"{kind}: written in the given picture", row.source, row.text, verdicts))
    report = _report(cases, gate, [str(Path(f).name) for f in files], seed)
    report["moved"] = _moved(earlier, report)
    if out is not None:
        _write(Path(out), report, cases)
    return report


def _case(kind: str, family: str, slice: str, text: str, verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    told = summary(verdicts)
    return {
        "kind": kind, "family": family, "slice": slice, "text": text, "blocked": told["blocked"], "score": told["score"],
        "category": told["category"],
        "rails": [v.rail for v in verdicts if v.blocked],
        "failed": [v.rail for v in verdicts if v.state == "failed"],
        "unchecked": [v.rail for v in verdicts if v.state == "skipped" and "not run:" not in v.reason],
    }  # fmt: skip


def _thinned(rows: Sequence[Row], most: int) -> list[Row]:
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)) if rows else []
    return [rows[i] for i in chosen]


def _rate(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    hits = sum(c["blocked"] for c in cases)
    low, high = wilson(hits, len(cases))
    return {
        "kind": cases[0]["kind"], "rows": len(cases), "refused": hits, "share": round(hits / len(cases), 4),
        "low": round(low, 4), "high": round(high, 4), "failed": sum(bool(c["failed"]) for c in cases),
        "unchecked": sum(bool(c["unchecked"]) for c in cases),
        "by": dict(sorted(Counter(rail for c in cases for rail in c["rails"]).items())),
    }  # fmt: skip


def _grouped(cases: Iterable[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        out.setdefault(case[key], []).append(case)
    return out


def _report(cases: list[dict[str, Any]], gate: Gate | Open, files: list[str], seed: int) -> dict[str, Any]:
    plain = [c for c in cases if c["family"].endswith(": plain")]
    slices = {f"{kind}: {name}": _rate(group) for kind in ("attack", "benign")
              for name, group in sorted(_grouped([c for c in plain if c["kind"] == kind], "slice").items())}  # fmt: skip
    passed = sorted((c for c in cases if c["kind"] == "attack" and not c["blocked"]), key=lambda c: c["score"] or 0.0)
    stopped = sorted((c for c in cases if c["kind"] == "benign" and c["blocked"]), key=lambda c: -(c["score"] or 0.0))

    def brief(case: dict[str, Any]) -> dict[str, Any]:
        return {k: case[k] for k in ("family", "slice", "text", "score", "rails")}

    return {
        "format": FORMAT, "version": __version__, "seed": seed, "prompts": files, "guard": gate.describe(),
        "families": {name: _rate(group) for name, group in _grouped(cases, "family").items()},
        "slices": slices,
        "passed": [brief(c) for c in passed if c["family"] == "attack: plain"][:40],
        "stopped": [brief(c) for c in stopped][:40],
    }  # fmt: skip


def _earlier(path: str | Path | None) -> dict[str, Any] | None:
    from armillary.store import read_json

    if path is None:
        return None
    held = read_json(path)
    if not isinstance(held, dict) or held.get("format") != FORMAT or "families" not in held:
        raise BadInput(f"{path} is no red-team report of format {FORMAT}.")
    return held


def _moved(earlier: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Families whose share changed since the earlier report, those whose intervals no longer touch first."""
    if earlier is None:
        return []
    out = []
    for name, new in now["families"].items():
        old = earlier["families"].get(name)
        if old and old["share"] != new["share"]:
            apart = new["low"] > old["high"] or new["high"] < old["low"]
            out.append({"family": name, "before": old["share"], "now": new["share"], "clear": apart})
    return sorted(out, key=lambda m: (not m["clear"], -abs(m["now"] - m["before"])))


def _write(out: Path, report: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    from armillary.store import write_json, write_text

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "redteam.json", report)
    # A disguise may hold half a character; ASCII escapes carry it.
    write_text(out / "cases.jsonl", "".join(json.dumps(c) + "\n" for c in cases))
    write_text(out / "report.md", page(report))


def page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        "# Red team",
        "",
        f"Armillary {report['version']}, seed {report['seed']}, prompts {', '.join(report['prompts'])}.",
        "",
    ]
    if broken := sum(f["failed"] for f in report["families"].values()):
        lines += [f"**{broken} cases met a rail that could not run: this is no measurement of a working gate.**", ""]
    for title, key in (("Families", "families"), ("Plain prompts by source", "slices")):
        lines += [
            f"## {title}",
            "",
            "| | rows | refused | 95 % interval | refused by | not checked |",
            "|---|---|---|---|---|---|",
        ]
        for name, f in report[key].items():
            by = ", ".join(f"{rail} {n}" for rail, n in f["by"].items())
            lines.append(
                f"| {name} | {f['rows']} | {f['share']:.1%} | {f['low']:.1%} to {f['high']:.1%} | {by} | {f['unchecked'] or ''} |"
            )
        lines.append("")
    if report["moved"]:
        lines += ["## Moved since the earlier report", ""]
        lines += [
            f"* {m['family']}: {m['before']:.1%} → {m['now']:.1%}{' (intervals apart)' if m['clear'] else ''}"
            for m in report["moved"]
        ]
        lines.append("")
    for title, key in (("Attacks that passed in plain, lowest score first", "passed"), ("Harmless prompts refused", "stopped")):
        lines += [f"## {title}", ""]
        lines += [f"* {_shown(c['text'])} ({c['family']}, score {c['score']}{', ' if c['rails'] else ''}{', '.join(c['rails'])})"
                  for c in report[key]] or ["None."]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def _shown(text: str) -> str:
    short = " ".join(text.encode("utf-8", "replace").decode().split())
    return "`" + (short[:160] + ("…" if len(short) > 160 else "")).replace("`", "'") + "`"
