"""The built-in text encoder: every word is a fixed pseudo-random direction, nothing is trained and nothing is downloaded.

It understands no language. Two words are near only when they are spelled alike ("push", "pushes"), because a word's direction is mixed
from the directions of its pieces; synonyms are as far apart as any two words. What words *mean* is learned by the cross-attention of the
world that reads them, from the captions it was trained on, and a word never seen in training means nothing to it.

The directions come from BLAKE2b, so that they are the same in every process, on every machine and for ever.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.errors import BadInput
from armillary.text import pool

if TYPE_CHECKING:
    from torch import Tensor

POSITION = 16  # of the vector's components, the last ones say where in the sentence the word stands
# Letters and digits with inner apostrophes; ideographs and kana stand for themselves.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[^\W_])+(?:['’](?:[^\W_])+)*")


def words(text: str) -> list[str]:
    """Lower-case words in order; punctuation is dropped, every word is kept, `a` and `the` too."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class HashEncoder:
    """Words to vectors: `dim - 16` components for the word, 16 sines and cosines for its place.

    Args:
        dim: width of a vector; `length`: words of a sentence that fit.
    """

    dim: int = 64
    length: int = 32

    @property
    def name(self) -> str:
        return "hash"

    def __post_init__(self) -> None:
        if self.dim <= POSITION or self.length < 1:
            raise BadInput(
                f"This encoder wants more than {POSITION} components and at least one word; got {self.dim}, {self.length}."
            )

    def count(self, text: str) -> int:
        return len(words(text))

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`. The word's part of a vector has a root mean square of one."""
        import torch

        if isinstance(texts, str):
            raise BadInput("encode takes a list of sentences; got one sentence.")
        values = np.zeros((len(texts), self.length, self.dim), np.float32)
        mask = np.zeros((len(texts), self.length), bool)
        for row, text in enumerate(texts):
            found = words(text)
            if len(found) > self.length and not cut:
                raise BadInput(f"A sentence has {len(found)} words; this text encoder reads {self.length}: {text[:60]!r}...")
            for place, word in enumerate(found[: self.length]):
                values[row, place, :-POSITION] = _word_vector(word, self.dim - POSITION)
                values[row, place, -POSITION:] = _place(place)
                mask[row, place] = True
        return torch.from_numpy(values), torch.from_numpy(mask)

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`: the mean of the words' own parts, whatever their order."""
        values, mask = self.encode(texts, cut=True)
        return pool.mean(values[..., :-POSITION], mask)


def _direction(key: str, dim: int) -> np.ndarray:
    """A unit vector (float64 `dim`) that depends on `key` alone."""
    blocks = [hashlib.blake2b(key.encode(), digest_size=64, salt=i.to_bytes(8, "big")).digest() for i in range(-(-dim // 64))]
    x = np.frombuffer(b"".join(blocks), np.uint8)[:dim].astype(np.float64) - 127.5
    return x / np.linalg.norm(x)


@functools.lru_cache(maxsize=50_000)
def _word_vector(word: str, dim: int) -> np.ndarray:
    """Two parts of the word's pieces (3 and 4 letters, and its beginnings) to one part of the word itself; length `sqrt(dim)`.

    Endings change what a word does in a sentence more than what it means, so shared beginnings count twice.
    """
    fenced = f"<{word}>"
    pieces = [fenced[i : i + n] for n in (3, 4) for i in range(len(fenced) - n + 1)]
    pieces += ["^" + fenced[:n] for n in range(3, len(fenced))]
    whole = _direction("word:" + word, dim)
    if pieces:
        spelled = np.sum([_direction("piece:" + p, dim) for p in pieces], axis=0)
        whole = whole + 2.0 * spelled / max(float(np.linalg.norm(spelled)), 1e-9)
    vector = (whole * (dim**0.5 / max(float(np.linalg.norm(whole)), 1e-9))).astype(np.float32)
    vector.setflags(write=False)
    return vector


def _place(place: int) -> np.ndarray:
    """Sines and cosines of the place at wavelengths from 6 to about 600 words."""
    rate = 100.0 ** (-np.arange(POSITION // 2) / (POSITION // 2 - 1))
    return np.concatenate([np.sin(place * rate), np.cos(place * rate)]).astype(np.float32)
