"""Text encoders of the BERT family from a local folder, such as those of sentence-transformers: tokens, and one vector a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from armillary.errors import BadInput
from armillary.store import read_json
from armillary.text import pool
from armillary.text.local import LocalEncoder

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
class SentenceEncoder(LocalEncoder):
    """A BERT-like encoder; see `LocalEncoder`.

    How a sentence's vector is made is read from `1_Pooling/config.json` where sentence-transformers left one: the mean of the tokens, or
    the first of them (`pooling_mode_cls_token`). Without one it is the mean.

    Args:
        folder: `config.json`, `model.safetensors` (or its shards) and the tokenizer's files.
        length: tokens of a sentence that fit; 0 for as many as the model has places, 512 at most.
    """

    what: ClassVar[str] = "sentence encoder"
    maker: ClassVar[str] = "AutoModel"

    def __post_init__(self) -> None:
        super().__post_init__()
        config = self.config
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

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        values, mask = self.encode(texts, cut=True)
        if not self.first:
            return pool.mean(values, mask)
        return pool.mean(values[:, :1], mask[:, :1])
