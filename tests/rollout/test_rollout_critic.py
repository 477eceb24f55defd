"""The critic: what a prompt asks for, which pictures show it, and how the best of several is taken."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import armillary
from armillary import guard, media
from armillary.errors import BadInput
from armillary.recipes import critic as recipe
from armillary.rollout.counter import Counter, CriticConfig
from armillary.rollout.critic import Agreement, Critic, best_of, load_critic
from armillary.rollout.dreamer import Dreamer
from armillary.sims.tabletop import Tabletop
from armillary.sims.words.facts import Fact, Facts, Thing
from armillary.sims.words.tell import tell
from armillary.store import load_folder

SMALL = CriticConfig(widths=(8, 8, 16), blocks=(0, 0, 1))
OPEN = guard.Open()


@pytest.fixture(scope="module")
def critic():
    return load_critic()


@pytest.mark.parametrize("prompt, colours, shapes, pairs", [
    ("A red block and a blue tee lie in the tray.", {"red": 1, "green": 0, "blue": 1, "yellow": 0},
     {"block": 1, "cylinder": 0, "bar": 0, "tee": 1}, 16),
    ("A red block and a red bar lie in the tray.", {"red": 2, "green": 0, "blue": 0, "yellow": 0},
     {"block": 1, "cylinder": 0, "bar": 1, "tee": 0}, 16),
    ("The arm pushes the blue thing to the left.", {"red": 0, "green": 0, "blue": 1, "yellow": 0}, {}, 0),
    ("The arm pushes the block to the left.", {}, {"block": 1, "cylinder": 0, "bar": 0, "tee": 0}, 0),
])  # fmt: skip
def test_a_prompt_settles_counts(prompt, colours, shapes, pairs):
    critic = Critic(Counter(SMALL))
    asked = {SMALL.counted[k]: n for k, n in critic.asked(prompt).items()}
    assert {t.colour: n for t, n in asked.items() if not t.shape} == colours
    assert {t.shape: n for t, n in asked.items() if not t.colour} == shapes
    assert len([t for t in asked if t.colour and t.shape]) == pairs


@pytest.mark.parametrize("prompt, said", [
    ("Two red blocks lie in the tray.", "does not read counts"),
    ("No block lies in the tray.", "does not read counts"),
    ("A stable stack of wooden boxes.", "red, green, blue, yellow"),
    ("Rain over the sea.", "finds nothing to look for"),
])  # fmt: skip
def test_a_prompt_it_cannot_read_is_refused(prompt, said):
    with pytest.raises(BadInput, match=said):
        Critic(Counter(SMALL)).asked(prompt)


def test_the_shipped_one_tells_right_pictures_from_wrong_ones(critic):
    """On scenes that it never saw: the true prompt, the same with one thing more, with one thing less, and of another colour."""
    few, rng, right = Tabletop(fewest=1), np.random.default_rng(0), []
    for seed in range(905_000, 905_024):
        few.reset(seed)
        picture = few.render(("front",), 128)["front"]
        things = list(few.facts.things)
        free = [c for c in SMALL.colours if c not in {t.colour for t in things}]
        extra, at = Thing(str(rng.choice(free)), "bar"), int(rng.integers(len(things)))
        others = [[*things, extra], [Thing(extra.colour, t.shape) if i == at else t for i, t in enumerate(things)]]
        if len(things) > 1:
            others.append(things[:at] + things[at + 1 :])

        told = few.facts.of("table")

        def score(things: list[Thing], picture=picture, told=told) -> float:
            there = tuple(Fact("there", t) for t in things)
            return critic.agreement(picture, tell(Facts("tabletop", (*there, *told)), "long", 3)).score

        right += [score(things) > score(other) for other in others]
    assert np.mean(right) > 0.95


def test_a_thing_too_many_of_a_colour_is_seen(critic):
    twin, enough = Tabletop(fewest=1, twin=True), []
    for seed in range(905_000, 905_016):
        twin.reset(seed)
        picture = twin.render(("front",), 128)["front"]
        once = {o.colour: o for o in twin.objects}
        said = " and ".join(f"a {o.colour} {o.shape}" for o in once.values())
        enough.append(critic.agreement(picture, f"{said} lie in the tray.").number > np.log(0.5))
    assert np.mean(enough) < 0.15


class Fixed(Critic):
    """Agrees with a picture as its first pixel says."""

    def __init__(self) -> None:
        super().__init__(Counter(SMALL), "fixed", "0")

    def agreement(self, picture, prompt):
        return Agreement(float(picture[0, 0, 0]) - 100.0, 0.0)


def test_the_best_of_several_is_taken_and_no_more_are_dreamed_than_needed():
    prompt, frames = "a red block", lambda value: np.full((2, 64, 64, 3), value, np.uint8)
    values = iter([10, 60, 30, 100, 20])
    best = best_of(3, lambda seed: frames(next(values)), Fixed(), prompt, 7)
    assert best.taken == 1 and best.frames[0, 0, 0, 0] == 60 and len(best.seeds) == 3
    again = best_of(5, lambda seed: frames(next(values)), Fixed(), prompt, 7)
    assert again.taken == 0 and again.frames[0, 0, 0, 0] == 100 and again.seeds == best.seeds[:1] == [7]
    assert len(set(best.seeds)) == 3


def test_generate_keeps_the_best_and_its_seed_makes_it_again(tiny, frames, tmp_path):
    painter, words = Dreamer(tiny["diffusion"]), {"prompt": "a red block", "gate": OPEN, "seed": 5, "num_frames": 3}
    fast = {"sampling": {"first_steps": 2}}
    critic = Critic(Counter(SMALL), "untrained", "0")
    made = armillary.generate(painter, best=3, critic=critic, out=tmp_path / "a.mp4", **words, **fast)
    armillary.generate(painter, best=3, critic=critic, out=tmp_path / "b.mp4", **words, **fast)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    best = json.loads((tmp_path / "a.json").read_text())["best"]
    assert best["of"] == 3 and best["critic"]["name"] == "untrained" and best["dreams"][0]["seed"] == 5
    scores = [d["number"] + 0.1 * d["shapes"] for d in best["dreams"]]
    assert best["taken"] == best["dreams"][int(np.argmax(scores))]["seed"] and len(scores) == 3
    alone = armillary.generate(painter, **words | {"seed": best["taken"]}, **fast)
    assert np.array_equal(alone.frames, made.frames) and "best" not in alone.sidecar
    # A painter's pictures are chosen from, and the other world goes on from the chosen one.
    whole = armillary.generate(
        Dreamer(tiny["autoregressive"]), first=painter, best=2, critic=critic, **words | {"num_frames": 9}
    )
    assert len(whole.sidecar["best"]["dreams"]) == 2 and whole.sidecar["given"]["source"] == "painted"
    for bad, said in (({"frames": frames[:2]}, "the start is given"), ({"best": 0}, "at least 1"), ({"critic": "no"}, "no")):
        with pytest.raises(BadInput, match=said):
            armillary.generate(painter, **words | {"best": 2} | bad)


def test_a_wrong_critic_is_named(tmp_path):
    with pytest.raises(BadInput, match="Did you mean 'critic-tabletop'"):
        load_critic("critic-tabletp")
    with pytest.raises(BadInput, match="not a critic"):
        load_critic("frame-c8-tabletop")
    with pytest.raises(BadInput, match="multiples of 8"):
        CriticConfig(widths=(8, 12), blocks=(0, 0))


def test_the_recipe_counts_what_is_there_and_repeats_itself(tmp_path):
    tiny = recipe.CriticRecipe(scenes=6, held=4, batch=4, steps=2, network=SMALL)
    pictures, counts = recipe.scenes(6, 0, SMALL)
    colours, pairs = counts[:, :4], counts[:, 8:]
    assert pictures.shape == (6, 64, 64, 3) and (pairs.sum(1) >= 1).all()
    assert (colours[1::2].amax(1) == 2).all() and (colours[::2].amax(1) == 1).all()
    figures = [recipe.run(tmp_path / name, tiny) for name in "ab"]
    assert figures[0] == figures[1] and set(figures[0]) == {"pictures", "repainted"}
    assert load_folder(tmp_path / "a").sha256 == load_folder(tmp_path / "b").sha256
    assert load_critic(tmp_path / "a").agreement(media.to_frames(torch.zeros(1, 3, 1, 64, 64))[0], "a red block").number < 0
