"""A frame classifier's head: one linear layer a class on frozen embeddings, trained on what people marked, with a threshold a class.

The embedding comes from outside (any network that makes a vector of a picture); the head refuses to work on another one than it was
trained with. Thresholds are out of fold by clip: where the marked-free frames of other clips pass at the wanted rate.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from armillary.errors import BadInput, require
from armillary.guard.frames import FramesConfig, sample_indices
from armillary.presets import from_json

FAMILY = "guard-frames"


class Embedder(Protocol):
    """Pictures uint8 `t h w 3` to vectors float `t d`, each from its picture alone. `version` tells its weights apart."""

    name: str
    version: str

    def embed(self, frames: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class HeadConfig:
    """What the head knows: classes with their thresholds, and the embedding it was trained on."""

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    embedder: str
    embedder_version: str
    dim: int


class Head:
    """The classifier, a `FrameClassifier`.

    Args:
        weight: `classes dim`; bias: `classes`.
    """

    name = "head"

    def __init__(self, config: HeadConfig, weight: np.ndarray, bias: np.ndarray, embedder: Embedder, sha256: str = "") -> None:
        if weight.shape != (len(config.classes), config.dim) or bias.shape != (len(config.classes),):
            raise BadInput(
                f"A head of {len(config.classes)} classes and {config.dim} numbers got weights {weight.shape}, {bias.shape}."
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise BadInput("The head's weights hold NaN or infinity.")
        if (embedder.name, embedder.version) != (config.embedder, config.embedder_version):
            raise BadInput(
                f"This head was trained on {config.embedder} {config.embedder_version}; got {embedder.name} {embedder.version}."
            )
        self.config, self.weight, self.bias, self.embedder = config, weight, bias, embedder
        self.classes, self.version = config.classes, f"1+{sha256[:8]}"

    def scores(self, frames: np.ndarray) -> np.ndarray:
        vectors = np.asarray(self.embedder.embed(frames), np.float64)
        logits = vectors @ self.weight.T.astype(np.float64) + self.bias
        return 1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))

    def frames_config(self, **changes: Any) -> FramesConfig:
        """The rail's settings with this head's thresholds."""
        return FramesConfig(thresholds=dict(zip(self.classes, self.config.thresholds)), **changes)


def load_head(folder: str | Path, embedder: Embedder) -> Head:
    """Read a head.

    Raises:
        BadInput: missing, damaged, or made for another embedding.
    """
    from armillary.store import load_folder

    held = load_folder(folder, family=FAMILY)
    tensors = {name: tensor.numpy() for name, tensor in held.tensors.items()}
    if tensors.keys() != {"weight", "bias"}:
        raise BadInput(f"A head has the tensors weight and bias; {folder} has {sorted(tensors)}.")
    return Head(from_json(HeadConfig, dict(held.config)), tensors["weight"], tensors["bias"], embedder, held.sha256)


def frame_labels(labels: Sequence[Mapping[str, Any]], clip: str, frames: Sequence[int], classes: Sequence[str]) -> np.ndarray:
    """bool `t classes`: which frames at least half of those who judged the clip marked."""
    judged = [x for x in labels if x["clip"] == clip]
    votes = np.zeros((len(frames), len(classes)))
    for label in judged:
        for k, name in enumerate(classes):
            votes[:, k] += [any(m["category"] == name and m["first"] <= i <= m["last"] for m in label["marks"]) for i in frames]
    return votes >= max(1.0, len(judged) / 2)


def train_head(
    labels: Sequence[Mapping[str, Any]],
    read: Callable[[str], tuple[np.ndarray, float]],
    embedder: Embedder,
    out: str | Path,
    *,
    false_positives: float = 0.01,
    rate: float = 4.0,
    folds: int = 4,
    seed: int = 0,
) -> dict[str, Any]:
    """Train and write a head.

    Args:
        labels: what people marked (`agreement.read_labels`).
        read: a clip's name to its frames uint8 `t h w 3` and rate.
        false_positives: share of unmarked frames of unseen clips that may reach a class's threshold.
        rate: frames a second that are learned from.

    Returns:
        `{"path", "clips", "frames", "classes": {name: {"frames", "clips", "threshold", "recall"}},
        "left_out": {class or clip: why}}`; recall is
        out of fold.

    Raises:
        BadInput: no class was marked in two clips and left unmarked in two others.
    """
    from armillary.store import save_folder

    linear = require("sklearn.linear_model", "training the frame head")
    left_out: dict[str, str] = {}
    vectors, rows, owner = [], [], []
    marked = sorted({m["category"] for x in labels for m in x["marks"]})
    for k, clip in enumerate(sorted({x["clip"] for x in labels})):
        try:
            frames, fps = read(clip)
        except BadInput as error:  # one broken clip is named, the others are learned from
            left_out[clip] = str(error)
            continue
        chosen = sample_indices(len(frames), fps, rate)
        vectors.append(np.asarray(embedder.embed(frames[chosen]), np.float64))
        rows.append(frame_labels(labels, clip, chosen, marked))
        owner += [k] * len(chosen)
    if not vectors:
        raise BadInput("No labelled clip could be read.")
    x, y, clips = np.concatenate(vectors), np.concatenate(rows), np.array(owner)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / spread

    def fitted(inside: np.ndarray, target: np.ndarray) -> Any:
        model = linear.LogisticRegression(C=0.1, class_weight="balanced", max_iter=500, random_state=seed)
        return model.fit(x[inside], target[inside])

    names, weights, biases, thresholds, told = [], [], [], [], {}
    for k, name in enumerate(marked):
        target = y[:, k]
        with_it, without = set(clips[target]), set(clips) - set(clips[target])
        if len(with_it) < 2 or len(without) < 2:
            left_out[name] = f"marked in {len(with_it)} clips and absent from {len(without)}; two of each are needed"
            continue
        # Folds hold whole clips, the marked and the unmarked ones spread evenly.
        part = {
            c: i % folds
            for group in (with_it, without)
            for i, c in enumerate(sorted(group, key=lambda c: zlib.crc32(f"{seed} {c}".encode())))
        }
        fold = np.array([part[c] for c in clips])
        score = np.full(len(x), np.nan)
        for f in range(folds):
            inside = fold != f
            if (fold == f).any() and len(set(target[inside])) == 2:
                score[fold == f] = fitted(inside, target).predict_proba(x[fold == f])[:, 1]
        known = np.isfinite(score)
        clean = score[known & ~target]
        threshold = float(np.clip(np.quantile(clean, 1.0 - false_positives), 0.5, 0.999))
        final = fitted(np.ones(len(x), bool), target)
        scaled = final.coef_[0] / spread
        names.append(name)
        weights.append(scaled)
        biases.append(float(final.intercept_[0] - scaled @ mean))
        thresholds.append(round(threshold, 4))
        told[name] = {
            "frames": int(target.sum()), "clips": len(with_it), "threshold": thresholds[-1],
            "recall": round(float((score[known & target] >= threshold).mean()), 4),
        }  # fmt: skip
    if not names:
        raise BadInput("Nothing to learn from: " + "; ".join(f"{k}: {v}" for k, v in left_out.items()) + ".")
    import torch

    config = HeadConfig(tuple(names), tuple(thresholds), embedder.name, embedder.version, x.shape[1])
    tensors = {
        "weight": torch.tensor(np.stack(weights), dtype=torch.float32),
        "bias": torch.tensor(biases, dtype=torch.float32),
    }
    path = save_folder(out, family=FAMILY, config=config, tensors=tensors, extra={"classes": told})
    return {"path": str(path), "clips": len(set(owner)), "frames": len(x), "classes": told, "left_out": left_out}
