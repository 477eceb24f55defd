"""Names to folders: a path is taken as it is; a bare name is looked for among the shipped weights."""

from __future__ import annotations

import os
from pathlib import Path

from armillary.errors import BadInput, did_you_mean
from armillary.store.atomic import read_json


def weights_root() -> Path:
    """The folder of shipped weights: `$ARMILLARY_WEIGHTS`, the one inside an installed wheel, or `weights/` of a checkout."""
    if given := os.environ.get("ARMILLARY_WEIGHTS"):
        return Path(given)
    package = Path(__file__).resolve().parents[1]
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def find_weights(name_or_folder: str | Path, kind: str = "model") -> Path:
    """The checkpoint folder a user means.

    Raises:
        BadInput: with the nearest shipped name, when it is neither a folder nor one of those.
    """
    given = Path(name_or_folder)
    if (given / "config.json").is_file():
        return given
    root = weights_root()
    families = {p.parent.name: read_json(p).get("family") for p in sorted(root.glob("*/config.json"))}
    # Suggestions are of the kind that was asked for; a name of another kind is still found, and refused where it is loaded.
    known = [n for n, family in families.items() if kind not in families.values() or family == kind]
    if str(name_or_folder) in families:
        return root / str(name_or_folder)
    if given.exists():
        raise BadInput(f"{given} exists but is no checkpoint folder: it has no config.json.")
    raise BadInput(did_you_mean(kind, str(name_or_folder), known))
