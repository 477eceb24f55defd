"""Text encoders of the BERT family from a local folder, such as those of sentence-transformers: tokens, and one vector a sentence."""

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

# `model_type` of folders that are read, all of them encoders whose last hidden states are the tokens.
MODELS = (
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "mpnet",
    "albert",
    "electra",
    "deberta-v2",
    "modernbert",
    "nomic_bert",
)


@dataclass
class SentenceEncoder:
    """A BERT-like encoder. Weights are read from safetensors in `folder`, never from the network; they are loaded at the first sentence.

    How a sentence's vector is made is read from `1_Pooling/config.json` where sentence-transformers left one: the mean of the tokens, or
    the first of them (`pooling_mode_cls_token`). Without one it is the mean.

    Args:
        folder: `config.json`, `model.safetensors` (or its shards) and the tokenizer's files.
        length: tokens of a sentence that fit; 0 for as many as the model has places, 512 at most.
    """

    folder: Path
    length: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        config = read_json(self.folder / "config.json")
        dim = config.get("hidden_size", config.get("dim"))
        if config.get("model_type") not in MODELS or not isinstance(dim, int):
            raise BadInput(
                f"{self.folder}/config.json is that of a {config.get('model_type')!r}; sentence encoders are {', '.join(MODELS)}."
            )
        self._dim = dim
        places = int(config.get("max_position_embeddings", 512))
        if config["model_type"] in ("roberta", "xlm-roberta", "mpnet"):
            places -= 2  # theirs begin behind the padding's
        self.length = self.length or min(512, places)
        pooling = self.folder / "1_Pooling" / "config.json"
        self.first = bool(read_json(pooling).get("pooling_mode_cls_token")) if pooling.is_file() else False
        self._parts: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def dim(self) -> int:
        return self._dim

    def _loaded(self) -> tuple[Any, Any]:
        if self._parts is None:
            transformers = require("transformers", "a local sentence encoder")
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False
                )
                model = transformers.AutoModel.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
                )
            except (OSError, ValueError, KeyError) as error:
                raise BadInput(f"{self.folder} holds no sentence encoder that can be read: {error}") from error
            self._parts = tokenizer, model.to(self.device).eval().requires_grad_(False)
        return self._parts

    def count(self, text: str) -> int:
        return len(self._loaded()[0](text).input_ids) if text.strip() else 0

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`; the vectors are the last hidden states."""
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

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        values, mask = self.encode(texts, cut=True)
        if not self.first:
            return pool.mean(values, mask)
        return pool.mean(values[:, :1], mask[:, :1])
