"""Tensors of a file, whatever it is: `.safetensors`, a PyTorch archive (plain, nested or scripted), or a sharded folder's index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from armillary.errors import BadInput
from armillary.store.archive import is_archive, read_archive
from armillary.store.atomic import read_json

if TYPE_CHECKING:
    from torch import Tensor

POINTER = b"version https://git-lfs"


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor. What the file is shows in its first bytes, not in its name; nothing in it is unpickled or run.

    An index (`*.safetensors.index.json`) stands for all its shards.

    Raises:
        BadInput: missing, cut short, damaged, or of another kind; in one sentence.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} is no file.")
    with path.open("rb") as f:
        start = f.read(64)
    if not start:
        raise BadInput(f"{path} is empty.")
    if start.startswith(POINTER):
        raise BadInput(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` where it was cloned.")
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if is_archive(path):
        return read_archive(path)
    if start[8:9] == b"{":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{path} is cut short or damaged: {error}") from error
    if start[:1] == b"\x80" or b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in start:
        raise BadInput(
            f"{path} is of PyTorch's format before 1.6, which cannot be read without unpickling. Where it is trusted: "
            f"torch.save(torch.load({path.name!r}, weights_only=True), 'new.pt')."
        )
    raise BadInput(f"{path} is neither a .safetensors file nor a PyTorch archive.")


def shards_of(index: Path) -> list[Path]:
    """The files an index names, beside it.

    Raises:
        BadInput: for an index of another layout, a name that leads elsewhere, or a file that is missing.
    """
    record = read_json(index)
    weights = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(v, str) for v in weights.values()):
        raise BadInput(f"{index} is no index of shards: it has no weight_map.")
    names = sorted(set(weights.values()))
    for name in names:
        if Path(name).name != name:
            raise BadInput(f"{index} names {name!r}; shards lie beside their index.")
        if not (index.parent / name).is_file():
            raise BadInput(
                f"{index} names {name}, which is missing: {sum(v == name for v in weights.values())} tensors lie in it."
            )
    return [index.parent / n for n in names]


def _read_shards(index: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in shards_of(index):
        tensors |= read_tensors(shard)
    named = set(read_json(index)["weight_map"])
    if named != set(tensors):
        odd = sorted(named ^ set(tensors))
        raise BadInput(f"{index} and its shards do not agree on {len(odd)} tensors (first: {odd[0]}).")
    return tensors
