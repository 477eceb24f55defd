"""Configs are frozen dataclasses; this file turns them into JSON and back, and applies `--set a.b=c`.

No string import paths and no interpolation: a dataclass knows its fields, and a field's annotation knows the type of what goes in it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from armillary.errors import BadInput, did_you_mean

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass (nested at will) as plain dicts, lists, numbers and strings. A union-typed dataclass is tagged with `"kind"`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out: dict[str, Any] = {"kind": type(value).__name__}
        out.update({f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)})
        return out
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "__fspath__"):
        return str(value)
    raise BadInput(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def from_json(cls: type[T], data: Any) -> T:
    """Rebuild a dataclass from what `to_json` wrote. Unknown keys are errors: a typo must not pass silently."""
    return _build(cls, data, cls.__name__)


def override(config: T, assignments: Sequence[str]) -> T:
    """Apply `a.b=value` strings to a dataclass; values are read by the field's type.

    Raises:
        BadInput: for a malformed assignment, an unknown field (with the nearest name) or a value of the wrong type.
    """
    for assignment in assignments:
        path, sep, text = assignment.partition("=")
        if not sep or not path:
            raise BadInput(f"--set wants name=value, for instance optim.lr=1e-4; got {assignment!r}")
        config = _set(config, path.strip().split("."), text.strip(), path.strip())
    return config


def _set(config: Any, path: list[str], text: str, whole: str) -> Any:
    fields = {f.name for f in dataclasses.fields(config)}
    if path[0] not in fields:
        raise BadInput(did_you_mean(f"setting of {type(config).__name__}", path[0], fields) + f" (in {whole!r})")
    current = getattr(config, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(current):
            raise BadInput(f"{path[0]!r} has no settings of its own (in {whole!r}); it is {current!r}")
        return dataclasses.replace(config, **{path[0]: _set(current, path[1:], text, whole)})
    hint = typing.get_type_hints(type(config))[path[0]]
    try:
        raw = json.loads(text)
    except json.JSONDecodeError:
        raw = {"True": True, "False": False, "None": None}.get(text, text)
    return dataclasses.replace(config, **{path[0]: _build(hint, raw, whole)})


def _build(hint: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if data is None and type(None) in options:
            return None
        if isinstance(data, dict) and "kind" in data:
            for option in options:
                if dataclasses.is_dataclass(option) and getattr(option, "__name__", "") == data["kind"]:
                    return _build(option, data, where)
        errors = []
        for option in options:
            if option is type(None):
                continue
            try:
                return _build(option, data, where)
            except BadInput as error:
                errors.append(str(error))
        raise BadInput("; or ".join(errors))
    if origin is typing.Literal:
        if data in typing.get_args(hint):
            return data
        raise BadInput(f"{where} wants one of {list(typing.get_args(hint))}, got {data!r}")
    if dataclasses.is_dataclass(hint):
        if not isinstance(data, dict):
            raise BadInput(f"{where} wants settings, got {data!r}")
        hints = typing.get_type_hints(hint)
        given = {k: v for k, v in data.items() if k != "kind"}
        for key in given:
            if key not in hints:
                raise BadInput(did_you_mean(f"setting of {where}", key, hints))
        return hint(**{k: _build(hints[k], v, f"{where}.{k}") for k, v in given.items()})  # type: ignore[operator]
    if origin in (tuple, list) or hint in (tuple, list):
        if not isinstance(data, (list, tuple)):
            raise BadInput(f"{where} wants a list such as [1, 2], got {data!r}")
        args = typing.get_args(hint)
        kinds = (
            [args[0]] * len(data)
            if args and (origin is list or (len(args) == 2 and args[1] is Ellipsis))
            else list(args or [Any] * len(data))
        )
        if len(kinds) != len(data):
            raise BadInput(f"{where} wants {len(kinds)} values, got {len(data)}")
        items = [_build(k, v, where) for k, v in zip(kinds, data)]
        return items if origin is list or hint is list else tuple(items)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(data, dict):
            raise BadInput(f"{where} wants an object, got {data!r}")
        _, kind = typing.get_args(hint)
        return {k: _build(kind, v, f"{where}.{k}") for k, v in data.items()}
    if hint is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        return float(data)
    if hint is int and isinstance(data, float) and data.is_integer():
        return int(data)
    if isinstance(hint, type) and isinstance(data, hint) and not (hint is int and isinstance(data, bool)):
        return data
    raise BadInput(f"{where} wants {getattr(hint, '__name__', hint)}, got {data!r}")
