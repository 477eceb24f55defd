"""Tensors of a file, whatever it is: `.safetensors`, a PyTorch archive (plain, nested or scripted), or a sharded folder's index.

And a writer of `.safetensors` that holds one tensor at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import BadInput
from armillary.store.archive import archive_names, is_archive, read_archive
from armillary.store.atomic import read_json

if TYPE_CHECKING:
    from torch import Tensor

POINTER = b"version https://git-lfs"
# torch dtype -> its name in a .safetensors, in the order in which tensors lie there.
CODES = {
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "int16": "I16",
} | {
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


def read_tensors(path: str | Path, mapped: bool = False) -> dict[str, Tensor]:
    """Name -> tensor. What the file is shows in its first bytes, not in its name; nothing in it is unpickled or run.

    An index (`*.safetensors.index.json`) stands for all its shards.

    Args:
        mapped: leave an archive's bytes in the file until they are used; those of a `.safetensors` lie there in any case.

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
        return read_archive(path, mapped)
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


def tensor_names(path: str | Path) -> list[str]:
    """What `read_tensors` would give names to, in a file of weights; nothing where the file is none. Reads its header alone.

    Raises:
        BadInput: an archive that is damaged.
    """
    path = Path(path)
    if is_archive(path):
        return archive_names(path)
    with path.open("rb") as f:
        start = f.read(9)
        length = int.from_bytes(start[:8], "little")
        if start[8:] != b"{" or length > path.stat().st_size:
            return []
        try:
            header = json.loads(b"{" + f.read(length - 1))
        except ValueError:
            return []
    return [k for k in header if k != "__metadata__"]


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


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a `.safetensors`, the same bytes as `safetensors.torch.save_file` would, with no more than one tensor in memory.

    That library copies all of them first, which weights of 28 GB do not allow. Format: 8 bytes of header length, the header as JSON, the
    tensors' bytes in its order (widest type first, then by name).
    """
    import torch

    kinds = {k: str(v.dtype).removeprefix("torch.") for k, v in tensors.items()}
    if odd := sorted({v for v in kinds.values() if v not in CODES}):
        raise BadInput(f"Tensors of {', '.join(odd)} have no place in {path}; there are {', '.join(CODES)}.")
    ranks = list(CODES)
    order = sorted(tensors, key=lambda k: (ranks.index(kinds[k]), k))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": CODES[kinds[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with Path(path).open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().flatten()
            if flat.numel():
                f.write(flat.view(torch.uint8).numpy().data)
    return Path(path)
