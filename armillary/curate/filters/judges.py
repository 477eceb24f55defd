"""Learned judges of quality, given as local files: a taste head on embeddings, and any ONNX network that scores a picture.

Neither ships with this package and neither is fetched. Heads are `.safetensors` (no pickle can hide in one): `weight` `1 d` and `bias` `1`
of a linear head, or `0.weight`, `0.bias`, `2.weight` ... of layers with ReLU between them unless metadata say `activation = none`, as the
common aesthetic heads on CLIP have (they were trained without). A perceptual judge such as DOVER has to be exported to ONNX by whoever
has its weights: one input `b 3 h w` in [0, 1], one score a picture.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, require


class Head:
    """A linear head or a perceptron on unit embeddings.

    Args:
        path: a `.safetensors` file.

    Raises:
        BadInput: no such file, or tensors that make no head.
    """

    def __init__(self, path: str | Path) -> None:
        tensors, activation = _tensors(Path(path))
        self.rectified = activation != "none"
        weights = sorted((k for k in tensors if k.endswith("weight")), key=_number)
        self.layers = []
        width = 0
        for name in weights:
            weight = tensors[name]
            bias = tensors.get(name[: -len("weight")] + "bias", np.zeros(weight.shape[:1], np.float32))
            if weight.ndim != 2 or bias.shape != weight.shape[:1] or (width and weight.shape[1] != width):
                raise BadInput(f"{path} makes no head: {name} has shape {weight.shape} after a layer of {width} outputs.")
            width = weight.shape[0]
            self.layers.append((weight.astype(np.float64), bias.astype(np.float64)))
        if not self.layers or width != 1:
            raise BadInput(
                f"{path} makes no head: it should end in one score, not {width}. It needs tensors 'weight' and 'bias'."
            )
        self.dim = self.layers[0][0].shape[1]

    def __call__(self, vector: np.ndarray) -> float:
        """The score of a unit vector `d`."""
        if vector.shape != (self.dim,):
            raise BadInput(f"The head takes embeddings of {self.dim} numbers; this embedder gives {vector.shape[-1]}.")
        x = vector.astype(np.float64)
        for i, (weight, bias) in enumerate(self.layers):
            x = weight @ x + bias
            if self.rectified and i < len(self.layers) - 1:
                x = np.maximum(x, 0.0)
        return float(x[0])


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"\d+", name)
    return (int(found.group()) if found else 0, name)


def _tensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    if path.suffix != ".safetensors":
        raise BadInput(
            f"A quality head is a .safetensors file; {path} is not. Convert it: other formats can run code when read."
        )
    if not path.is_file():
        raise BadInput(f"There is no quality head at {path}.")
    safetensors = require("safetensors", "a quality head")
    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, (file.metadata() or {}).get("activation", "relu")  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise BadInput(f"{path} is no whole safetensors file: {error}.") from error


class Perceptual:
    """An ONNX network from one picture `1 3 h w` in [0, 1] to a score, on one thread.

    Args:
        path: a `.onnx` file.

    Raises:
        BadInput: no such file, not ONNX, or not of that shape.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise BadInput(f"There is no perceptual model at {path}.")
        runtime: Any = require("onnxruntime", "a perceptual model")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise BadInput(f"{path} cannot be read as an ONNX model: {str(error).splitlines()[0]}") from error
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] not in (3, "c", None):
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise BadInput(f"A perceptual model takes one input b 3 h w; {path} takes {shapes}.")
        self.input = inputs[0].name
        self.size = tuple(s if isinstance(s, int) else 0 for s in inputs[0].shape[2:])

    def __call__(self, rgb: np.ndarray) -> float:
        """The score of uint8 `h w 3`; scaled to the network's size where it has a fixed one."""
        cv2 = require("cv2", "picture quality")
        h, w = (fixed or own for fixed, own in zip(self.size, rgb.shape))
        if (h, w) != rgb.shape[:2]:
            rgb = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA)
        batch = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        score = np.asarray(self.session.run(None, {self.input: batch})[0])
        if score.size != 1:
            raise BadInput(f"A perceptual model gives one score a picture; this one gave {score.shape}.")
        return float(score.reshape(()))
