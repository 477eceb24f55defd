"""What the encoders from a local folder share: loading through transformers, counting, and tokens that are zero where there is no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from armillary.errors import BadInput, require
from armillary.store import read_json

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class LocalEncoder:
    """An encoder of transformers. Weights are read from safetensors in `folder`, never from the network; they are loaded at the first
    sentence.

    `what` names its kind to the user and `maker` is transformers' class for it; whoever derives sets `_dim` from `self.config`.
    """

    what: ClassVar[str]
    maker: ClassVar[str]

    folder: Path
    length: int = 0
    device: str = "cpu"
    _dim: int = field(default=0, init=False, repr=False)
    _parts: tuple[Any, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        self.config = read_json(self.folder / "config.json")

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def dim(self) -> int:
        return self._dim

    def _loaded(self) -> tuple[Any, Any]:
        """(tokenizer, model)."""
        if self._parts is None:
            transformers = require("transformers", f"a local {self.what}")
            here = {"local_files_only": True, "trust_remote_code": False}
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder, **here)
                model = getattr(transformers, self.maker).from_pretrained(self.folder, use_safetensors=True, **here)
            except (OSError, ValueError, KeyError) as error:
                raise BadInput(f"{self.folder} holds no {self.what} that can be read: {error}") from error
            self._parts = tokenizer, model.to(self.device).eval().requires_grad_(False)
        return self._parts

    def to(self, device: str) -> None:
        """Where sentences are encoded from now on."""
        self.device = device
        if self._parts is not None:
            self._parts[1].to(device)

    def count(self, text: str) -> int:
        return len(self._loaded()[0](text).input_ids) if text.strip() else 0

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`; the vectors are the encoder's last hidden states."""
        import torch

        if isinstance(texts, str):
            raise BadInput("encode takes a list of sentences; got one sentence.")
        if not len(texts):
            return torch.zeros(0, self.length, self.dim), torch.zeros(0, self.length, dtype=torch.bool)
        tokenizer, model = self._loaded()
        if not cut:
            for text in texts:
                wanted = self.count(text)
                if wanted > self.length:
                    raise BadInput(f"A sentence has {wanted} tokens; this text encoder reads {self.length}: {text[:60]!r}...")
        made = tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt")
        mask = made.attention_mask.bool() & torch.tensor([[bool(t.strip())] for t in texts], dtype=torch.bool)
        with torch.no_grad():
            hidden = model(input_ids=made.input_ids.to(self.device), attention_mask=made.attention_mask.to(self.device))
        return hidden.last_hidden_state.float().cpu() * mask.unsqueeze(-1), mask
