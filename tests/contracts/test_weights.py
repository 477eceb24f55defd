"""What ships: every folder loads strictly, has a card, and the whole stays within its budget."""

from __future__ import annotations

import pytest

from armillary import text as texts
from armillary import tokenizers, worlds
from armillary.data import EpisodesConfig, LatentsConfig
from armillary.recipes import RECIPES
from armillary.rollout.critic import load_critic
from armillary.store import load_folder, weights_root
from armillary.worlds.autoregressive.refine import load_refiner

FOLDERS = sorted(p.parent for p in weights_root().glob("*/config.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_a_shipped_checkpoint_loads_and_has_a_card(folder):
    held = load_folder(folder)
    if held.family == "tokenizer":
        assert tokenizers.load(folder.name).sha256 == held.sha256
    elif held.family == "world":
        world = worlds.load(folder.name)
        assert tokenizers.load(world.tokenizer.name).sha256 == world.tokenizer.sha256
    elif held.family == "refiner":
        refiner = load_refiner(folder.name)
        for ref in (refiner.tokens, refiner.latents):
            assert tokenizers.load(ref.name).sha256 == ref.sha256
    elif held.family == "critic":
        assert load_critic(folder.name).sha256 == held.sha256
    card = (folder / "README.md") if (folder / "README.md").is_file() else (folder / "card.json")
    assert folder.name in card.read_text() or held.family in card.read_text()


def test_the_budget_holds():
    total = sum(p.stat().st_size for p in weights_root().rglob("*") if p.is_file())
    assert total < 60e6


@pytest.mark.parametrize("folder", [f for f in FOLDERS if load_folder(f).family == "world"], ids=lambda p: p.name)
def test_a_shipped_world_can_be_trained_on_by_its_recipe(folder):
    world = worlds.load(folder.name)
    config = RECIPES[str(load_folder(folder).extra["recipe"])]("some/data", start=folder.name)
    assert isinstance(config.data, LatentsConfig) and isinstance(config.data.source, EpisodesConfig)
    assert texts.load(config.data.text).name == world.setting.text
    assert tokenizers.load(config.data.tokenizer).sha256 == world.tokenizer.sha256
    assert config.data.source.actions == (world.action_spec is not None)
