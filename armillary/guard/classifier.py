"""The embedded prompt classifier: hashed word and character n-grams, one linear layer, calibrated to a probability.

Features of a text: word 1-2-grams, pairs of a word and a group of nouns near it, and character 2-5-grams inside word boundaries. They are
hashed by CRC-32 into a table of words and one of characters, weighted `(1 + log count) x idf` and scaled to unit length per table. The
model is two vectors and a bias; logit -> probability by Platt's two numbers. It lies in a checkpoint folder (`model.safetensors` and
`config.json`), never in a pickle; `card.json` beside it says what it was trained on and what was measured. It screens obvious English
requests; it is no safety guarantee.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.guard.normalise import read
from armillary.guard.rail import Finding
from armillary.guard.words import LISTS, lemmas
from armillary.presets import from_json

DEFAULT = "guard-prompt"
# Groups of `lists/groups` that stand for their words in relations.
CONCEPTS = (
    "animal", "blade", "body", "contempt", "drug", "explosive", "gun", "harm", "minor", "people", "person", "poison", "sexual", "shelter",
    "thing", "wound",
)  # fmt: skip
STOP = frozenset(
    "the a an of in on at to and or is are was with from by for while as into its it he she they his her their this that who which".split()
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_END = re.compile(r"[.!?;]+(?:\s+|$)")


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the two hash tables (powers of two), longest n-grams, and the frozen numbers.

    Args:
        reach: how far apart, in content words, the two of a relation may stand.
        scale, shift: Platt's: probability = sigmoid(scale x logit + shift).
        groups: digest of the word groups that the features were made with; the shipped files must still be those.
        threshold: probability from which a prompt is refused; fixed when the model was made, on data it is not judged by.
    """

    words: int = 1 << 16
    chars: int = 1 << 17
    word_n: int = 2
    char_low: int = 2
    char_high: int = 5
    reach: int = 4
    scale: float = 1.0
    shift: float = 0.0
    threshold: float = 0.5
    groups: str = ""


def stem(token: str) -> str:
    """One key for the inflections of a word: its shortest base form without a final e (`slices`, `sliced`, `slice` -> `slic`)."""
    short = min(lemmas(token), key=lambda w: (len(w), w)) if len(token) > 3 else token
    return short[:-1] if len(short) > 3 and short.endswith("e") else short


@functools.cache
def concepts() -> dict[str, str]:
    """Stem -> name of the shipped word group it belongs to (`person`, `animal`, `body`, ...): what lets a harm generalise over nouns."""
    table: dict[str, str] = {}
    for name in CONCEPTS:
        for line in (LISTS / "groups" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            word = line.split("#")[0].strip()
            if word and " " not in word:
                table.setdefault(stem(word), f"@{name}")
    return table


@functools.cache
def groups_digest() -> str:
    """Tells the word groups that features are made of apart from later ones."""
    return hashlib.sha256(repr(sorted(concepts().items())).encode()).hexdigest()[:16]


def relations(tokens: list[str], reach: int) -> list[str]:
    """Pairs of content words at most `reach` apart of which one is in a group, that one by its group: `suffocat @person`."""
    groups = concepts()
    content = [groups.get(t, t) for t in tokens if t not in STOP]
    out = [f"g {name}" for name in content if name[0] == "@"]
    for i, left in enumerate(content):
        for right in content[i + 1 : i + 1 + reach]:
            if left[0] == "@" or right[0] == "@":
                out.append(f"s {left} {right}")
    return out


def grams(text: str, config: ClassifierConfig) -> tuple[dict[int, float], dict[int, float]]:
    """Counts per hash bucket of word and of character n-grams of a folded text."""
    words: dict[int, float] = {}
    chars: dict[int, float] = {}
    tokens = [stem(t) for t in _WORD.findall(text)]
    for n in range(1, config.word_n + 1):
        for i in range(len(tokens) - n + 1):
            bucket = zlib.crc32(" ".join(tokens[i : i + n]).encode()) % config.words
            words[bucket] = words.get(bucket, 0.0) + 1.0
    for pair in relations(tokens, config.reach):
        bucket = zlib.crc32(pair.encode()) % config.words
        words[bucket] = words.get(bucket, 0.0) + 1.0
    for token in _WORD.findall(text):
        padded = f" {token} ".encode("utf-8", "replace")
        for n in range(config.char_low, config.char_high + 1):
            for i in range(len(padded) - n + 1):
                bucket = zlib.crc32(padded[i : i + n]) % config.chars
                chars[bucket] = chars.get(bucket, 0.0) + 1.0
    return words, chars


def weigh(counts: dict[int, float], idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Buckets in ascending order and their unit-length weights."""
    buckets = np.fromiter(sorted(counts), np.int64, len(counts))
    values = np.array([1.0 + math.log(counts[b]) for b in buckets.tolist()]) * idf[buckets].astype(np.float64)
    norm = float(np.sqrt((values * values).sum()))
    return buckets, values / norm if norm > 0 else values


def pieces(text: str, least: int = 4) -> tuple[str, ...]:
    """A text, and each of its sentences of `least` words or more: one harmful sentence among many harmless ones must not be diluted."""
    parts = [p.strip() for p in _END.split(text)]
    long = [p for p in parts if len(_WORD.findall(p)) >= least]
    return (text, *long) if len([p for p in parts if p]) > 1 else (text,)


class Vocabulary:
    """A set of English words as sorted CRC-32 hashes; `word in vocabulary` also accepts inflections of a known base."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = frozenset(int(h) for h in hashes)

    def __call__(self, word: str) -> bool:
        return any(zlib.crc32(form.encode("utf-8", "replace")) in self.hashes for form in lemmas(word))

    @staticmethod
    def of(words: set[str]) -> np.ndarray:
        return np.array(sorted({zlib.crc32(w.encode()) for w in words}), np.int64)


class PromptModel:
    """The linear model and its vocabulary.

    Args:
        arrays: `word_idf`, `word_weight`, `char_idf`, `char_weight`, `bias`, `vocabulary`.
    """

    def __init__(self, config: ClassifierConfig, arrays: dict[str, np.ndarray], sha256: str = "") -> None:
        wanted = {
            "word_idf": (config.words,), "word_weight": (config.words,), "char_idf": (config.chars,), "char_weight": (config.chars,),
            "bias": (1,), "vocabulary": None,
        }  # fmt: skip
        if arrays.keys() != wanted.keys():
            raise BadInput(f"A prompt classifier has the tensors {sorted(wanted)}; got {sorted(arrays)}.")
        for name, shape in wanted.items():
            if shape is not None and arrays[name].shape != shape:
                raise BadInput(f"Tensor {name} has shape {arrays[name].shape}; its config wants {shape}.")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise BadInput(f"Tensor {name} of the prompt classifier holds NaN or infinity.")
        self.config, self.arrays, self.sha256 = config, arrays, sha256
        self.known = Vocabulary(arrays["vocabulary"])

    def logit(self, text: str) -> float:
        """Of a text as `normalise.fold` gives it."""
        total = float(self.arrays["bias"][0])
        for counts, kind in zip(grams(text, self.config), ("word", "char")):
            if counts:
                buckets, values = weigh(counts, self.arrays[f"{kind}_idf"])
                total += float((values * self.arrays[f"{kind}_weight"][buckets]).sum())
        return total

    def probability(self, text: str) -> float:
        """Calibrated probability of a folded text being one the policy refuses."""
        z = self.config.scale * self.logit(text) + self.config.shift
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))

    def judge(self, text: str) -> float:
        """The worst probability over all views of a raw prompt and their sentences."""
        parts = dict.fromkeys(piece for view in read(text, self.known).views for piece in pieces(view))
        return max((self.probability(part) for part in parts), default=0.0)


