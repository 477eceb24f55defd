"""Published diffusion worlds, read as they were released, strictly, with nothing in them unpickled or run.

    model.pt, model-720p-16fps.pt, ...      a state dict of NVIDIA's, of either generation, plain or nested (`model`, `net.`)
    a .safetensors of the same names
    transformer/ of a diffusers pipeline    config.json of a CosmosTransformer3DModel, diffusion_pytorch_model*.safetensors, also in shards
    the pipeline's folder                   that, with scheduler/scheduler_config.json; vae/ is the tokenizer's (see its own `published`)

Weights stay in their file until they are used, so that memory holds them once. Which member it is, the tensors and the config say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armillary.errors import BadInput, lookup
from armillary.store import read_json, read_tensors, sha256_file, sha256_joined, shards_of, tensor_names
from armillary.worlds.diffusion.dit import DiT
from armillary.worlds.diffusion.edm import EDMConfig
from armillary.worlds.diffusion.published_keys import BESIDE, from_published, is_world, key_map, layout_of, unwrapped
from armillary.worlds.diffusion.published_member import (
    CLASS,
    MEMBERS,
    PATCH,
    Shape,
    find_member,
    member_name,
    objective_of,
    of_diffusers,
    shape_of,
)
from armillary.worlds.diffusion.published_views import parted

DIFFUSERS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json")


@dataclass(frozen=True)
class PublishedWorld:
    """A published world as it was found.

    Attributes:
        path: what was read; `files`: name and sha256 of every file of weights.
        shape: the network; `objective`: how it is sampled.
        tensors: the network's weights under our names, and `BESIDE` it what else was there; bit for bit and in their own precision.
        layout: that it was found in.
        views: what several views and a trajectory add to the network, under the names of the conditions that take it (`published_views`).
    """

    path: Path
    files: tuple[tuple[str, str], ...]
    shape: Shape
    objective: EDMConfig
    tensors: Mapping[str, Tensor]
    layout: str
    views: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the weights: the file's own, or for several that of their hashes in order."""
        return sha256_joined([sha for _, sha in self.files])

    @property
    def member(self) -> str:
        return member_name(self.shape)

    @property
    def source(self) -> dict[str, Any]:
        """What a checkpoint folder says of where it came from."""
        files = [{"file": name, "sha256": sha} for name, sha in self.files]
        return {"name": self.path.absolute().name, "member": self.member, "layout": self.layout, "files": files}

    def network(self) -> DiT:
        """The network with these weights, in evaluation mode and in their own precision; they stay in their file until used."""
        own = {k: v for k, v in self.tensors.items() if k not in BESIDE}
        network = empty_network(self.shape)
        network.load_state_dict(own, strict=True, assign=True)
        return network.eval().requires_grad_(False)


def empty_network(shape: Shape) -> DiT:
    """The network on the meta device: its parameters have shapes and no bytes."""
    with torch.device("meta"):
        return DiT(shape.network, shape.channels, shape.text_dim, shape.action_dim)


def locate(path: str | Path) -> list[Path]:
    """The files that hold the weights: one, or an index and its shards.

    Raises:
        BadInput: when there are none or several, saying what was looked for.
    """
    path = Path(path)
    if path.is_file():
        return [path, *shards_of(path)] if path.name.endswith(".index.json") else [path]
    if not path.is_dir():
        raise BadInput(f"{path} does not exist.")
    for folder in (path / "transformer", path):
        for name in DIFFUSERS:
            if (folder / name).is_file():
                return locate(folder / name)
    there = sorted(p for p in (*path.glob("*.pt"), *path.glob("*.safetensors")) if is_world(tensor_names(p)))
    if len(there) == 1:
        return there
    if there:
        raise BadInput(f"{path} holds {len(there)} worlds; give one of them: {', '.join(p.name for p in there)}.")
    raise BadInput(
        f"{path} holds no published world. Looked for: a .pt or .safetensors, and {DIFFUSERS[0]} (also in transformer/)."
    )


def is_published_world(path: str | Path) -> bool:
    """Whether to read a path by `read_world`; not so a checkpoint folder of ours."""
    path = Path(path)
    if path.is_file():
        return path.name == DIFFUSERS[1] or is_world(tensor_names(path))
    for config in (path / "transformer" / "config.json", path / "config.json"):
        if config.is_file():
            record = read_json(config)
            return isinstance(record, dict) and record.get("_class_name") == CLASS
    return path.is_dir() and any(is_world(tensor_names(p)) for p in (*path.glob("*.pt"), *path.glob("*.safetensors")))


def read_world(path: str | Path, size: str | Shape = "", hashed: bool = True) -> PublishedWorld:
    """A published world from any of the forms above.

    Args:
        path: a file or a folder.
        size: the member it is (a line of `MEMBERS`, or a shape); found when empty.
        hashed: False reads no more of the weights than their names and shapes; `sha256` then says nothing.

    Raises:
        BadInput: damaged, incomplete, of another member than said (both are named), or of none.
    """
    files = locate(path)
    said = lookup(MEMBERS, size, "published world") if isinstance(size, str) and size else size or None
    assert said is None or isinstance(said, Shape)
    folder, where = files[0].parent, str(files[0])
    tensors = unwrapped(read_tensors(files[0], mapped=True), where)
    layout = layout_of(tensors)
    shape, scheduler = said, None
    if layout == "diffusers":
        config = folder / "config.json"
        if not config.is_file():
            raise BadInput(f"{where} has the names of diffusers; its config.json belongs beside it.")
        shape = of_diffusers(config)
        if said not in (None, shape):
            raise BadInput(f"{folder} holds {member_name(shape)}; it was said to be {member_name(said)}.")
        scheduler = folder.parent / "scheduler" / "scheduler_config.json"
    # Tensors that are missing or unknown are named before a size is doubted.
    tensors, views = parted(tensors, PATCH**2, where)
    found = shape_of(tensors, layout, where, len(views["views.embedding.weight"]) if views else 0)
    ours = from_published(tensors, key_map(found.network, layout, actions=bool(found.action_dim)), where)
    shape = find_member(found, shape, where)
    own = empty_network(shape).state_dict()
    if wrong := sorted(k for k, v in own.items() if ours[k].shape != v.shape):
        k = wrong[0]
        raise BadInput(
            f"{where}: {len(wrong)} tensors of another shape; {k} is {tuple(ours[k].shape)}, wanted {tuple(own[k].shape)}."
        )
    hashes = tuple((f.name, sha256_file(f) if hashed else "") for f in (files[1:] or files))
    return PublishedWorld(Path(path), hashes, shape, objective_of(shape.network, scheduler), ours, layout, views)
