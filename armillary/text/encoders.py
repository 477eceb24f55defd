"""Text encoders: `load(name_or_folder)` gives one, `ENCODERS` lists the kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from armillary.errors import BadInput, did_you_mean
from armillary.store import read_json, weights_root
from armillary.text.hashed import HashEncoder
from armillary.text.t5 import T5Encoder

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class TextEncoder(Protocol):
    """Sentences to vectors.

    `name` loads it again (`load(encoder.name)`), `dim` is the width of a vector and `length` how many there are for a sentence.
    """

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def length(self) -> int: ...

    def count(self, text: str) -> int:
        """How many of the `length` places `text` wants; more than that do not fit."""
        ...

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings float32 `b length dim`, zero where there is no text, and bool `b length`, true where there is.

        An empty sentence has no place at all: for a world that is the same as no text.

        Args:
            cut: whether a sentence that does not fit is cut off; otherwise it is an error.

        Raises:
            BadInput: naming the sentence that does not fit, and the limit.
        """
        ...


ENCODERS: dict[str, type[HashEncoder] | type[T5Encoder]] = {"hash": HashEncoder, "t5": T5Encoder}


def load(name_or_path: str | Path) -> TextEncoder:
    """An encoder.

    Args:
        name_or_path: `hash`, the built-in one; `t5`, whose folder lies as `t5` among the weights; or a folder with T5 weights.

    Raises:
        BadInput: there is no such encoder or folder. MissingExtra: what T5 needs is not installed.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name == "hash":
        return HashEncoder()
    if name == "t5":
        path = weights_root() / "t5"
        if not path.is_dir():
            raise BadInput(f"The T5 weights are not at {path}; put them there, or give their folder instead of 't5'.")
    elif not path.is_dir():
        raise BadInput(did_you_mean("text encoder", name, ENCODERS) + " A folder with T5 weights works too.")
    kind = read_json(path / "config.json").get("model_type")
    if kind != "t5":
        raise BadInput(f"{path} holds a {kind!r}; text encoders are read from T5 folders.")
    return T5Encoder(path)
