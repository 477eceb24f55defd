"""The published worlds' text encoder: a T5 encoder from a local folder, 512 tokens, zero where there is no text (paper section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import BadInput, require
from armillary.store import read_json
from armillary.text import pool

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class T5Encoder:
    """A T5 encoder. Weights are read from safetensors in `folder`, never from the network; they are loaded at the first sentence.

    Args:
        folder: `config.json`, `model.safetensors` (or its shards) and the tokenizer's files.
        length: tokens of a sentence that fit.
    """

    folder: Path
    length: int = 512
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        config = read_json(self.folder / "config.json")
        if not isinstance(config.get("d_model"), int):
            raise BadInput(f"{self.folder}/config.json names no d_model; it is not that of a T5.")
        self._dim = int(config["d_model"])
        self._parts: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def dim(self) -> int:
        return self._dim

    def _loaded(self) -> tuple[Any, Any]:
        if self._parts is None:
            transformers = require("transformers", "the T5 text encoder")
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                model = transformers.T5EncoderModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
            except (OSError, ValueError) as error:
                raise BadInput(f"{self.folder} holds no T5 encoder that can be read: {error}") from error
            self._parts = tokenizer, model.to(self.device).eval().requires_grad_(False)
        return self._parts

    def count(self, text: str) -> int:
        return len(self._loaded()[0](text).input_ids) if text.strip() else 0

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`; the vectors are the encoder's last hidden states."""
        import torch

        if isinstance(texts, str):
            raise BadInput("encode takes a list of sentences; got one sentence.")
        tokenizer, model = self._loaded()
        if not cut:
            for text in texts:
                wanted = self.count(text)
                if wanted > self.length:
                    raise BadInput(f"A sentence has {wanted} tokens; this text encoder reads {self.length}: {text[:60]!r}...")
        made = tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt")
        mask = made.attention_mask.bool() & torch.tensor([[bool(t.strip())] for t in texts], dtype=torch.bool).reshape(-1, 1)
        with torch.no_grad():
            hidden = model(input_ids=made.input_ids.to(self.device), attention_mask=made.attention_mask.to(self.device))
        values = hidden.last_hidden_state.float().cpu()
        return values * mask.unsqueeze(-1), mask

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        return pool.mean(*self.encode(texts, cut=True))
