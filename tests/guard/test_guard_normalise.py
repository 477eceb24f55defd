"""Reading a prompt: what is hidden comes out, what is innocent stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.guard.measure import DISGUISES
from armillary.guard.normalise import confusables, fold, read, repair, segment

WORDS = frozenset(
    "a man stabs another the robot arm places red cube on blue plate with care beheading behead person kill killing"
    " street building shoot shot table".split()
)


def known(word):
    return word in WORDS


TEXT = "a man stabs another man with care on the street"


@pytest.mark.parametrize("name", sorted(DISGUISES))
def test_every_disguise_is_undone_in_some_view(name):
    views = read(DISGUISES[name](TEXT), known).views
    content = {w for w in TEXT.split() if len(w) >= 3}
    assert any(content <= set(v.split()) for v in views), views


@pytest.mark.parametrize(
    ("hidden", "plain"),
    [
        ("ｂｅｈｅａｄ", "behead"), ("b\u0435he\u0430d", "behead"), ("be\u200bhe\u00adad", "behead"), ("béhèäd", "behead"),
        ("\U0001d41b\U0001d41e\U0001d421\U0001d41e\U0001d41a\U0001d41d", "behead"), ("βεhεαd", "behead"), ("🄱🄴🄷🄴🄰🄳", "behead"),
        ("\U0001f1e7\U0001f1ea\U0001f1ed\U0001f1ea\U0001f1e6\U0001f1e9", "behead"), ("ⓑⓔⓗⓔⓐⓓ", "behead"), ("BEHEAD", "behead"),
    ],
)  # fmt: skip
def test_fold(hidden, plain):
    assert fold(hidden) == plain


@pytest.mark.parametrize(
    "hidden",
    [
        "b e h e a d",
        "b.e.h.e.a.d",
        "b-e-h-e-a-d",
        "b_e_h_e_a_d",
        "be-head",
        "**be**head",
        "b3h3ad",
        "b3h34d",
        "behheeaad",
        "daeheb",
    ],
)
def test_behead_is_found(hidden):
    assert any("behead" in view.split() for view in read(f"the man {hidden} the person", known).views)


@pytest.mark.parametrize(
    "text", ["the robot arm", "a robot-arm table", "a 3d plate on table", "shoot shot shot", "a blue building", "a b"]
)
def test_plain_text_is_left_alone(text):
    assert all(set(text.replace("-", " ").split()) <= set(v.replace("-", " ").split()) for v in read(text, known).views)


def test_repair_never_touches_known_words_and_segment_rebuilds():
    assert all(repair(w, known) == w for w in WORDS)
    assert segment("amanstabsanotherman", known) == "a man stabs another man"


def test_lookalikes_map_to_single_letters():
    table = confusables()
    assert len(table) > 600 and all(len(v) == 1 and "a" <= v <= "z" for v in table.values())
    assert all(code > 127 for code in table)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_can_be_read_and_folding_is_stable(text):
    reading = read(text, known)
    assert all(v == v.strip() and v for v in reading.views)
    assert fold(fold(text)) == fold(text)
