"""The built-in text encoder and what counts as a prompt."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import BadInput
from armillary.text import check_prompt
from armillary.text.hashed import HashEncoder, _direction, _word_vector, words


def near(a: str, b: str) -> float:
    return float(_word_vector(a, 48) @ _word_vector(b, 48)) / 48


def test_words():
    assert words("The robot's ARM, (twice) pushes block_2!") == ["the", "robot's", "arm", "twice", "pushes", "block", "2"]
    assert words("ＲＥＤ　block") == ["red", "block"]
    assert words("红色 block方") == ["红", "色", "block", "方"]
    assert words(" ,.;!") == []


def test_spelling_makes_words_near_and_nothing_else_does():
    forms = [("push", "pushes"), ("pushing", "push"), ("block", "blocks"), ("slides", "slide"), ("drop", "drops")]
    assert min(near(a, b) for a, b in forms) > 0.3
    others = "red green blue yellow ball push lift left right front back table camera drops stacks".split()
    apart = [abs(near(a, b)) for a, b in itertools.combinations(others, 2)]
    assert max(apart) < 0.5 and sum(apart) / len(apart) < 0.2


def test_order_matters_and_case_does_not():
    encoder = HashEncoder()
    a, b, c = encoder.encode(["red block left", "left block red", "RED block, left."])[0]
    assert torch.equal(a, c) and not torch.equal(a, b)
    assert torch.equal(a[0, :48], b[2, :48])  # the word's own part does not depend on the place
    assert torch.equal(a[:3, 48:], b[:3, 48:])  # and the place's part not on the word


def test_sizes():
    values, mask = HashEncoder(dim=100, length=4).encode(["the red block"])
    assert values.shape == (1, 4, 100) and mask.tolist() == [[True, True, True, False]]
    assert values[0, :3, :-16].square().mean(-1) == pytest.approx([1.0] * 3, rel=1e-5)
    with pytest.raises(BadInput):
        HashEncoder(dim=16)


def test_directions_are_fixed_for_ever():
    # Checkpoints were trained on these numbers: a change here silently breaks every world that reads text.
    assert _direction("word:red", 48)[:3].tolist() == pytest.approx(RED, abs=1e-12)


RED = [-0.13910945369445876, 0.2706703323822415, -0.06793717506008451]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_encoded(sentence):
    values, mask = HashEncoder(length=64).encode([sentence])
    assert values.isfinite().all() and int(mask.sum()) == len(words(sentence)) <= 64


def test_check_prompt():
    assert check_prompt("  a red block \n") == "a red block"
    assert check_prompt("x" * 10, 10) == "x" * 10
    for wrong, message in (
        ("", "empty"),
        (" \t", "empty"),
        ("x" * 11, "11 characters long; the limit is 10"),
        ("a\x00b", "NUL character at position 1"),
        ("ab\ud800", "surrogate pair at position 2"),
        (3, "got int"),
    ):
        with pytest.raises(BadInput, match=message):
            check_prompt(wrong, 10)
