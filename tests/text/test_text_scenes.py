"""Scenes that the upsampler completes from: of every world the encoder was not made with, and the same at every run."""

from __future__ import annotations

import json

from armillary.recipes import scenes
from armillary.recipes.text import TRAINED
from armillary.sims.words.facts import WORLDS


def test_scenes_are_of_the_other_worlds_and_the_same_again(tmp_path):
    first, second = (scenes.run(tmp_path / name, 2) for name in ("a", "b"))
    held = json.loads(first.read_text())
    assert set(held) == set(WORLDS) - set(TRAINED) and held
    assert all(len(rows) == 2 for rows in held.values())
    assert first.read_bytes() == second.read_bytes()
