"""The table of extractors and how their weights are found and read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from armillary.errors import BadInput, lookup
from armillary.features import i3d, inception, small_network, vgg
from armillary.features.base import Maps
from armillary.presets import from_json
from armillary.store import load_folder, read_tensors, sha256_file, weights_root
from armillary.store.archive import is_archive

SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Kind:
    """Args:
    build: the network, untrained, given its name.
    line: what it is and where its weights come from.
    shipped: folder among the shipped weights; empty when users bring theirs as a file.
    unused: keys of the published file that this network has no use for (a regular expression).
    """

    build: Callable[[str], Maps]
    line: str
    shipped: str = ""
    unused: str = r"(?!)"


FEATURES: dict[str, Kind] = {
    "small": Kind(
        lambda name: small_network.Small(small_network.SmallConfig(), name),
        "embedded; trained by `python -m armillary.recipes.features`",
        "features-small",
    ),
    "vgg19": Kind(vgg.Vgg19, "VGG-19 on ImageNet, a state dict as torchvision stores it", unused=vgg.UNUSED),
    "inception": Kind(
        inception.Inception, "the Inception-v3 of FID, a state dict as pytorch-fid stores it", unused=inception.UNUSED
    ),
    "i3d": Kind(i3d.I3d, "I3D on Kinetics-400, a state dict as pytorch-i3d stores it", unused=i3d.UNUSED),
}


def load(name: str = "small", path: str | Path = "", device: str | torch.device = "cpu") -> Maps:
    """An extractor, in eval mode and without gradients for its own weights.

    Args:
        name: a line of `FEATURES`, or one and its weights in a word: `vgg19=weights/vgg19.pt`.
        path: its weights: a .safetensors, or a .pt or .pth that holds plain tensors (for `small` a checkpoint folder). Empty: the
            shipped ones, or a file `<name>.safetensors|.pt|.pth` in the folder of weights.

    Raises:
        BadInput: no such extractor or weights, or weights of another network.
    """
    name, _, given = name.partition("=")
    path = path or given
    kind = lookup(FEATURES, name, "feature extractor")
    if kind.shipped:
        if not path and not (weights_root() / kind.shipped).is_dir():
            raise BadInput(
                f"The weights of features {name!r} are not at {weights_root() / kind.shipped}. "
                "They are made by: python -m armillary.recipes.features"
            )
        folder = load_folder(path or weights_root() / kind.shipped, small_network.FAMILY)
        network: Maps = small_network.Small(from_json(small_network.SmallConfig, folder.config), name)
        folder.load_into(network)
        network.sha256 = folder.sha256
    else:
        file = _find(name, path)
        network = kind.build(name)
        _fill(network, _tensors(file), file, kind.unused)
        network.sha256 = sha256_file(file)
    return network.to(device).eval().requires_grad_(False)


def untrained(name: str = "small", seed: int = 0) -> Maps:
    """The network with random weights (He), for comparison. Its name says so: `small, untrained`."""
    kind = lookup(FEATURES, name, "feature extractor")
    network = kind.build(f"{name}, untrained")
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            torch.nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
        else:  # the scale of a normalisation is one, a shift is none
            tensor.fill_(1.0 if key.endswith(("bn.weight", "running_var")) else 0.0)
    return network.eval().requires_grad_(False)


def _find(name: str, path: str | Path) -> Path:
    home = weights_root()
    tried = [Path(path)] if path else [home / f"{name}{s}" for s in SUFFIXES]
    for file in tried:
        if file.is_file() and file.suffix in SUFFIXES:
            return file
    where = str(path) if path else f"{home}/{name}{'|'.join(SUFFIXES)}"
    raise BadInput(
        f"There are no weights for features {name!r} at {where} (a {', '.join(SUFFIXES)} of {FEATURES[name].line}). "
        "The embedded extractor needs none: 'small'."
    )


def _tensors(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a file, by name; nothing but plain tensors is read."""
    import pickle

    if file.suffix == ".safetensors" or is_archive(file):
        held: object = read_tensors(file)
    else:  # the format before PyTorch 1.6, in which torchvision's VGG-19 is published
        try:
            held = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
            first = str(error).strip().split("\n")[0][:200]
            raise BadInput(f"{file} is not readable as plain tensors: {first}") from error
    if isinstance(held, dict) and isinstance(held.get("state_dict"), dict):
        held = held["state_dict"]
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise BadInput(f"{file} holds no state dict: names and their tensors are wanted.")
    return held


def _fill(network: Maps, tensors: Mapping[str, Tensor], file: Path, unused: str) -> None:
    """Strictly copy what was read into `network`.

    Raises:
        BadInput: naming what is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    given = {k: v for k, v in tensors.items() if not re.search(unused, k)}
    shapes = sorted(k for k in own.keys() & given.keys() if own[k].shape != given[k].shape)
    wrong = {"missing": sorted(own.keys() - given.keys()), "unexpected": sorted(given.keys() - own.keys()), "misshapen": shapes}
    parts = [f"{len(v)} {k} (first: {v[0]})" for k, v in wrong.items() if v]
    if parts:
        raise BadInput(f"{file} does not hold the weights of features {network.name!r}: {'; '.join(parts)}.")
    broken = sorted(k for k, v in given.items() if v.is_floating_point() and not torch.isfinite(v).all())
    if broken:
        raise BadInput(f"{file} holds values that are not finite, in {len(broken)} tensors (first: {broken[0]}).")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in given.items()}, strict=True)
