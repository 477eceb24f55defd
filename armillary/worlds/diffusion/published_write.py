"""A diffusion world in another layout: a checkpoint folder of ours, NVIDIA's `model.pt`, or diffusers' `transformer/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from armillary import store
from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.types import LatentStatistics
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.published import DIFFUSERS, PublishedWorld, is_published_world, read_world
from armillary.worlds.diffusion.published_keys import BESIDE, key_map, to_published
from armillary.worlds.diffusion.published_member import Shape, config_of, to_diffusers
from armillary.worlds.diffusion.world import DiffusionConfig

Layout = Literal["armillary", "diffusers", "model-pt"]
SHARD = 10 << 30  # bytes of a file of diffusers' at most, as it writes them
SIZE = (704, 1280)  # pixels of what these worlds were trained on


def read_any(path: str | Path, size: str = "") -> PublishedWorld:
    """A diffusion world from a published file or folder, or from a shipped name or checkpoint folder of ours; weights bit for bit.

    Raises:
        BadInput: when it is none, is damaged, or is of another member than `size` says.
    """
    if is_published_world(path):
        return read_world(path, size)
    folder = store.load_folder(store.find_weights(path, "world"), "world")
    if folder.config.get("kind") != DiffusionConfig.__name__ or size:
        what = "says itself what it is; leave size out" if size else "holds no diffusion world"
        raise BadInput(f"{folder.path} {what}.")
    config, setting = from_json(DiffusionConfig, folder.config), from_json(Setting, folder.extra["setting"])
    if not isinstance(config.network, DiTConfig):
        raise BadInput(f"{folder.path} holds a world of a {type(config.network).__name__}, which has no published layout.")
    if config.network.causal:
        raise BadInput(
            f"{folder.path} holds a causal world; the published networks are not, and would dream something else of its weights."
        )
    actions = setting.actions.dim * setting.tokenizer.temporal if setting.actions else 0
    shape = Shape(config.network, setting.tokenizer.channels, setting.text_dim, actions)
    tensors = {k.removeprefix("network."): v for k, v in folder.tensors.items() if k.startswith("network.")}
    tensors |= {k.removeprefix("objective."): v for k, v in folder.tensors.items() if k.startswith("objective.variance.")}
    return PublishedWorld(folder.path, (("model.safetensors", folder.sha256),), shape, config.objective, tensors, "armillary")


def unnamed(shape: Shape) -> TokenizerRef:
    """The kind of tokenizer that published worlds of this generation were trained on, without weights."""
    if shape.network.absolute:
        return TokenizerRef("cv8x8x8", "", 8, 8, shape.channels, 0, SIZE)
    return TokenizerRef("wan2.1", "", 4, 8, shape.channels, 0, SIZE)


def write(
    world: PublishedWorld,
    out: str | Path,
    layout: Layout,
    tokenizer: TokenizerRef | None = None,
    statistics: LatentStatistics | None = None,
) -> Path:
    """Write it as a folder; memory holds one tensor at a time beside what is mapped.

    Args:
        out: a new folder.
        layout: `armillary`: config.json and model.safetensors, what `worlds.load` reads; `model-pt`: model.pt in NVIDIA's layout of its
            generation; `diffusers`: config.json and weights of a CosmosTransformer3DModel, in shards of 10 GB.
        tokenizer: (armillary) what its latents mean; `statistics`: how it normalises them.

    Raises:
        BadInput: when `out` is there already, or the layout has no place for this world.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists; name a new folder, nothing is overwritten.")
    if world.views:
        raise BadInput(
            f"{world.path} takes {world.shape.views} views by conditions beside its network, which no folder here holds together with it. "
            "Use read_world(...).network() with conditioning.attach, and .views for the conditions' weights."
        )
    if layout == "armillary":
        return _write_ours(world, out, tokenizer or unnamed(world.shape), statistics)
    shape = world.shape
    theirs = "diffusers" if layout == "diffusers" else "predict1" if shape.network.absolute else "predict2"
    record = to_diffusers(shape) if layout == "diffusers" else {}
    own = {k: v for k, v in world.tensors.items() if layout == "model-pt" or k not in BESIDE}
    tensors = to_published(own, key_map(shape.network, theirs, bool(shape.text_dim), bool(shape.action_dim)))
    with store.atomic_dir(out) as temporary:
        if layout == "diffusers":
            write_shards(temporary, tensors)
            store.write_json(temporary / "config.json", record)
        else:
            # Their code reads nothing else. The file holds a dict of tensors; whoever loads it needs no more than weights_only=True.
            torch.save({k: v.contiguous() for k, v in tensors.items()}, temporary / "model.pt")
    return out


def write_shards(folder: Path, tensors: dict[str, Tensor], limit: int = SHARD) -> None:
    """diffusers' file, or several with their index where one would be larger than `limit` bytes."""
    shards: list[dict[str, Tensor]] = [{}]
    held = total = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and held + size > limit:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held, total = held + size, total + size
    if len(shards) == 1:
        store.write_tensors(folder / DIFFUSERS[0], tensors, {"format": "pt"})
        return
    stem = DIFFUSERS[0].removesuffix(".safetensors")
    names = [f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards):
        store.write_tensors(folder / name, shard, {"format": "pt"})
    where = {key: name for name, shard in zip(names, shards) for key in shard}
    store.write_json(folder / DIFFUSERS[1], {"metadata": {"total_size": total}, "weight_map": where})


def _write_ours(world: PublishedWorld, out: Path, tokenizer: TokenizerRef, statistics: LatentStatistics | None) -> Path:
    shape = world.shape
    if shape.action_dim:
        raise BadInput(
            f"{world.path} is driven by actions of {shape.action_dim} numbers, and published weights do not say what they are; a world of "
            "ours wants their spec. Use read_world(...).network(), or --as model-pt."
        )
    if (tokenizer.channels, tokenizer.vocab) != (shape.channels, 0):
        raise BadInput(f"{world.path} knows latents of {shape.channels} channels; tokenizer {tokenizer.name!r} makes others.")
    variance = {k: v for k, v in world.tensors.items() if k.startswith("variance.")}
    features = variance["variance.weight"].shape[-1] if variance else 0
    columns = statistics.mean.shape[1] if statistics and statistics.mean.shape[1] > 1 else 0
    config = config_of(shape, replace(world.objective, uncertainty=features), columns)
    if columns and columns < config.clip:
        config = replace(config, clip=columns)
    image = not shape.network.given and not shape.network.absolute
    setting = Setting(tokenizer, None, "t5", shape.text_dim, 24.0 if shape.network.absolute or image else 16.0)
    one = torch.zeros(shape.channels)
    mean, std = (one, one + 1) if statistics is None else (statistics.mean, statistics.std)
    tensors = {f"{'objective' if k in variance else 'network'}.{k}": v for k, v in world.tensors.items()}
    tensors |= {"latent_mean": mean if columns else mean.flatten(), "latent_std": std if columns else std.flatten()}
    tensors["change_std"] = one + 1
    extra = {"setting": setting, "source": world.source}
    return store.save_folder(out, family="world", config=config, tensors=tensors, extra=extra)
