"""Configs go to JSON and back, take `--set`, and name what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armillary.errors import BadInput
from armillary.presets import from_json, override, to_json


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    kind_of: Literal["cosine", "linear"] = "cosine"


@dataclass(frozen=True)
class Left:
    size: int = 1


@dataclass(frozen=True)
class Right:
    size: int = 2
    name: str = ""


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    steps: int = 10
    flag: bool = False
    sizes: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    either: Left | Right = field(default_factory=Left)
    maybe: float | None = None
    table: Mapping[str, int] = field(default_factory=dict)


text = st.text(max_size=12)
plain = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(
    Inner,
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from(["cosine", "linear"]),
)
outers = st.builds(
    Outer, text, st.integers(-(2**40), 2**40), st.booleans(), st.lists(st.integers(), max_size=4).map(tuple), inners,
    st.one_of(st.builds(Left, st.integers()), st.builds(Right, st.integers(), text)), st.none() | plain,
    st.dictionaries(text, st.integers(), max_size=3),
)  # fmt: skip


@given(outers)
def test_round_trip(config):
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


@given(outers, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_overrides_change_what_they_name_and_nothing_else(config, steps, lr, flag):
    changed = override(config, [f"steps={steps}", f"inner.lr={lr!r}", f"flag={flag}", "sizes=[1, 2]"])
    assert changed == replace(config, steps=steps, flag=flag, sizes=(1, 2), inner=replace(config.inner, lr=lr))
    assert override(config, []) == config


def test_overrides_reach_into_whichever_of_a_union_is_there():
    assert override(Outer(), ["either.size=5"]).either == Left(5)
    assert override(Outer(either=Right()), ["either.name=a=b"]).either == Right(2, "a=b")
    assert override(Outer(), ["maybe=2"]).maybe == 2.0 and override(Outer(maybe=1.0), ["maybe=null"]).maybe is None
    assert override(Outer(), ["maybe=None", "name=12 things", "flag=True"]) == Outer(name="12 things", flag=True)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("steps", "name=value"),
        ("=3", "name=value"),
        ("stps=3", "Did you mean 'steps'"),
        ("inner.lrr=3", "Did you mean 'lr'"),
        ("steps.more=3", "no settings of its own"),
        ("steps=many", "int"),
        ("steps=1.5", "int"),
        ("flag=1", "bool"),
        ("inner.betas=[1]", "2 values"),
        ("inner.betas=3", "list"),
        ("inner.kind_of=cosin", "cosine"),
        ("inner=3", "settings"),
        ("either.name=x", "name"),
    ],
)
def test_what_is_wrong_is_named(given_, words):
    with pytest.raises(BadInput, match=words):
        override(Outer(), [given_])


def test_unknown_keys_and_kinds_in_json_are_errors():
    data = to_json(Outer())
    with pytest.raises(BadInput, match="Did you mean 'steps'"):
        from_json(Outer, {**data, "step": 3})
    with pytest.raises(BadInput, match="settings"):
        from_json(Outer, [])
    with pytest.raises(BadInput):
        from_json(Outer, {**data, "either": {"kind": "Left", "name": "x"}})
    with pytest.raises(BadInput, match="cannot be written as JSON"):
        to_json(object())


def test_what_json_may_hold():
    assert to_json({"a": np.float32(0.5), "b": np.arange(2), "c": Path("x/y"), 3: (1, None)}) == {
        "a": 0.5,
        "b": [0, 1],
        "c": "x/y",
        "3": [1, None],
    }
