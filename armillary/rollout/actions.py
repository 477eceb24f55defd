"""Actions a caller may name instead of listing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from armillary.errors import BadInput, did_you_mean
from armillary.types import ActionSpec


def zeros(spec: ActionSpec, num: int, seed: int) -> np.ndarray:
    """Nothing is done (for a delta spec: the robot holds still)."""
    return np.zeros((num, spec.dim), np.float32)


def play(spec: ActionSpec, num: int, seed: int) -> np.ndarray:
    """A smooth random walk inside the spec's bounds: an Ornstein-Uhlenbeck path with a memory of about eight actions."""
    rng = np.random.default_rng(seed)
    low, high = np.array(spec.low), np.array(spec.high)
    unit = np.zeros(spec.dim)
    path = []
    for _ in range(num):
        unit = 0.88 * unit + 0.35 * rng.normal(size=spec.dim)
        path.append(low + (np.clip(unit, -1, 1) + 1) / 2 * (high - low))
    return np.array(path, np.float32).reshape(num, spec.dim)


ACTIONS: dict[str, Callable[[ActionSpec, int, int], np.ndarray]] = {"play": play, "zeros": zeros}


def read_actions(path: str | Path) -> np.ndarray:
    """Actions `t a` from .npy, .csv (a header line is allowed) or .json (a list of lists).

    Raises:
        BadInput: unreadable, or not a table of numbers.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            values = np.array(json.loads(path.read_text()), np.float32)
        else:
            lines = [line for line in path.read_text().splitlines() if line.strip()]
            if lines and any(c.isalpha() and c not in "eE" for c in lines[0]):
                lines = lines[1:]
            values = np.array([[float(x) for x in line.replace(";", ",").split(",")] for line in lines], np.float32)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} holds no table of actions: {error}") from error
    if values.ndim != 2 or not len(values) or not np.issubdtype(values.dtype, np.number):
        raise BadInput(f"{path} holds {values.dtype} {values.shape}; actions are numbers t a.")
    return values.astype(np.float32)


def resolve_actions(
    given: np.ndarray | Sequence[Sequence[float]] | str | Path | None, spec: ActionSpec | None, num: int, seed: int
) -> tuple[np.ndarray | None, str]:
    """What a caller gave as `num a` floats, and a word for where they come from.

    Raises:
        BadInput: actions for a world without, a wrong width, too few rows, values out of the spec's bounds or not finite.
    """
    if given is None:
        return (None, "none") if spec is None else (play(spec, num, seed), "play")
    if spec is None:
        raise BadInput("This world takes no actions.")
    if isinstance(given, (str, Path)):
        name = str(given)
        if name in ACTIONS:
            return ACTIONS[name](spec, num, seed), name
        if not Path(name).is_file():
            raise BadInput(did_you_mean("action preset or file", name, ACTIONS))
        values, source = read_actions(name), name
    else:
        values, source = np.asarray(given, np.float32), "array"
    if values.ndim != 2 or values.shape[1] != spec.dim:
        raise BadInput(f"This world takes actions of width {spec.dim} ({', '.join(spec.names)}); got shape {values.shape}.")
    if len(values) < num:
        raise BadInput(f"{num} dreamed frames want {num} actions; got {len(values)}.")
    values = values[:num]
    if not np.isfinite(values).all():
        raise BadInput("Actions must be finite numbers.")
    low, high = np.array(spec.low), np.array(spec.high)
    slack = 1e-4 * (high - low)
    if ((values < low - slack) | (values > high + slack)).any():
        worst = int(np.argmax(np.maximum(low - values, values - high).max(axis=0)))
        raise BadInput(
            f"Action {spec.names[worst]!r} must lie in [{low[worst]:g}, {high[worst]:g}] {spec.units[worst]}; "
            f"got {values[:, worst].min():g} to {values[:, worst].max():g}."
        )
    return values, source
