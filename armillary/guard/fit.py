"""Train the prompt classifier from files of labelled prompts and freeze its threshold on rows it was not fitted to.

A file is a CSV with `text` and `label` (`safe` or `unsafe`), and, where it has them, `source`, `category`, `tier`, `style` or `form`,
`licence`. Rows are split by a hash of their folded text, so that a duplicate never sits on both sides; sources named in `keep_out` are
evaluated on only. The texts themselves are not stored: a checkpoint holds hashed weights and hashes of known words.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, require
from armillary.guard.classifier import ClassifierConfig, PromptModel, Vocabulary, grams, groups_digest, pieces, weigh
from armillary.guard.normalise import fold, read
from armillary.progress import say

PROMPTS = Path(__file__).parent / "prompts"
AUTHORED = PROMPTS / "authored.csv"
# The same harms and harmless lookalikes in other forms: keywords, shot lists, scripts, questions, several sentences.
FORMS = PROMPTS / "forms.csv"
# Written after the lists and the training rows, and never used to change either: what the guard does with prompts it was not built on.
BLIND = PROMPTS / "blind.csv"
# A second such set, written after the classifier below was frozen.
FRESH = PROMPTS / "fresh.csv"
OURS = (AUTHORED, FORMS, BLIND, FRESH)


@dataclass(frozen=True)
class Row:
    text: str
    unsafe: bool
    source: str
    slice: str
    category: str = ""
    licence: str = ""


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Args:
        c: inverse strength of the L2 penalty.
        held_out: share of rows kept for the card's figures; `folds`: for threshold and calibration on the rest.
        limits: (benign slice, share of it that the frozen threshold may refuse, out of fold); the strictest limit decides. These are the
            slices that look like this product's prompts: video prompts, plain instructions, and harmless ones with frightening words.
            Where none of them has rows, `otherwise` is the limit over all benign rows that are no forum text.
        video_weight: how much more a row of video style counts; user text from forums is down-weighted by `forum_weight`.
    """

    c: float = 3.0
    held_out: float = 0.2
    folds: int = 5
    limits: tuple[tuple[str, float], ...] = (("hard", 0.08), ("plain", 0.02), ("t2v_prompt", 0.005))
    otherwise: float = 0.01
    video_weight: float = 3.0
    forum_weight: float = 0.5
    keep_out: tuple[str, ...] = ("blind", "fresh")
    seed: int = 0


def read_rows(files: Sequence[str | Path], skip_tiers: Sequence[str] = ("soft",)) -> list[Row]:
    """Rows of the files, each text once.

    Raises:
        BadInput: a file without the columns, an unknown label, or no row of one of the labels.
    """
    rows: dict[str, Row] = {}
    for path in map(Path, files):
        try:
            with path.open(encoding="utf-8", newline="") as f:
                table = list(csv.DictReader(f))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
        for number, line in enumerate(table, 2):
            if line.get("text") is None or line.get("label") not in ("safe", "unsafe"):
                raise BadInput(
                    f"{path}:{number}: columns text and label (safe or unsafe) are wanted; got {sorted(filter(None, line))}."
                )
            if line.get("tier") in skip_tiers or not line["text"].strip():
                continue
            kind = line.get("style") or line.get("form") or line.get("tier") or "other"
            if line.get("tier") == "hard":
                kind = "hard"
            row = Row(
                line["text"], line["label"] == "unsafe", line.get("source") or path.stem, kind,
                line.get("category") or "", line.get("licence") or "",
            )  # fmt: skip
            rows.setdefault(fold(row.text), row)
    out = list(rows.values())
    if {r.unsafe for r in out} != {True, False}:
        raise BadInput(f"Both safe and unsafe rows are needed; {len(out)} rows were read from {len(files)} files.")
    return out


def is_held_out(row: Row, config: FitConfig) -> bool:
    return row.source in config.keep_out or (zlib.crc32(fold(row.text).encode()) % 1000) < config.held_out * 1000


def vocabulary_of(rows: Sequence[Row]) -> set[str]:
    """Words of the training rows, those of forum text only when seen thrice (they hold typing errors)."""
    counts: Counter[str] = Counter()
    for row in rows:
        weight = 1 if row.slice == "user_text" else 3
        for word in set(re.findall(r"[^\W\d_]{2,}", read(row.text).text)):
            counts[word] += weight
    return {w for w, n in counts.items() if n >= 3 and w.isascii() and (len(w) > 2 or n >= 60)}


def _matrix(texts: Sequence[str], config: ClassifierConfig, idf: tuple[np.ndarray, np.ndarray] | None) -> tuple[Any, Any]:
    """Sparse features `n (words + chars)`, exactly as `PromptModel.logit` weighs them, and the idf vectors."""
    sparse = require("scipy.sparse", "training the prompt classifier")
    counted = [grams(t, config) for t in texts]
    if idf is None:
        vectors = []
        for k, size in enumerate((config.words, config.chars)):
            seen = np.zeros(size)
            for both in counted:
                seen[list(both[k])] += 1
            vectors.append((np.log((1 + len(texts)) / (1 + seen)) + 1.0).astype(np.float16).astype(np.float32))
        idf = (vectors[0], vectors[1])
    indices, values, ends = [], [], [0]
    for both in counted:
        for k, offset in enumerate((0, config.words)):
            if both[k]:
                buckets, weights = weigh(both[k], idf[k])
                indices.append(buckets + offset)
                values.append(weights)
        ends.append(sum(map(len, indices[-2:])) + ends[-1] if any(both) else ends[-1])
    shape = (len(texts), config.words + config.chars)
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(indices), ends), shape), idf