def load_model(name_or_folder: str | Path = DEFAULT) -> PromptModel:
    """Read the checkpoint folder.

    Raises:
        BadInput: missing, damaged or misshapen.
    """
    from armillary.store import find_weights, load_folder

    folder = load_folder(find_weights(name_or_folder, "prompt classifier"), family="guard-prompt")
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in folder.tensors.items():
        array: Any = tensor.numpy()
        arrays[name] = array if name == "vocabulary" else array.astype(np.float32)
    config = from_json(ClassifierConfig, dict(folder.config))
    if config.groups and config.groups != groups_digest():
        raise BadInput(
            f"{folder.path} was trained on other word groups ({config.groups}) than lie in {LISTS / 'groups'} ({groups_digest()}): its "
            "features would mean something else. Train it again: armillary guard train."
        )
    return PromptModel(config, arrays, folder.sha256)


class LazyModel:
    """Loads the model on first use, once, and hands out its vocabulary; loading errors surface in the rail that asked."""

    def __init__(self, name_or_folder: str | Path = DEFAULT) -> None:
        self.name_or_folder = name_or_folder
        self._lock = threading.Lock()
        self._model: PromptModel | None = None

    def get(self) -> PromptModel:
        with self._lock:
            if self._model is None:
                self._model = load_model(self.name_or_folder)
            return self._model

    def known(self, word: str) -> bool:
        return self.get().known(word)


class Classifier:
    """The rail: refuses from the model's frozen threshold on.

    Args:
        model: where the weights are, or the loader other rails share.
        threshold: another one than the frozen; figures in the card then no longer apply.
    """

    name, first = "classifier", False

    def __init__(self, model: LazyModel | PromptModel | str | Path = DEFAULT, threshold: float | None = None) -> None:
        self.source = LazyModel(model) if isinstance(model, (str, Path)) else model
        self.version = "1"
        if threshold is not None and not 0.0 < threshold < 1.0:
            raise BadInput(f"A threshold lies between 0 and 1; got {threshold}.")
        self.threshold = threshold

    def check(self, text: str) -> Finding:
        model = self.source if isinstance(self.source, PromptModel) else self.source.get()
        self.version = f"1+{model.sha256[:8]}"
        threshold = model.config.threshold if self.threshold is None else self.threshold
        score = model.judge(text)
        blocked = score >= threshold
        return Finding(blocked, f"score {score:.3f} {'>=' if blocked else '<'} threshold {threshold:.3f}", score)
