"""Published autoregressive worlds as checkpoint folders of ours, and back: which of the released sizes it is, the tensors say.

    model.pt, or a .safetensors             a state dict in the published layout, plain or nested
    model_model_mp_0.pt and on              shards of tensor parallelism
    a folder                                that holds one of these

Read strictly, with nothing in them unpickled or run. Their training left no text out: the learned null that `guidance` needs is zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from armillary import store
from armillary.errors import BadInput, lookup
from armillary.presets import from_json
from armillary.types import Grid
from armillary.worlds.autoregressive.published import from_published, merge, shards_beside, to_published
from armillary.worlds.autoregressive.transformer import Transformer
from armillary.worlds.autoregressive.world import AUTOREGRESSIVE, AutoregressiveConfig
from armillary.worlds.base import Setting, TokenizerRef

MEMBERS = {k: AUTOREGRESSIVE[k] for k in ("ar-4b", "ar-5b", "ar-12b", "ar-13b")}
SIGN = "tok_embeddings.weight"  # no other published network has it
TOKENIZER = TokenizerRef("dv8x16x16", "", 8, 16, 6, 64_000, (640, 1024))
FPS = 24.0


@dataclass(frozen=True)
class Held:
    """A world as it was found.

    Attributes:
        path: what was read; `files`: name and sha256 of every file of weights.
        member: the released size, or a checkpoint's own name; `config`: its size.
        tensors: of the network, under our names, bit for bit; `setting`: of a checkpoint of ours.
        layout: that it was found in.
    """

    path: Path
    files: tuple[tuple[str, str], ...]
    member: str
    config: AutoregressiveConfig
    tensors: Mapping[str, Tensor]
    layout: str
    setting: Setting | None = None

    @property
    def source(self) -> dict[str, Any]:
        """What a checkpoint folder says of where it came from."""
        files = [{"file": name, "sha256": sha} for name, sha in self.files]
        return {"name": self.path.absolute().name, "member": self.member, "layout": self.layout, "files": files}


def locate(path: str | Path) -> list[Path]:
    """The files of a published world: one, or its shards in the order of their ranks; empty where there is none.

    Raises:
        BadInput: a folder that holds several, or a shard that is missing.
    """
    path = Path(path)
    if path.is_file():
        return [path] if _signed(path) else []
    if not path.is_dir():
        return [s for s in shards_beside(path) if _signed(s)] if path.parent.is_dir() else []
    there = [p for p in sorted((*path.glob("*.pt"), *path.glob("*.safetensors"))) if _signed(p)]
    whole = [p for p in there if "_model_mp_" not in p.stem]
    if len(whole) > 1:
        raise BadInput(f"{path} holds {len(whole)} worlds; give one of them: {', '.join(p.name for p in whole)}.")
    if whole or not there:
        return whole
    return shards_beside(path / (there[0].stem.partition("_model_mp_")[0] + there[0].suffix))


def _signed(path: Path) -> bool:
    return any(name.endswith(SIGN) for name in store.tensor_names(path))


def read_any(path: str | Path, size: str = "") -> Held:
    """A published world, or a shipped name or checkpoint folder of ours; weights stay in their file until they are used.

    Args:
        size: of `MEMBERS`; found in the tensors when empty.

    Raises:
        BadInput: none, damaged, of no released size, or of another than `size`.
    """
    files = locate(path)
    if not files:
        return _ours(path, size)
    shards = [{_plain(k): v for k, v in store.read_tensors(f, mapped=True).items()} for f in files]
    tensors = shards[0]
    members = {size: lookup(MEMBERS, size, "size")} if size else MEMBERS
    why = {}
    for name, config in members.items():
        network = config.network
        try:
            found = merge(network, shards) if len(shards) > 1 else from_published(network, tensors)
        except BadInput as error:
            why[name] = str(error)
            continue
        shapes = {k: v.shape for k, v in empty(config).state_dict().items()}
        odd = next((k for k, shape in shapes.items() if found[k].shape != shape), None)
        if odd is None:
            hashes = tuple((f.name, store.sha256_file(f)) for f in files)
            return Held(Path(path), hashes, name, config, found, "shards" if len(shards) > 1 else "published")
        why[name] = f"{odd} is {tuple(found[odd].shape)}, not {tuple(shapes[odd])}"
    raise BadInput(f"{path} is of no released size. " + " ".join(f"{name}: {reason}" for name, reason in why.items()))


def _plain(key: str) -> str:
    return key.rpartition("model.")[2] if key.startswith("model.") else key


def empty(config: AutoregressiveConfig) -> Transformer:
    """The network on the meta device: its parameters have shapes and no bytes."""
    with torch.device("meta"):
        return Transformer(config.network, Grid(1, config.frames, config.height, config.width))


def _ours(path: str | Path, size: str) -> Held:
    folder = store.load_folder(store.find_weights(path, "world"), "world")
    if folder.config.get("kind") != AutoregressiveConfig.__name__ or size:
        raise BadInput(
            f"{folder.path} {'says itself what it is; leave size out' if size else 'holds no autoregressive world'}."
        )
    config, setting = from_json(AutoregressiveConfig, folder.config), from_json(Setting, folder.extra["setting"])
    tensors = {k.removeprefix("network."): v for k, v in folder.tensors.items() if k.startswith("network.")}
    files = (("model.safetensors", folder.sha256),)
    return Held(folder.path, files, folder.path.name, config, tensors, "armillary", setting)


def write(held: Held, out: str | Path, layout: Literal["armillary", "model-pt"], tokenizer: TokenizerRef | None = None) -> Path:
    """Write it as a new folder.

    Args:
        layout: `armillary`: what `worlds.load` reads; `model-pt`: model.pt in the published layout.
        tokenizer: (armillary) what its tokens mean; without, the published one's name without weights.

    Raises:
        BadInput: `out` is there already, a tokenizer of another vocabulary, or a network the published layout has no place for.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists; name a new folder, nothing is overwritten.")
    network = held.config.network
    if layout == "model-pt":
        left = set(held.tensors) - set(empty(held.config).state_dict())
        if network.block > 1 or left:
            raise BadInput(f"{held.path} says {network.block} tokens at once; published networks say one.")
        with store.atomic_dir(out) as temporary:
            # Whoever loads it needs no more than weights_only=True.
            torch.save({k: v.contiguous() for k, v in to_published(network, held.tensors).items()}, temporary / "model.pt")
        return out
    tokenizer = tokenizer or (held.setting.tokenizer if held.setting else TOKENIZER)
    if tokenizer.vocab != network.vocab:
        raise BadInput(f"This world says {network.vocab} tokens; tokenizer {tokenizer.name!r} has {tokenizer.vocab or 'none'}.")
    setting = held.setting or Setting(tokenizer, None, "t5" if network.context_dim else "", network.context_dim, FPS)
    setting = dataclasses.replace(setting, tokenizer=tokenizer)
    tensors = {f"network.{k}": v for k, v in held.tensors.items()}
    if network.context_dim:
        tensors["null"] = torch.zeros(network.context_dim)
    extra = {"setting": setting, "source": held.source}
    return store.save_folder(out, family="world", config=held.config, tensors=tensors, extra=extra)
