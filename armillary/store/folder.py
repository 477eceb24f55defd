"""A checkpoint folder: `config.json` + `model.safetensors`, enough to rebuild the model, with hashes, and no pickle anywhere.

`config.json` holds `{"format": 1, "family": "tokenizer"|"world"|..., "config": {...}, ...extra}`. `family` picks the room and
`config.kind` the class; what else belongs to the model (action spec, the tokenizer it was trained on, data hash) lies in `extra`.
Loading is strict: a missing, extra or misshapen tensor is an error, and the file's sha256 must be the one the config names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import BadInput
from armillary.store.atomic import atomic_dir, read_json, sha256_file, write_json
from armillary.store.tensors import write_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True)
class CheckpointFolder:
    """What lies in a folder: `config` as plain JSON, the tensors, and what else was written beside them."""

    path: Path
    family: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    sha256: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def load_into(self, module: nn.Module, assign: bool = False) -> None:
        """Strictly copy the tensors into `module`.

        Args:
            assign: put them in place of its own instead, in their own precision: for one on the meta device.

        Raises:
            BadInput: naming what is missing, unexpected or of another shape.
        """
        own = module.state_dict()
        missing, unexpected = sorted(own.keys() - self.tensors.keys()), sorted(self.tensors.keys() - own.keys())
        shapes = [k for k in own.keys() & self.tensors.keys() if own[k].shape != self.tensors[k].shape]
        if missing or unexpected or shapes:
            wrong = {"missing": missing, "unexpected": unexpected, "of another shape": sorted(shapes)}
            parts = [f"{len(v)} {k} (first: {v[0]})" for k, v in wrong.items() if v]
            raise BadInput(f"The weights in {self.path} do not fit their config: {'; '.join(parts)}.")
        module.load_state_dict(dict(self.tensors), strict=True, assign=assign)


def save_folder(
    path: str | Path, *, family: str, config: Any, tensors: Mapping[str, Tensor], extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint folder atomically.

    Args:
        config: the dataclass that builds the model.
        tensors: its state dict.
        extra: further JSON-able facts.
    """
    with atomic_dir(path) as temporary:
        weights = temporary / "model.safetensors"
        write_tensors(weights, tensors)
        record = {"format": FORMAT, "family": family, "config": config, "sha256": sha256_file(weights)}
        write_json(temporary / "config.json", record | dict(extra or {}))
    return Path(path)


def load_folder(path: str | Path, family: str | None = None) -> CheckpointFolder:
    """Read a checkpoint folder.

    Raises:
        BadInput: when it is not one, is of another family, or its weights are not the ones its config names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not (path / "config.json").is_file():
        raise BadInput(f"{path} is no checkpoint folder: it has no config.json.")
    record = read_json(path / "config.json")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise BadInput(f"{path}/config.json is not of format {FORMAT}, which this version reads.")
    if family is not None and record.get("family") != family:
        raise BadInput(f"{path} holds a {record.get('family')}, not a {family}.")
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise BadInput(f"{path} has a config.json and no model.safetensors.")
    digest = sha256_file(weights)
    if digest != record.get("sha256"):
        raise BadInput(
            f"{weights} is damaged or was exchanged: its sha256 is {digest[:12]}, config.json names {str(record.get('sha256'))[:12]}."
        )
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise BadInput(f"{weights} is not readable: {error}") from error
    extra = {k: v for k, v in record.items() if k not in ("format", "family", "config", "sha256")}
    return CheckpointFolder(path, record["family"], record["config"], tensors, digest, extra)