def train_prompt_classifier(
    prompt_files: Sequence[str | Path], out: str | Path, fit: FitConfig | None = None, network: ClassifierConfig | None = None
) -> tuple[Path, list[Row]]:
    """Train, freeze the threshold, write the checkpoint folder.

    Args:
        prompt_files: CSV files; the prompts written for this project (`OURS`) are always added; only `AUTHORED` and `FORMS` are fitted to.
    Returns:
        the folder, and the held-out rows that the card's figures are to be measured on through `Gate.check_prompt`.
    """
    fit, network = fit or FitConfig(), network or ClassifierConfig()
    rows = read_rows([*OURS, *prompt_files])
    train = [r for r in rows if not is_held_out(r, fit)]
    held = [r for r in rows if is_held_out(r, fit)]
    model, logits = fit_rows(train, fit, network)
    cut = (np.log(model.config.threshold / (1 - model.config.threshold)) - model.config.shift) / model.config.scale
    labels = np.array([r.unsafe for r in train])
    say(
        f"out of fold: threshold {model.config.threshold:.4f}, {np.mean(logits[labels] >= cut):.3f} of unsafe rows at or above it"
    )
    return _save(Path(out), model, fit, train, held), held


def fit_rows(train: Sequence[Row], fit: FitConfig, network: ClassifierConfig) -> tuple[PromptModel, np.ndarray]:
    """A model fitted to all rows with calibration and threshold from folds, and the out-of-fold logit of each row.

    As in use, a row counts by its worst sentence.
    """
    linear = require("sklearn.linear_model", "training the prompt classifier")
    selection = require("sklearn.model_selection", "training the prompt classifier")
    words = Vocabulary.of(vocabulary_of(train))
    texts = [read(r.text, Vocabulary(words)).text for r in train]
    parts = [(i, part) for i, text in enumerate(texts) for part in pieces(text)[1:]]
    owner = np.array([i for i, _ in parts], np.int64)
    labels = np.array([r.unsafe for r in train])
    weights = np.array([_weight(r, fit) for r in train])
    features, idf = _matrix(texts, network, None)
    further = _matrix([part for _, part in parts], network, idf)[0] if parts else None

    def model() -> Any:
        # liblinear: a single thread and seconds for half a million features.
        return linear.LogisticRegression(
            C=fit.c, class_weight="balanced", solver="liblinear", max_iter=300, random_state=fit.seed
        )

    logits = np.zeros(len(train))
    split = selection.StratifiedKFold(fit.folds, shuffle=True, random_state=fit.seed)
    for inside, outside in split.split(features, labels):
        one = model().fit(features[inside], labels[inside], sample_weight=weights[inside])
        logits[outside] = one.decision_function(features[outside])
        if further is not None and (chosen := np.flatnonzero(np.isin(owner, outside))).size:
            np.maximum.at(logits, owner[chosen], one.decision_function(further[chosen]))
    platt = linear.LogisticRegression(C=1e6).fit(logits[:, None], labels, sample_weight=weights)
    scale, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    cut = _cut(train, logits, fit)
    threshold = round(1.0 / (1.0 + float(np.exp(-(scale * cut + shift)))), 4)
    final = model().fit(features, labels, sample_weight=weights)
    coef = final.coef_[0].astype(np.float16)
    arrays = {
        "word_idf": idf[0].astype(np.float16), "char_idf": idf[1].astype(np.float16),
        "word_weight": coef[: network.words], "char_weight": coef[network.words :],
        "bias": final.intercept_.astype(np.float32), "vocabulary": words,
    }  # fmt: skip
    network = dataclasses.replace(network, scale=scale, shift=shift, threshold=threshold, groups=groups_digest())
    return PromptModel(network, arrays), logits


def _cut(train: Sequence[Row], logits: np.ndarray, fit: FitConfig) -> float:
    """The logit from which a prompt is refused: the strictest of the limits."""
    cuts = {}
    for name, share in fit.limits:
        chosen = np.array([r.slice == name and not r.unsafe for r in train])
        if chosen.sum() >= 20:  # a quantile of fewer says nothing
            cuts[name] = float(np.quantile(logits[chosen], 1.0 - share))
    if not cuts:
        chosen = np.array([not r.unsafe and r.slice != "user_text" for r in train])
        if chosen.sum() < 20:
            raise BadInput(f"A threshold is frozen on at least 20 benign rows; there are {int(chosen.sum())}.")
        cuts["benign"] = float(np.quantile(logits[chosen], 1.0 - fit.otherwise))
    say("limits: " + ", ".join(f"{name} logit {cut:.2f}" for name, cut in cuts.items()))
    return max(cuts.values())


def _weight(row: Row, fit: FitConfig) -> float:
    if row.slice == "user_text":
        return fit.forum_weight
    return fit.video_weight if row.slice in ("t2v", "hard", "plain", "request") else 1.0


def _save(
    out: Path,
    model: PromptModel,
    fit: FitConfig,
    train: Sequence[Row],
    held: Sequence[Row],
) -> Path:
    import torch

    from armillary.store import save_folder

    sources: dict[str, dict[str, Any]] = {}
    for row, part in [*((r, "train") for r in train), *((r, "held_out") for r in held)]:
        entry = sources.setdefault(row.source, {"licence": row.licence or "Apache-2.0", "train": 0, "held_out": 0})
        entry[part] += 1
    extra = {"fit": fit, "sources": sources}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in model.arrays.items()}
    return save_folder(out, family="guard-prompt", config=model.config, tensors=tensors, extra=extra)
