"""Published weights of the family, read as they were released, strictly, with nothing in them unpickled or run.

    Cosmos-Tokenizer-CV8x8x8/           encoder.jit, decoder.jit, autoencoder.jit        TorchScript archives
    Cosmos-Tokenize1-CV8x8x8-720p/      those, model.pt, mean_std.pt, image_mean_std.pt
    any of these files alone            encoder.jit and decoder.jit are joined when they lie together
    a .safetensors or .pt               a state dict in NVIDIA's layout, plain or nested as `model`
    vae/ of a diffusers pipeline        config.json of an AutoencoderKLCosmos, diffusion_pytorch_model*.safetensors

Everything passes through NVIDIA's layout (`published_keys`); which member it is, the tensors say (`published_member`). Latent statistics
that lie beside the weights are read with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armillary.errors import BadInput, lookup
from armillary.store import read_json, read_tensors, sha256_file, sha256_joined, shards_of
from armillary.tokenizers.autoencoder import TokenizerConfig
from armillary.tokenizers.published_diffusers import DIFFUSERS, config_of, statistics_of
from armillary.tokenizers.published_keys import from_diffusers, from_published, strictly, unused
from armillary.tokenizers.published_member import PUBLISHED, find_member, member_name
from armillary.tokenizers.published_statistics import FILES, read_statistics
from armillary.types import LatentStatistics

# What a folder is looked through for, in this order: one file with everything first.
WHOLE = ("model.pt", "autoencoder.jit", "ema.jit", "model.safetensors")
PAIR = ("encoder.jit", "decoder.jit")
WRAPPERS = ("model.", "module.", "state_dict.", "network.", "net.")


@dataclass(frozen=True)
class Published:
    """A published tokenizer as it was found.

    Attributes:
        path: what was read; `files`: name and sha256 of every file.
        config: the member it is.
        tensors: its weights under our names, bit for bit and in their own precision.
        unused: published tensors without any effect, which were left out.
        statistics: of latents, `video` and `image` where they were there.
    """

    path: Path
    files: tuple[tuple[str, str], ...]
    config: TokenizerConfig
    tensors: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()
    statistics: Mapping[str, LatentStatistics] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the weights: the file's own, or for several that of their hashes in order."""
        return sha256_joined([sha for _, sha in self.files])

    @property
    def member(self) -> str:
        return member_name(self.config)

    @property
    def source(self) -> dict[str, Any]:
        """What a checkpoint folder says of where it came from."""
        files = [{"file": name, "sha256": sha} for name, sha in self.files]
        return {"name": self.path.absolute().name, "member": self.member, "files": files}


def locate(path: str | Path) -> list[Path]:
    """The files that hold the weights: one, `encoder.jit` and `decoder.jit`, or an index and its shards.

    Raises:
        BadInput: when there are none, saying what was looked for.
    """
    path = Path(path)
    if path.is_file():
        twin = path.with_name(PAIR[1 - PAIR.index(path.name)]) if path.name in PAIR else path
        if not twin.is_file():
            raise BadInput(f"{path} is one half of a tokenizer; {twin.name} belongs beside it.")
        return [path.parent / n for n in PAIR] if twin != path else [path]
    if not path.is_dir():
        raise BadInput(f"{path} does not exist.")
    for folder in (path, path / "vae"):
        for name in DIFFUSERS:
            if (folder / name).is_file():
                index = folder / name
                return [index, *shards_of(index)] if name.endswith(".json") else [index]
    for name in WHOLE:
        if (path / name).is_file():
            return [path / name]
    there = [n for n in PAIR if (path / n).is_file()]
    if len(there) == 1:
        raise BadInput(f"{path} has {there[0]} and no {PAIR[1 - PAIR.index(there[0])]}: half a tokenizer.")
    if there:
        return [path / n for n in PAIR]
    looked = ", ".join((*WHOLE, " with ".join(PAIR), f"{DIFFUSERS[0]} (also in vae/)"))
    raise BadInput(f"{path} holds no published tokenizer. Looked for: {looked}.")


def is_published(path: str | Path) -> bool:
    """Whether to read a path by `read_published`: any file, and a folder with such files, but no checkpoint folder of ours."""
    path = Path(path)
    if not path.is_dir():
        return path.is_file()
    config = path / "config.json"
    if config.is_file() and isinstance(record := read_json(config), dict) and "family" in record:
        return False
    names = (*WHOLE, *PAIR, *DIFFUSERS, *(f"vae/{n}" for n in DIFFUSERS))
    return any((path / n).is_file() for n in names)


def read_published(path: str | Path, size: str | TokenizerConfig = "", legacy: bool = False) -> Published:
    """A published tokenizer from any of the forms above.

    Args:
        path: a file or a folder.
        size: the member it is (a line of `TOKENIZERS`, or a config); found when empty.
        legacy: it is from before September 2024 and doubles time early (only where its tensors do not tell).

    Raises:
        BadInput: damaged, incomplete, of another member than said (both are named), or when which member it is cannot be told.
    """
    files = locate(path)
    said = lookup(PUBLISHED, size, "published tokenizer") if isinstance(size, str) and size else size or None
    assert said is None or isinstance(said, TokenizerConfig)
    if legacy and said and replace(said, legacy=True).ups() != said.ups():
        said = replace(said, legacy=True)
    statistics: dict[str, LatentStatistics] = {}
    if files[0].name in DIFFUSERS:
        record = files[0].parent / "config.json"
        config = config_of(record)
        tensors = from_diffusers(read_tensors(files[0]), config)
        config = find_member(tensors, config, files[0].parent)
        if said not in (None, config):
            raise BadInput(f"{files[0].parent} holds {member_name(config)}; it was said to be {member_name(said)}.")
        statistics = statistics_of(record, config.channels)
        files = files[1:] or files
    else:
        tensors = _joined(files) if len(files) == 2 else _unwrapped(files[0])
        config = find_member(tensors, said, Path(path), legacy)
        for kind, name in FILES.items():
            if (files[0].parent / name).is_file():
                statistics[kind] = read_statistics(files[0].parent / name, config.channels)
    ours = from_published(tensors, config)
    hashes = tuple((f.name, sha256_file(f)) for f in files)
    return Published(Path(path), hashes, config, ours, tuple(unused(tensors, config)), statistics)


def _unwrapped(path: Path) -> dict[str, Tensor]:
    """A state dict out of whatever it is nested in."""
    tensors = read_tensors(path)
    while not any(k.startswith(("encoder.", "decoder.")) for k in tensors):
        wrapper = next((w for w in WRAPPERS if any(k.startswith(w) for k in tensors)), None)
        if wrapper is None:
            raise BadInput(
                f"{path} holds no plain state dict of a tokenizer: {', '.join(list(tensors)[:3]) or 'no tensors'}, ..."
            )
        tensors = {k.removeprefix(wrapper): v for k, v in tensors.items() if k.startswith(wrapper)}
    if any(".down_blocks." in k for k in tensors):
        raise BadInput(f"{path} has the names of diffusers; give the folder with its config.json, and the name {DIFFUSERS[0]}.")
    return tensors


def _joined(files: list[Path]) -> dict[str, Tensor]:
    """`encoder.jit` and `decoder.jit` as one; what both hold must be the same."""
    first, second = (read_tensors(f) for f in files)
    shared = [k for k in first.keys() & second.keys() if not torch.equal(first[k], second[k])]
    strictly(f"{files[0]} and {files[1].name} are of two tokenizers", tensors_that_differ=sorted(shared))
    return first | second
