"""The network over the features: a few dilated convolutions along time, computed in plain NumPy.

Unusual in it: it sees no pixels, only the rows of `features`, and says three things of every frame: that a new shot begins with it, that it
lies inside a gradual transition, and of which kind that would be. Training is `armillary.recipes.shots`; here are only sums of products, so
that curation's workers need no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from armillary.errors import BadInput
from armillary.store import find_weights, read_json, sha256_file

KINDS = ("dissolve", "fade", "wipe")
CLAMP = 6.0  # normalised features are cut off there: what training never saw stays within what it did


@dataclass(frozen=True)
class NetworkConfig:
    """Args: features: numbers a frame; width: channels; dilations: of the residual blocks, three taps each."""

    features: int = 162
    width: int = 48
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)

    @property
    def reach(self) -> int:
        return sum(self.dilations)


@dataclass(frozen=True)
class Beliefs:
    """Of every frame: float32 `n` that a shot begins there, `n` that it is inside a gradual transition, `n 3` of which of `KINDS`."""

    cut: np.ndarray
    gradual: np.ndarray
    kind: np.ndarray


class Network:
    """Tensors: `mean` and `scale` of the features; weight and bias of `enter` (d f), of each of `blocks` (d d 3) and of `leave` (5 d)."""

    def __init__(self, config: NetworkConfig, tensors: dict[str, np.ndarray]) -> None:
        self.config, self.tensors = config, tensors
        shapes = expected(config)
        for name in sorted(shapes.keys() | tensors.keys()):
            got = tensors[name].shape if name in tensors else None
            if got != shapes.get(name):
                raise BadInput(f"The shot network's tensor {name!r} has shape {got}; its config wants {shapes.get(name)}.")

    def __call__(self, rows: np.ndarray) -> Beliefs:
        """`rows`: float32 `n f` of `features`."""
        w = self.tensors
        x = np.clip((rows - w["mean"]) * w["scale"], -CLAMP, CLAMP)
        x = np.maximum(x @ w["enter.weight"].T + w["enter.bias"], 0)
        for i, d in enumerate(self.config.dilations):
            taps = w[f"blocks.{i}.weight"]
            padded = np.pad(x, ((d, d), (0, 0)), mode="edge")
            n = len(x)
            y = padded[:n] @ taps[..., 0].T + padded[d : d + n] @ taps[..., 1].T + padded[2 * d :] @ taps[..., 2].T
            x = x + np.maximum(y + w[f"blocks.{i}.bias"], 0)
        out = x @ w["leave.weight"].T + w["leave.bias"]
        kind = np.exp(out[:, 2:] - out[:, 2:].max(1, keepdims=True))
        sure = 1 / (1 + np.exp(-np.clip(out[:, :2], -30, 30)))
        return Beliefs(sure[:, 0], sure[:, 1], kind / kind.sum(1, keepdims=True))


def expected(c: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor."""
    shapes: dict[str, tuple[int, ...]] = {"mean": (c.features,), "scale": (c.features,)}
    shapes |= {"enter.weight": (c.width, c.features), "enter.bias": (c.width,)}
    for i in range(len(c.dilations)):
        shapes |= {f"blocks.{i}.weight": (c.width, c.width, 3), f"blocks.{i}.bias": (c.width,)}
    return shapes | {"leave.weight": (5, c.width), "leave.bias": (5,)}


@lru_cache(maxsize=4)
def load(name_or_folder: str) -> Network:
    """The network of a shipped name or a checkpoint folder.

    Raises:
        BadInput: when it is none, is damaged, or does not fit its config.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = find_weights(name_or_folder, "shots")
    record = read_json(folder / "config.json")
    if record.get("family") != "shots":
        raise BadInput(f"{folder} holds a {record.get('family')}, not a shot network.")
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != record.get("sha256"):
        raise BadInput(f"{weights} is missing, damaged or was exchanged: its sha256 is not the one config.json names.")
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise BadInput(f"{weights} is not readable: {error}") from error
    c = record["config"]
    config = NetworkConfig(int(c["features"]), int(c["width"]), tuple(int(d) for d in c["dilations"]))
    return Network(config, {k: v.astype(np.float32) for k, v in tensors.items()})
