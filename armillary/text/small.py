"""The embedded text encoder: a small transformer over words, trained by `recipes/text.py` on what the simulators can say.

Unusual in it: a word's vector is the mean of its hashed pieces (the word itself, its beginnings, its three and four letters in a row), so
that a word never met in training is not lost but near to those it is spelled like. Trained by contrast (InfoNCE, arXiv 1807.03748): two
wordings of one scene are near, a wording of a scene that differs in one fact is not. Tokens go to a world's cross-attention; `pooled` is
one vector a sentence, for search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.store import load_folder
from armillary.text.hashed import words

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = "text-encoder"


@dataclass(frozen=True)
class SmallConfig:
    """Args:
    buckets: rows that pieces of words are hashed to.
    dim: width of a token; `depth`, `heads`, `hidden`: of the transformer.
    length: words of a text that fit. pooled: width of the sentence vector, the sum of what each word adds.
    """

    buckets: int = 6144
    dim: int = 128
    depth: int = 2
    heads: int = 4
    hidden: int = 256
    length: int = 128
    pooled: int = 192


class SmallEncoder:
    """A `TextEncoder` from a checkpoint folder of family `text-encoder`.

    Args:
        name: that loads it again; it carries the beginning of the weights' sha256 where the name alone would not say which weights.

    Raises:
        BadInput: the folder holds no such encoder.
    """

    def __init__(self, folder: str | Path, name: str = "", device: str = "cpu") -> None:
        from armillary.text.small_network import SmallNetwork

        held = load_folder(folder, FAMILY)
        self.config = from_json(SmallConfig, held.config)
        self.network = SmallNetwork(self.config)
        held.load_into(self.network)
        self.network.to(device).eval().requires_grad_(False)
        self.sha256 = held.sha256
        self._name = f"{name}@{held.sha256[:8]}" if name else str(folder)

    @property
    def name(self) -> str:
        return self._name

    @property
    def dim(self) -> int:
        return self.config.dim

    @property
    def length(self) -> int:
        return self.config.length

    def count(self, text: str) -> int:
        return len(words(text))

    def _texts(self, texts: Sequence[str], cut: bool) -> list[list[str]]:
        if isinstance(texts, str):
            raise BadInput("encode takes a list of sentences; got one sentence.")
        split = [words(t) for t in texts]
        for text, found in zip(texts, split):
            if len(found) > self.length and not cut:
                raise BadInput(f"A sentence has {len(found)} words; this text encoder reads {self.length}: {text[:60]!r}...")
        return split

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`."""
        tokens, mask, _ = self.network(self._texts(texts, cut), self.length)  # its weights ask for no gradient
        return tokens.float().cpu(), mask.cpu()

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        split = self._texts(texts, True)
        longest = max([1, *(min(len(t), self.length) for t in split)])
        return self.network(split, longest)[2].float().cpu()
