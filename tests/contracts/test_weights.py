"""What ships: every folder loads strictly, has a card, and the whole stays within its budget."""

from __future__ import annotations

import pytest

from armillary import tokenizers, worlds
from armillary.store import load_folder, weights_root

FOLDERS = sorted(p.parent for p in weights_root().glob("*/config.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_a_shipped_checkpoint_loads_and_has_a_card(folder):
    held = load_folder(folder)
    if held.family == "tokenizer":
        assert tokenizers.load(folder.name).sha256 == held.sha256
    elif held.family == "world":
        world = worlds.load(folder.name)
        assert tokenizers.load(world.tokenizer.name).sha256 == world.tokenizer.sha256
    card = (folder / "README.md") if (folder / "README.md").is_file() else (folder / "card.json")
    assert folder.name in card.read_text() or held.family in card.read_text()


def test_the_budget_holds():
    total = sum(p.stat().st_size for p in weights_root().rglob("*") if p.is_file())
    assert total < 60e6
