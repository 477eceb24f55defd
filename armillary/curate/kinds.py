"""What sort of footage it is, and of what: classifiers over traits, or over the embeddings of a local vision model.

The embedded classifier (`weights/curate-kinds`) is a logistic regression over `filters.traits`: it knows how pictures are made, not what is
in them. What it cannot know is said in `docs/curation-types.md`. With a CLIP or SigLIP folder a head of the same form, trained by the same
recipe on that model's vectors, can take its place; nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from armillary.curate import embed as layout
from armillary.errors import BadInput, require
from armillary.store import find_weights, read_json, sha256_file

TYPES = ("natural", "rendered", "animation", "game", "screen", "abstract")
TOPICS = ("driving", "manipulation", "human", "navigation", "nature", "first person", "dynamic camera", "other")
DEFAULT = "curate-kinds"
FAMILY = "curate-kinds"
TRAITS = "traits"  # the name of the embedded embedder


class Embedder(Protocol):
    """Pictures (uint8 `h w 3`) to one unit vector, float32 `dim`. `name` is written into heads trained on it."""

    name: str
    dim: int

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray: ...


class Layout:
    """The vector of `curate.embed`: no model, always there."""

    name, dim = "layout", layout.DIM

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return layout.embed(list(pictures))


class Local:
    """The image tower of a CLIP- or SigLIP-like model in a local folder, through transformers.

    Raises:
        BadInput: no folder, or one that holds no such model. MissingExtra: without transformers.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise BadInput(f"There is no model at {folder}: an embedder is a local transformers folder with a config.json.")
        hub: Any = require("transformers", "an embedder")
        self.torch: Any = require("torch", "an embedder")
        try:
            self.model = hub.AutoModel.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True
            ).eval()
            self.processor = hub.AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise BadInput(f"{folder} holds no model that transformers can load: {error}") from error
        if not hasattr(self.model, "get_image_features"):
            raise BadInput(f"The model in {folder} has no image tower (get_image_features): give a CLIP or SigLIP folder.")
        self.name = f"{self.model.config.model_type}-{folder.name}"
        self.dim = len(self.embed([np.zeros((32, 32, 3), np.uint8)]))

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        with self.torch.inference_mode():
            batch = self.processor(images=list(pictures), return_tensors="pt")
            features = self.model.get_image_features(pixel_values=batch["pixel_values"])
        each = np.asarray(features.float().cpu(), np.float64)
        mean = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(0)
        return (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)


def embedder(path: str) -> Embedder:
    """The embedder a config asks for: a folder, or with "" the one without any model."""
    return Local(path) if path else Layout()


@dataclass(frozen=True)
class Belief:
    """Args:
    name: the class believed in most. sure: how much, 0 to 1. shares: of every class; they sum to 1.
    """

    name: str
    sure: float
    shares: Mapping[str, float]


class Kinds:
    """Logistic heads over one vector: `type` and `topic`.

    Args:
        heads: name -> (classes, weight `k d`, bias `k`). mean, scale: `d`, of what is squashed into (-1, 1) before the heads.
        embedder: the name of what makes the vector.
    """

    def __init__(
        self,
        heads: Mapping[str, tuple[Sequence[str], np.ndarray, np.ndarray]],
        mean: np.ndarray,
        scale: np.ndarray,
        embedder: str,
    ) -> None:
        self.heads, self.mean, self.scale, self.embedder = dict(heads), mean, scale, embedder

    @property
    def dim(self) -> int:
        return len(self.mean)

    def __call__(self, vector: np.ndarray) -> dict[str, Belief]:
        """Beliefs of every head about a vector `d`."""
        if vector.shape != self.mean.shape:
            raise BadInput(
                f"The type classifier takes vectors of {self.dim} numbers (by {self.embedder}); got {vector.shape[-1]}."
            )
        x = squash(vector, self.mean, self.scale)
        out = {}
        for name, (classes, weight, bias) in self.heads.items():
            logits = weight @ x + bias
            share = np.exp(logits - logits.max())
            share /= share.sum()
            best = int(share.argmax())
            out[name] = Belief(classes[best], float(share[best]), {c: float(s) for c, s in zip(classes, share)})
        return out


def squash(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardised and bounded: a trait far outside of what was seen in training says no more than a great one."""
    return 2.0 * np.tanh((x - mean) / scale / 2.0)


def load(name_or_folder: str | Path = DEFAULT) -> Kinds:
    """The classifier of a weights folder.

    Raises:
        BadInput: missing, of another family, damaged or misshapen.
    """
    folder = find_weights(name_or_folder, "type classifier")
    record, file = read_json(folder / "config.json"), folder / "model.safetensors"
    if not isinstance(record, dict) or record.get("family") != FAMILY:
        raise BadInput(
            f"{folder} holds no type classifier: its family is {record.get('family') if isinstance(record, dict) else None}."
        )
    if not file.is_file() or sha256_file(file) != record.get("sha256"):
        raise BadInput(f"{file} is missing, damaged or was exchanged: it is not the file that config.json names.")
    config, arrays = record["config"], require("safetensors.numpy", "picture types").load_file(str(file))
    dim, heads = len(config["inputs"]), {}
    wanted = {"mean": (dim,), "scale": (dim,)}
    for name, classes in config["heads"].items():
        wanted |= {f"{name}.weight": (len(classes), dim), f"{name}.bias": (len(classes),)}
    if {k: v.shape for k, v in arrays.items()} != wanted:
        raise BadInput(f"The tensors in {file} are not those of its config.json.")
    wide = {k: v.astype(np.float64) for k, v in arrays.items()}
    for name, classes in config["heads"].items():
        heads[name] = (tuple(classes), wide[f"{name}.weight"], wide[f"{name}.bias"])
    return Kinds(heads, wide["mean"], wide["scale"], config["embedder"])
