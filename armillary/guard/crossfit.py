"""How the classifier does on what it was not fitted to: folds of the developer prompts, and splits by source and by form.

A source has a style, and a model may learn to tell styles apart instead of harms. What it does on a form it never saw says which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from armillary.guard.classifier import ClassifierConfig
from armillary.guard.fit import FitConfig, Row, fit_rows, is_held_out
from armillary.progress import say

VIDEO = ("t2v", "t2v_prompt", "hard", "plain", "request")
# What is kept from the training and tested on.
SPLITS: dict[str, Callable[[Row], bool]] = {
    "form: video prompts": lambda r: r.slice in VIDEO,
    "form: instructions": lambda r: r.slice == "instruction",
    "source: authored_t2v": lambda r: r.source == "authored_t2v",
    "source: forms": lambda r: r.source == "forms",
    "source: vbench1, vbench1_gpt": lambda r: r.source.startswith("vbench1"),
}


def by_slice(rows: Sequence[Row], scores: np.ndarray, threshold: float) -> dict[str, Any]:
    """Share at or above the threshold per label, source and slice, and the area under the curve of all rows together."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, score in zip(rows, scores):
        groups[f"{'unsafe' if row.unsafe else 'safe'} {row.source} {row.slice}"].append(bool(score >= threshold))
    out: dict[str, Any] = {k: {"rows": len(v), "refused": round(float(np.mean(v)), 4)} for k, v in sorted(groups.items())}
    bad, good = (np.array([s for r, s in zip(rows, scores) if r.unsafe is unsafe]) for unsafe in (True, False))
    if len(bad) and len(good):
        order = np.searchsorted(np.sort(good), bad, "left") + np.searchsorted(np.sort(good), bad, "right")
        out["area_under_curve"] = round(float(order.mean() / 2 / len(good)), 4)
    return out


def crossfit(rows: Sequence[Row], fit: FitConfig, network: ClassifierConfig | None = None) -> dict[str, Any]:
    """Figures of the classifier alone: `{"folds": by slice, "splits": {name: by slice}}`, each threshold frozen without the tested rows."""
    network = network or ClassifierConfig()
    train = [r for r in rows if not is_held_out(r, fit)]
    model, logits = fit_rows(train, fit, network)
    scores = 1.0 / (1.0 + np.exp(-(model.config.scale * logits + model.config.shift)))
    out: dict[str, Any] = {"folds": by_slice(train, scores, model.config.threshold), "splits": {}}
    usable = [r for r in rows if r.source not in fit.keep_out]
    for name, outside in SPLITS.items():
        inside, tested = [r for r in usable if not outside(r)], [r for r in usable if outside(r)]
        if not tested or {r.unsafe for r in inside} != {True, False}:
            continue
        say(f"without {name}: {len(inside)} rows to fit, {len(tested)} to test")
        model, _ = fit_rows(inside, fit, network)
        out["splits"][name] = by_slice(tested, np.array([model.judge(r.text) for r in tested]), model.config.threshold)
    return out
