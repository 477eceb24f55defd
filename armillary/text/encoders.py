"""Text encoders: `load(name_or_folder)` gives one, `ENCODERS` lists the kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from armillary.errors import BadInput, did_you_mean
from armillary.store import read_json, weights_root
from armillary.text import cache
from armillary.text.hashed import HashEncoder
from armillary.text.sentence import MODELS, SentenceEncoder
from armillary.text.small import FAMILY, SmallEncoder
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

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """One vector a sentence, float32 `b p` of length one (zero for no text): near where sentences are. Too long ones are cut off."""
        ...


ENCODERS: dict[str, type[TextEncoder]] = {
    "hash": HashEncoder,
    "small": SmallEncoder,
    "t5": T5Encoder,
    "sentence": SentenceEncoder,
}
SHIPPED = {"small": "text-small"}  # an encoder's name -> the folder of its weights


def load(name_or_path: str | Path) -> TextEncoder:
    """An encoder.

    Args:
        name_or_path: `hash`, which needs no weights; `small`, which ships (`small@` and the beginning of its weights' sha256 insists on
            those weights); `t5` or `sentence`, whose folder lies under that name among the weights; or a folder with weights of any of
            these kinds, or with embeddings made beforehand.

    Raises:
        BadInput: there is no such encoder or folder, or other weights than asked for. MissingExtra: a package is not installed.
    """
    name, _, digest = str(name_or_path).partition("@")
    path = Path(name_or_path)
    if name == "hash":
        return HashEncoder()
    if name in SHIPPED and not path.is_dir():
        encoder = SmallEncoder(weights_root() / SHIPPED[name], name)
        if digest and not encoder.sha256.startswith(digest):
            raise BadInput(
                f"Text encoder {name_or_path} is wanted; the weights in {weights_root() / SHIPPED[name]} are {encoder.name}. "
                "A world reads only the encoder it was trained with."
            )
        return encoder
    if name in ENCODERS and not path.is_dir():
        path = weights_root() / name
        if not path.is_dir():
            raise BadInput(
                f"The weights of {name!r} are not at {path}; put them there, or give their folder instead of {name!r}."
            )
    elif not path.is_dir():
        raise BadInput(did_you_mean("text encoder", name, ENCODERS) + " A folder with weights works too.")
    config = read_json(path / "config.json")
    if config.get("family") == FAMILY:
        return SmallEncoder(path)
    if config.get("family") == cache.FAMILY:
        return cache.CachedEncoder(path)
    kind = config.get("model_type")
    if kind == "t5":
        return T5Encoder(path)
    if kind in MODELS:
        return SentenceEncoder(path)
    raise BadInput(f"{path} holds a {kind!r}; text encoders are read from folders of ours, of t5, and of {', '.join(MODELS)}.")
