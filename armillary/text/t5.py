"""The published worlds' text encoder: a T5 encoder from a local folder, 512 tokens, zero where there is no text (paper section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from armillary.errors import BadInput
from armillary.text import pool
from armillary.text.local import LocalEncoder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class T5Encoder(LocalEncoder):
    """A T5 encoder; see `LocalEncoder`.

    Args:
        folder: `config.json`, `model.safetensors` (or its shards) and the tokenizer's files.
        length: tokens of a sentence that fit.
    """

    what: ClassVar[str] = "T5 encoder"
    maker: ClassVar[str] = "T5EncoderModel"

    length: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.config.get("d_model"), int):
            raise BadInput(f"{self.folder}/config.json names no d_model; it is not that of a T5.")
        self._dim = self.config["d_model"]

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        return pool.mean(*self.encode(texts, cut=True))
