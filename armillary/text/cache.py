"""Embeddings of prompts made beforehand, so that a large encoder need not be there when a world dreams.

prompts/config.json         family, the encoder's name, the sha256 of its weights, dim and length
prompts/<sha256 of the prompt>.safetensors      `values` n dim of its n tokens; prompt and encoder in the metadata
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.errors import BadInput
from armillary.store import atomic_path, read_json, sha256_file, write_json, write_tensors
from armillary.text import pool

if TYPE_CHECKING:
    from torch import Tensor

    from armillary.text.encoders import TextEncoder

FAMILY = "text embeddings"


def key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def weights_hash(folder: Path) -> str:
    """One hash of an encoder's weights: of the sha256 of each file, in order of name; empty where there are none."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return hashlib.sha256("".join(sha256_file(f) for f in files).encode()).hexdigest() if files else ""


def make(encoder: TextEncoder, prompts: Sequence[str], out: str | Path) -> int:
    """Encode prompts into a folder, one by one; those that are there already are passed over, so that a run can be taken up again.

    Returns:
        How many were made.

    Raises:
        BadInput: a prompt that does not fit (those before it are kept), or a folder of another encoder's.
    """
    out = Path(out)
    source = Path(encoder.name)
    record = {
        "family": FAMILY,
        "encoder": source.name if source.is_dir() else encoder.name,
        "sha256": weights_hash(source),
        "dim": encoder.dim,
        "length": encoder.length,
    }
    config = out / "config.json"
    if config.is_file() and read_json(config) != record:
        raise BadInput(f"{out} holds embeddings of another encoder, {read_json(config).get('encoder')!r}; name a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    if not config.is_file():
        write_json(config, record)
    made = 0
    for prompt in dict.fromkeys(p for p in prompts if p.strip()):
        path = out / f"{key(prompt)}.safetensors"
        if path.is_file():
            continue
        values, mask = encoder.encode([prompt])
        about = {"prompt": prompt, "encoder": str(record["encoder"]), "sha256": str(record["sha256"])}
        with atomic_path(path) as temporary:
            write_tensors(temporary, {"values": values[0, : int(mask[0].sum())].contiguous()}, about)
        made += 1
    return made


class CachedEncoder:
    """A `TextEncoder` that knows the prompts of a folder and no others. `sha256` is that of the encoder's weights."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        record = read_json(self.folder / "config.json")
        if not isinstance(record, dict) or record.get("family") != FAMILY:
            raise BadInput(f"{folder} holds no embeddings of prompts.")
        self.encoder, self.sha256 = str(record["encoder"]), str(record["sha256"])
        self.dim, self.length = int(record["dim"]), int(record["length"])

    @property
    def name(self) -> str:
        return str(self.folder)

    def prompts(self) -> list[str]:
        """What it knows."""
        from safetensors import safe_open

        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            with safe_open(path, "pt") as f:
                found.append((f.metadata() or {}).get("prompt", ""))
        return found

    def _values(self, prompt: str) -> Tensor:
        import torch
        from safetensors import SafetensorError, safe_open

        if not prompt.strip():
            return torch.zeros(0, self.dim)
        path = self.folder / f"{key(prompt)}.safetensors"
        if not path.is_file():
            known = self.prompts()
            near = difflib.get_close_matches(prompt, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BadInput(
                f"{self.folder} has no embedding of {prompt[:80]!r}, and {len(known)} others.{hint} Add it: armillary embed."
            )
        try:
            with safe_open(path, "pt") as f:
                about, values = f.metadata() or {}, f.get_tensor("values")
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{path} is cut short or damaged: {error}") from error
        if about.get("prompt") != prompt or about.get("sha256") != self.sha256 or about.get("encoder") != self.encoder:
            raise BadInput(f"{path} is of another prompt or encoder than its folder says; remove it and make it again.")
        if values.ndim != 2 or values.shape[1] != self.dim or len(values) > self.length:
            raise BadInput(f"{path} has values of shape {tuple(values.shape)}; at most {self.length} of {self.dim} are wanted.")
        return values.float()

    def count(self, text: str) -> int:
        return len(self._values(text))

    def encode(self, texts: Sequence[str], cut: bool = False) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.encode`.

        Raises:
            BadInput: a sentence that is not in the folder, with the nearest that is.
        """
        import torch

        if isinstance(texts, str):
            raise BadInput("encode takes a list of sentences; got one sentence.")
        values, mask = torch.zeros(len(texts), self.length, self.dim), torch.zeros(len(texts), self.length, dtype=torch.bool)
        for i, text in enumerate(texts):
            held = self._values(text)
            values[i, : len(held)], mask[i, : len(held)] = held, True
        return values, mask

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.pooled`."""
        return pool.mean(*self.encode(texts))
