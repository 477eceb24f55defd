"""`armillary convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.errors import BadInput

if TYPE_CHECKING:
    from armillary.types import LatentStatistics
    from armillary.worlds.base import TokenizerRef

Layout = Literal["armillary", "diffusers", "model-pt"]


def convert(
    src: str,
    /,
    *,
    out: Path,
    layout: Annotated[Layout, tyro.conf.arg(name="as")] = "armillary",
    size: str = "",
    legacy: bool = False,
    tokenizer: str = "",
    precision: Literal["", "float16", "bfloat16"] = "",
) -> dict[str, Any]:
    """Published weights of a tokenizer or a world to a checkpoint folder, and back. Nothing in them is unpickled or run.

    Weights stay bit for bit. The folder of an adapter becomes that of its world with the adapter in the weights.

    Example: armillary convert Cosmos-Tokenize1-CV8x8x8-720p --out cv8x8x8

    Args:
        src: a published folder or file (model.pt, its shards of tensor parallelism, encoder.jit with decoder.jit, autoencoder.jit,
            .safetensors, a diffusers pipeline, its vae or its transformer), or a shipped name or checkpoint folder.
        out: a new folder.
        layout: armillary, what every verb takes; diffusers, a folder of AutoencoderKLCosmos or CosmosTransformer3DModel; model-pt,
            NVIDIA's.
        size: the member of the family it is, e.g. cv8x8x8, predict1-7b-text2world or ar-4b; found in the weights when empty.
        legacy: tokenizer weights from before September 2024; only needed where they do not tell.
        tokenizer: of a world: what its latents mean, a folder as `convert` or NVIDIA makes it; its path is kept. A pipeline brings its own.
        precision: of the matrices of a checkpoint folder (a world, a tokenizer, a diffusion decoder), half of the bytes to send on; empty
            keeps every bit.
    """
    if precision:
        return _halved(src, out, layout, precision)
    if _is_adapter(src):
        return _merged(src, out, layout)
    if legacy and (_speaks(src) or _is_world(src)):
        raise BadInput("--legacy is said of tokenizers; this is a world.")
    if _speaks(src):
        return _speaker(src, out, layout, size, tokenizer)
    if _is_world(src):
        return _world(src, out, layout, size, tokenizer)
    if tokenizer:
        raise BadInput(f"--tokenizer is said of worlds; {src} is a tokenizer.")
    from armillary.tokenizers.published_write import read_any, write

    held = read_any(src, size, legacy)
    written = write(held, out, layout)
    return {
        "out": str(written),
        "as": layout,
        "tokenizer": held.member,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "precision": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.tensors.values()})),
        "source": held.source["files"],
        "statistics": {kind: f"{s.mean.shape[1]} latent frames" for kind, s in held.statistics.items()},
        "unused tensors left out": len(held.unused),
    }


def _is_adapter(src: str) -> bool:
    from armillary.nn.lora import FAMILY
    from armillary.store import read_json

    config = Path(src) / "config.json"
    return config.is_file() and isinstance(record := read_json(config), dict) and record.get("family") == FAMILY


def _merged(src: str, out: Path, layout: Layout) -> dict[str, Any]:
    import dataclasses

    from armillary import worlds
    from armillary.train.models import relative_name

    if layout != "armillary":
        raise BadInput(
            f"{src} is an adapter: merge it first (armillary convert {src} --out MERGED), then convert that --as {layout}."
        )
    world = worlds.load(src, dtype=None)
    ref = world.tokenizer
    world.setting = dataclasses.replace(world.setting, tokenizer=dataclasses.replace(ref, name=relative_name(ref.name, out)))
    worn = [{"name": Path(a.name).name, "sha256": a.sha256} for a in world.adapters]
    written = worlds.save(world, out, extra={"merged": {"base": world.sha256, "adapters": worn}})
    return {"out": str(written), "as": layout, "world": world.name, "adapters": worn}


def _halved(src: str, out: Path, layout: Layout, precision: str) -> dict[str, Any]:
    import dataclasses

    import torch

    from armillary import tokenizers, worlds
    from armillary.store import find_weights, load_folder
    from armillary.train.models import relative_name
    from armillary.worlds.autoregressive.refine import load_refiner, save_refiner

    if layout != "armillary":
        raise BadInput(f"--precision is for checkpoint folders of ours; --as {layout} keeps every bit.")
    if out.exists():
        raise BadInput(f"{out} exists; name a new folder, nothing is overwritten.")
    held, kind = load_folder(find_weights(src)), getattr(torch, precision)
    extra = dict(held.extra) | {"rounded": {"to": precision, "from": held.sha256}}

    def rounded(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        # Vectors (norms, biases, what normalises latents) are few, and rounding them would show.
        return {k: v.to(kind) if v.is_floating_point() and v.ndim > 1 else v for k, v in model.state_dict().items()}

    def beside(ref: TokenizerRef) -> TokenizerRef:
        return dataclasses.replace(ref, name=relative_name(ref.name, out))

    if held.family == "world":
        world = worlds.load(src, dtype=None)
        world.setting = dataclasses.replace(world.setting, tokenizer=beside(world.tokenizer))
        del extra["setting"]
        written = worlds.save(world, out, rounded(world), extra)
    elif held.family == "tokenizer":
        tokenizer = tokenizers.load(src)
        written = tokenizers.save(tokenizer, out, rounded(tokenizer), extra)
    elif held.family == "refiner":
        refiner = load_refiner(src)
        refs = {"tokens": beside(refiner.tokens), "latents": beside(refiner.latents)}
        written = save_refiner(refiner, out, rounded(refiner), extra | refs)
    else:
        raise BadInput(f"--precision rounds worlds, tokenizers and diffusion decoders; {src} holds a {held.family}.")
    return {"out": str(written), "as": layout, held.family: Path(src).name, "precision": precision}


def _speaks(src: str) -> bool:
    """Whether it is an autoregressive world, published or of ours."""
    from armillary.store import read_json, weights_root
    from armillary.worlds.autoregressive.convert import locate

    for config in (Path(src) / "config.json", weights_root() / src / "config.json"):
        if config.is_file() and isinstance(record := read_json(config), dict) and "family" in record:
            return record["family"] == "world" and record.get("config", {}).get("kind") == "AutoregressiveConfig"
    return bool(locate(src))


def _speaker(src: str, out: Path, layout: Layout, size: str, tokenizer: str) -> dict[str, Any]:
    from armillary.tokenizers.published_write import read_any as read_tokenizer
    from armillary.worlds.autoregressive.convert import read_any, write
    from armillary.worlds.base import TokenizerRef

    if layout == "diffusers":
        raise BadInput("diffusers has no autoregressive worlds; --as armillary or model-pt would work.")
    held, ref = read_any(src, size), None
    if tokenizer and layout == "armillary":
        known = read_tokenizer(tokenizer)
        c, name = known.config, str(Path(tokenizer).absolute()) if Path(tokenizer).exists() else tokenizer
        ref = TokenizerRef(name, known.sha256, c.temporal, c.spatial, c.channels, c.vocab, (640, 1024))
    written = write(held, out, layout, ref)
    return {
        "out": str(written),
        "as": layout,
        "world": held.member,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "precision": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.tensors.values()})),
        "source": held.source["files"],
        "tokenizer": ref.name if ref else "not named" if layout == "armillary" and held.setting is None else "",
    }


def _is_world(src: str) -> bool:
    from armillary.store import read_json, weights_root
    from armillary.worlds.diffusion.published import is_published_world

    for config in (Path(src) / "config.json", weights_root() / src / "config.json"):
        if config.is_file() and isinstance(record := read_json(config), dict) and "family" in record:
            return record["family"] == "world"
    return is_published_world(src)


def _world(src: str, out: Path, layout: Layout, size: str, tokenizer: str) -> dict[str, Any]:
    from armillary.worlds.diffusion.published_write import read_any, write

    held = read_any(src, size)
    ref, statistics = None, None
    if layout == "armillary":
        ref, statistics = _tokenizer(src, tokenizer, held.shape.channels)
    written = write(held, out, layout, ref, statistics)
    return {
        "out": str(written),
        "as": layout,
        "world": held.member,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "precision": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.tensors.values()})),
        "source": held.source["files"],
        "tokenizer": ref.name if ref else "not named" if layout == "armillary" else "",
    }


def _tokenizer(src: str, named: str, channels: int) -> tuple[TokenizerRef | None, LatentStatistics | None]:
    """The tokenizer that was named, or that lies in a pipeline's vae/, with the statistics of its latents."""
    from armillary.store import read_json
    from armillary.tokenizers.published_write import read_any
    from armillary.worlds.base import TokenizerRef
    from armillary.worlds.diffusion.published_write import SIZE

    beside = Path(src) / "vae" / "config.json"
    if not named and not (beside.is_file() and read_json(beside).get("_class_name") == "AutoencoderKLCosmos"):
        return None, None
    path = Path(named) if named else beside.parent
    held = read_any(path)
    c = held.config
    if c.levels or c.channels != channels:
        raise BadInput(f"The world knows continuous latents of {channels} channels; tokenizer {path} is {held.member}.")
    name = str(path.absolute()) if path.exists() else named
    return TokenizerRef(name, held.sha256, c.temporal, c.spatial, c.channels, 0, SIZE), held.statistics.get("video")
