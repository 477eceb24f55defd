"""SigLIP and SigLIP 2 as the embedding under a frame classifier's head, from a folder on this machine, by the `transformers` package.

Zhai et al. 2023, Tschannen et al. 2025. Only the image tower is loaded. A picture's vector is the tower's pooled output at unit length; it
knows what things are, as the shipped extractor does not. Weights that the folder lacks, and numbers that are none, raise: the frame rail
then refuses.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, Failed, require
from armillary.store import read_json, sha256_file, sha256_joined

# The model type in config.json -> transformers' class for the image tower alone. SigLIP 2 at a fixed resolution calls itself siglip.
TOWERS = {
    "siglip": "SiglipVisionModel", "siglip_vision_model": "SiglipVisionModel", "siglip2": "Siglip2VisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
}  # fmt: skip


def is_siglip(folder: str | Path) -> bool:
    """Whether there is such a model in `folder`."""
    file = Path(folder) / "config.json"
    return file.is_file() and read_json(file).get("model_type", "") in TOWERS


class Siglip:
    """The embedder, an `Embedder` of `guard.head`.

    Args:
        folder: of the model: config.json, preprocessor_config.json, safetensors; a whole model or its image tower.
        batch: pictures at a time.
        device: empty for a GPU if there is one.

    Raises:
        BadInput: no folder, or no such model in it. MissingExtra: `transformers` is not installed, when the first picture comes.
    """

    name = "siglip"

    def __init__(self, folder: str | Path, batch: int = 16, device: str = "") -> None:
        self.folder, self.batch, self.device = Path(folder), batch, device
        if not (self.folder / "config.json").is_file():
            raise BadInput(f"There is no model at {folder}: the folder of a SigLIP model is wanted, with a config.json.")
        if batch < 1:
            raise BadInput(f"Pictures are embedded 1 or more at a time; got {batch}.")
        self.kind = str(read_json(self.folder / "config.json").get("model_type", ""))
        if self.kind not in TOWERS:
            raise BadInput(f"The model in {folder} is of type {self.kind!r}; SigLIP's are {', '.join(TOWERS)}.")
        files = sorted(self.folder.glob("*.safetensors"))
        if not files or not (self.folder / "preprocessor_config.json").is_file():
            raise BadInput(f"{folder} wants *.safetensors and preprocessor_config.json beside its config.json.")
        # Pixels are prepared as preprocessor_config.json says, so it is part of what vectors depend on.
        told = [sha256_file(f) for f in (*files, self.folder / "config.json", self.folder / "preprocessor_config.json")]
        self.version = sha256_joined(told)[:12]
        self._pair: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def pair(self) -> tuple[Any, Any]:
        """(image processor, image tower), loaded at the first picture and kept."""
        with self._lock:
            if self._pair is None:
                self._pair = self._load()
            return self._pair

    def _load(self) -> tuple[Any, Any]:
        hub, torch = require("transformers", "SigLIP"), require("torch", "SigLIP")
        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = hub.AutoImageProcessor.from_pretrained(str(self.folder), use_fast=False, **safe)
            model, told = getattr(hub, TOWERS[self.kind]).from_pretrained(
                str(self.folder), use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise BadInput(f"{self.folder} holds no SigLIP model that can be read: {error}") from error
        absent = sorted(map(str, (*told["missing_keys"], *told.get("mismatched_keys", ()))))
        if absent:
            raise BadInput(f"{self.folder} lacks weights of its image tower, such as {absent[0]}; they would be random.")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return processor, model.to(device).eval().requires_grad_(False)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """float32 `t d` of unit length for uint8 `t h w 3`.

        Raises:
            BadInput: not such pictures. Failed: the network's numbers are none.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise BadInput(f"Pictures are uint8 t h w 3; got {frames.dtype} {frames.shape}.")
        processor, model = self.pair()
        torch = require("torch")
        parts = []
        for i in range(0, len(frames), self.batch):
            made = processor(images=list(frames[i : i + self.batch]), return_tensors="pt", input_data_format="channels_last")
            with torch.inference_mode():
                parts.append(model(**made.to(model.device)).pooler_output.float().cpu())
        vectors = torch.cat(parts).numpy() if parts else np.zeros((0, int(model.config.hidden_size)), np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or (length <= 0).any():
            raise Failed("the image tower gave NaN, infinity or a vector of no length")
        return (vectors / length).astype(np.float32)
