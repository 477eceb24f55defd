"""Measure the guard through its production entry point and write the figures into the classifier's card.

Everything here goes through `Gate.check_prompt`: a figure of an inner function is not a figure of the guard. Rates are shares of rows
that were refused, per source and style; disguises are applied to unsafe rows and compared with the same rows in plain.
"""

from __future__ import annotations

import base64
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from armillary.guard.crossfit import crossfit
from armillary.guard.fit import AUTHORED, FORMS, OURS, FitConfig, Row, read_rows, train_prompt_classifier
from armillary.guard.gate import Gate
from armillary.guard.rails import default_gate
from armillary.progress import track
from armillary.store import write_json


def _each_word(change: Callable[[str], str], least: int = 4) -> Callable[[str], str]:
    return lambda text: " ".join(change(w) if len(w) >= least else w for w in text.split(" "))


def _swap(word: str) -> str:
    middle = len(word) // 2
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


def _double(word: str) -> str:
    at = random.Random(word).randrange(1, len(word) - 1)
    return word[:at] + word[at] * 2 + word[at + 1 :]


# Ways to hide a prompt from a filter while a reader, or a text encoder, still gets it.
DISGUISES: dict[str, Callable[[str], str]] = {
    "zero width": lambda s: "\u200b".join(s),
    "soft hyphen": _each_word(lambda w: w[:2] + "\u00ad" + w[2:]),
    "fullwidth": lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s),
    "accents": lambda s: "".join(c + "\u0301" if c in "aeiou" else c for c in s),
    "cyrillic": lambda s: s.translate(str.maketrans("aeopcxyiAEOPCXTBHKM", "аеорсхуіАЕОРСХТВНКМ")),
    "mathematical": lambda s: "".join(chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in s),
    "leet": lambda s: s.translate(str.maketrans("aeios", "43105")),
    "spaced letters": lambda s: "   ".join(" ".join(w) for w in s.split()),
    "dotted letters": _each_word(lambda w: ".".join(w)),
    "hyphenated": _each_word(lambda w: w[: len(w) // 2] + "-" + w[len(w) // 2 :], 5),
    "doubled letter": _each_word(_double),
    "repeated letters": _each_word(lambda w: w[:2] + w[2] * 4 + w[3:]),
    "swapped letters": _each_word(_swap, 5),
    "markdown": _each_word(lambda w: f"**{w[:2]}**{w[2:]}"),
    "upper case": str.upper,
    "reversed": lambda s: s[::-1],
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
}


def refused(gate: Gate, text: str) -> tuple[bool, set[str]]:
    """Whether the gate refuses, and which rails did."""
    verdicts = gate.check_prompt(text)
    if any(v.state == "failed" for v in verdicts):
        # A figure measured on a broken gate would read as perfect recall.
        raise RuntimeError(f"a rail could not run: {[v for v in verdicts if v.state == 'failed']}")
    return any(v.blocked for v in verdicts), {v.rail for v in verdicts if v.blocked}


def rates(gate: Gate, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """`{"unsafe advbench instruction": {"rows": n, "refused": share, "by": {rail: share}}}`."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[f"{'unsafe' if row.unsafe else 'safe'} {row.source} {row.slice}"].append(row)
    out = {}
    for name in sorted(groups):
        seen = [refused(gate, row.text) for row in groups[name]]
        rails = sorted({r for _, by in seen for r in by})
        out[name] = {
            "rows": len(seen),
            "refused": round(sum(s for s, _ in seen) / len(seen), 4),
            "by": {rail: round(sum(rail in by for _, by in seen) / len(seen), 4) for rail in rails},
        }
    return out


def disguised(gate: Gate, rows: Sequence[Row]) -> dict[str, float]:
    """Share refused of the same rows in plain and under each disguise."""
    out = {"plain": sum(refused(gate, r.text)[0] for r in rows) / max(1, len(rows))}
    for name, change in track(list(DISGUISES.items()), "disguises"):
        out[name] = sum(refused(gate, change(r.text))[0] for r in rows) / max(1, len(rows))
    return {name: round(value, 4) for name, value in out.items()}


def latency(gate: Gate, rows: Sequence[Row]) -> dict[str, float]:
    """Milliseconds a prompt takes through the gate: median and 95th percentile, loading excluded."""
    spent = []
    for row in rows:
        began = time.perf_counter()
        gate.check_prompt(row.text)
        spent.append(1e3 * (time.perf_counter() - began))
    spent.sort()
    return {"median_ms": round(spent[len(spent) // 2], 2), "p95_ms": round(spent[int(0.95 * (len(spent) - 1))], 2)}


def make_weights(prompt_files: Sequence[str | Path], out: str | Path, fit: FitConfig | None = None) -> dict[str, Any]:
    """Train, then measure the written weights through the default gate on the rows held out, and write `card.json` beside them."""
    fit = fit or FitConfig()
    folder, held = train_prompt_classifier(prompt_files, out, fit)
    gate = default_gate(weights=folder)
    unsafe = [r for r in held if r.unsafe and r.slice != "user_text"]
    safe = [r for r in held if not r.unsafe and r.slice != "user_text"]
    some = [*held][:: max(1, len(held) // 300)]
    card = {
        "name": "guard-prompt",
        "what": "Linear classifier over hashed n-grams that screens obvious English requests for harmful video. No safety guarantee: "
        "add a served safety model (endpoint rail) where others see the result.",
        "data": {
            "training": "see sources in config.json; prompts written for this project: armillary/guard/prompts (Apache-2.0)",
            "rows": {"authored": len(read_rows([AUTHORED])), "forms": len(read_rows([FORMS])), "held_out": len(held)},
            "kept_out_entirely": list(fit.keep_out),
            "note": "Read the source «fresh» first: it was written after lists, training rows and limits were frozen and changed none of "
            "them. «blind» was written earlier and changed none either, but whoever wrote the rows «forms» had seen it. The word lists "
            "were written with the development prompts in view, so the other slices flatter them.",
        },
        "frozen": "threshold of the classifier alone: the highest of the out-of-fold quantiles at which benign training slices pass "
        + ", ".join(f"{name} {1 - share:.1%}" for name, share in fit.limits),
        "measured": {
            "entry_point": "Gate.check_prompt of default_gate()",
            "held_out": rates(gate, held),
            "disguised_unsafe": disguised(gate, unsafe[:200]),
            "disguised_safe": disguised(gate, safe[:: max(1, len(safe) // 150)]),
            "latency": latency(gate, some),
        },
        "classifier_alone": crossfit(read_rows([*OURS, *prompt_files]), fit),
    }
    write_json(folder / "card.json", card)
    return card
