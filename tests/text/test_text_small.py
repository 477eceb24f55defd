"""The embedded text encoder, and the upsampler that completes prompts by it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from armillary import text
from armillary.errors import BadInput
from armillary.recipes.text import HELD_SEED, TRAINED, TextConfig, fit, retrieval, save, scenes_of, told_apart
from armillary.sims.words.facts import WORLDS, Fact, Facts, Thing, contradicted, lost
from armillary.sims.words.read import read
from armillary.sims.words.tell import chosen, tell
from armillary.text.small import SmallConfig, SmallEncoder
from armillary.text.small_network import SmallNetwork
from armillary.text.upsample_small import SmallUpsampler, from_rows, joined, to_rows

FOUND = 0.9  # of held-out wordings of held-out scenes; benchmarks/text has the figures
PROMPTS = json.loads((Path(__file__).parents[2] / "benchmarks" / "text" / "prompts.json").read_text())


@pytest.fixture(scope="module")
def small():
    return text.load("small")


@pytest.fixture(scope="module")
def held():
    return {world: scenes_of(world, 30, HELD_SEED) for world in WORLDS}


def test_a_scene_is_found_by_words_never_trained_on(small, held):
    held = {world: held[world] for world in TRAINED}
    found = retrieval(small, held, "long")
    assert found["together"] >= FOUND and min(found.values()) >= FOUND - 0.1, found
    assert min(told_apart(small, held).values()) > 0.65


def test_a_network_learns_saves_and_loads(tmp_path):
    tiny = TextConfig(scenes=6, batch=8, steps=12, network=SmallConfig(buckets=512, dim=32, depth=1, heads=2, hidden=32))
    pools = {"rooms": scenes_of("rooms", 6)}
    net, again = fit(pools, tiny), fit(pools, tiny)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))
    save(net, tmp_path / "made", {"recipe": tiny})
    encoder = text.load(tmp_path / "made")
    assert isinstance(encoder, SmallEncoder) and encoder.name == str(tmp_path / "made") and encoder.dim == 32
    wanted = net([["a", "red", "sofa"]], 4)[2]
    assert torch.allclose(encoder.pooled(["A red sofa"]), wanted, atol=1e-2)


def test_padding_and_neighbours_do_not_matter():
    torch.manual_seed(0)
    net = SmallNetwork(SmallConfig(buckets=64, dim=16, depth=2, heads=2, hidden=16, length=12)).eval()
    with torch.no_grad():
        alone = net([["a", "b"]], 2)
        among = net([["a", "b"], ["c"] * 9, []], 12)
    assert torch.allclose(alone[0][0], among[0][0, :2], atol=1e-5) and torch.allclose(alone[2][0], among[2][0], atol=1e-5)
    assert not among[0][2].any() and not among[2][2].any()


def test_a_world_gets_the_weights_it_was_trained_with(small):
    assert small.name == f"small@{small.sha256[:8]}" and text.load(small.name).sha256 == small.sha256
    with pytest.raises(BadInput, match=r"small@00000000 is wanted"):
        text.load("small@00000000")


# The upsampler ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def up():
    return SmallUpsampler()


@pytest.mark.parametrize("row", PROMPTS, ids=lambda r: r["prompt"][:40])
def test_nothing_a_person_asked_for_is_lost(row, up):
    """Prompts written by hand, with their facts noted by hand."""
    wanted = from_rows(row["world"], row["facts"])
    said = read(up.upsample(row["prompt"]), row["world"]).facts
    assert not lost(wanted, said) and not contradicted(wanted, said)


@pytest.mark.parametrize("world", WORLDS)
def test_nothing_told_is_lost(world, up, held):
    for i, facts in enumerate(held[world][:6]):
        prompt = tell(facts, "short", i, "held")
        said = read(up.upsample(prompt), world).facts
        assert not lost(chosen(facts, "short"), said) and not contradicted(chosen(facts, "short"), said), prompt
        assert read(prompt).facts.world != world or len(said.facts) > len(read(prompt, world).facts.facts)


def test_what_is_not_understood_is_kept_and_nothing_invented(up):
    made = up.upsample("a cat plays the violin")
    assert made.startswith("A cat plays the violin. ")
    assert up.upsample("do not push the red block").startswith("Do not push the red block. The scene is seen")
    assert up.upsample("two red blocks").startswith("Two red blocks. The scene is seen")
    made = up.upsample("a shiny red block is pushed to the left")
    assert made.startswith("A shiny red block is pushed to the left. ") and len(made) > 80
    seen = up.upsample("push the red block left", np.zeros((4, 4, 3), np.uint8))
    assert seen.startswith("Push the red block left. The scene is seen")  # it cannot see the picture, so adds no things


def test_a_short_encoder_gets_a_short_caption(up):
    encoder = text.load("hash")
    for prompt in ("push the red block to the left", "drive through the rain at night"):
        made = up.upsample(prompt, fits=lambda t: encoder.count(t) <= encoder.length)
        assert encoder.count(made) <= encoder.length and not lost(read(prompt).facts, read(made).facts)
    assert up.upsample("push the red block to the left", fits=lambda t: encoder.count(t) <= 32).startswith("A robot arm on a")
    assert up.upsample("red block", fits=lambda t: False) == "red block"


def test_rows_are_json(held):
    for world, scenes in held.items():
        assert from_rows(world, json.loads(json.dumps(to_rows(scenes[0])))) == scenes[0]


def test_wanted_facts_take_the_place_of_a_scenes_own(held):
    red = Thing("red", "bar")
    wanted = Facts("tabletop", (Fact("there", red), Fact("push", whom=red, way="near"), Fact("table", way="wooden")))
    for scene in held["tabletop"]:
        made = joined(wanted, scene)
        assert not lost(wanted, made) and not contradicted(wanted, made)
        assert len({t.colour for t in made.things}) == len(made.things) and len(made.of("table")) == 1
        assert made.of("push", "shove") == (Fact("push", whom=red, way="near"),)
