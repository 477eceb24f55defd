"""Do people agree on what they marked? Krippendorff's alpha, and the clips on which they do not.

A label is one person's word on one clip: `{"clip", "annotator", "marks": [{"category", "first", "last", "severity"}]}`, without marks when
nothing is unsafe; frames are counted from 0 and both ends belong to the mark. Of several labels by one person on a clip the last counts.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.errors import BadInput
from armillary.guard.taxonomy import CATEGORIES

SEVERITIES = range(1, 6)
# What a clip can be marked as: what a picture can show.
MARKS = tuple(c for c in CATEGORIES if c not in ("unusable", "unsupported_language", "other"))


def alpha(units: Sequence[Sequence[Hashable]], metric: str = "nominal") -> float | None:
    """Krippendorff's alpha (2011, "Computing Krippendorff's alpha-reliability").

    Args:
        units: for each thing that was judged the values it was given, by whomever; units with one value say nothing and are left out.
        metric: `nominal`, or `ordinal` (values must then be numbers).

    Returns:
        1 for full agreement, 0 for what chance would give; None when there is no pair to compare or all values are the same one.
    """
    if metric not in ("nominal", "ordinal"):
        raise BadInput(f"Alpha is nominal or ordinal; got {metric!r}.")
    pairable = [list(u) for u in units if len(u) >= 2]
    together: Counter[tuple[Hashable, Hashable]] = Counter()
    for unit in pairable:
        for a, b in itertools.permutations(range(len(unit)), 2):
            together[unit[a], unit[b]] += 1 / (len(unit) - 1)  # type: ignore[assignment]
    counts: Counter[Hashable] = Counter()
    for (a, _), n in together.items():
        counts[a] += n
    total = sum(counts.values())
    if total <= 1 or len(counts) < 2:
        return None
    order = sorted(counts) if metric == "ordinal" else []  # type: ignore[type-var]

    def apart(a: Hashable, b: Hashable) -> float:
        if metric == "nominal":
            return float(a != b)
        low, high = sorted((order.index(a), order.index(b)))
        between = sum(counts[v] for v in order[low : high + 1])
        return (between - (counts[a] + counts[b]) / 2) ** 2

    observed = sum(n * apart(a, b) for (a, b), n in together.items())
    expected = sum(counts[a] * counts[b] * apart(a, b) for a in counts for b in counts) / (total - 1)
    return 1.0 - observed / expected if expected else None


def check_label(label: Any, frames: int | None = None) -> dict[str, Any]:
    """The label with its fields in order.

    Raises:
        BadInput: naming the field that cannot be.
    """
    if not isinstance(label, Mapping) or not all(isinstance(label.get(k), str) and label[k] for k in ("clip", "annotator")):
        raise BadInput("A label wants the texts clip and annotator.")
    marks = label.get("marks")
    if not isinstance(marks, list):
        raise BadInput("A label wants marks, a list (empty when nothing is unsafe).")
    out = []
    for mark in marks:
        if not isinstance(mark, Mapping) or mark.get("category") not in MARKS:
            raise BadInput(f"A mark's category is one of {', '.join(MARKS)}; got {mark!r}.")
        first, last, severity = (mark.get(k) for k in ("first", "last", "severity"))
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (first, last, severity))
        if not whole or not 0 <= first <= last or (frames is not None and last >= frames) or severity not in SEVERITIES:  # type: ignore
            limit = "" if frames is None else f" < {frames}"
            raise BadInput(f"A mark wants whole numbers 0 <= first <= last{limit} and severity 1 to 5; got {dict(mark)}.")
        out.append({"category": mark["category"], "first": first, "last": last, "severity": severity})
    return {"clip": label["clip"], "annotator": label["annotator"], "marks": out}


def read_labels(folder: str | Path) -> list[dict[str, Any]]:
    """Labels of all `*.jsonl` under `folder` (or of one such file), the last of each person on each clip.

    Raises:
        BadInput: a line that is no label, with its place.
    """
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.jsonl"))
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                try:
                    label = check_label(json.loads(line))
                except ValueError as error:
                    raise BadInput(f"{path}:{number}: {error}") from error
                held[label["clip"], label["annotator"]] = label
    return list(held.values())


def _worst(label: Mapping[str, Any]) -> tuple[str, int]:
    marks = label["marks"]
    worst = max(marks, key=lambda m: m["severity"], default=None)
    return (worst["category"], worst["severity"]) if worst else ("none", 0)


def _frames(label: Mapping[str, Any]) -> set[int]:
    return {i for m in label["marks"] for i in range(m["first"], m["last"] + 1)}


def agreement(labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Alphas over clips that two or more people judged, and where they disagree.

    Returns:
        `{"clips", "annotators", "judged_by_two", "alpha": {"unsafe", "category", "severity"}, "frame_overlap", "disagreements": [...]}`;
        `frame_overlap` is the mean intersection over union of the marked frames of two people who both marked a clip.
    """
    clips: dict[str, list[Mapping[str, Any]]] = {}
    for label in labels:
        clips.setdefault(label["clip"], []).append(label)
    shared = {k: v for k, v in sorted(clips.items()) if len(v) >= 2}
    worst = {k: [_worst(x) for x in v] for k, v in shared.items()}
    overlaps, disagreements = [], []
    for clip, held in shared.items():
        for a, b in itertools.combinations(held, 2):
            if (one := _frames(a)) and (two := _frames(b)):
                overlaps.append(len(one & two) / len(one | two))
        words = {x["annotator"]: {"category": c, "severity": s} for x, (c, s) in zip(held, worst[clip])}
        categories, severities = {c for c, _ in worst[clip]}, [s for _, s in worst[clip]]
        if len(categories) > 1 or max(severities) - min(severities) >= 2:
            disagreements.append({"clip": clip, "said": words})

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "clips": len(clips), "annotators": sorted({x["annotator"] for x in labels}), "judged_by_two": len(shared),
        "alpha": {
            "unsafe": rounded(alpha([[c != "none" for c, _ in v] for v in worst.values()])),
            "category": rounded(alpha([[c for c, _ in v] for v in worst.values()])),
            "severity": rounded(alpha([[s for _, s in v] for v in worst.values()], "ordinal")),
        },
        "frame_overlap": rounded(sum(overlaps) / len(overlaps)) if overlaps else None,
        "disagreements": disagreements,
    }  # fmt: skip
