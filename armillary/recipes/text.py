"""The embedded text encoder that ships as `text-small`: wordings of simulated scenes, near where they state the same, apart where not.

    python -m armillary.recipes.text --out OUT

Scenes come from every simulator with facts, played by its scripted policies, and from altering single facts of those. Wordings that
`words.lexicon` and `words.patterns` mark as held out are never trained on.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from armillary.progress import Progress
from armillary.recipes.alone import alone
from armillary.sims import make
from armillary.sims.words import lexicon
from armillary.sims.words.facts import ORDERED, Facts, altered, lost
from armillary.sims.words.tell import Length, chosen, tell
from armillary.store import save_folder, write_text
from armillary.text.hashed import words
from armillary.text.small import FAMILY, SmallConfig, SmallEncoder
from armillary.text.small_network import SmallNetwork, pieces
from armillary.text.upsample_small import to_rows

# The worlds that `text-small` was made of: more would be other weights.
TRAINED = ("tabletop", "physics", "rooms", "driving")
LENGTHS: tuple[Length, ...] = ("short", "middle", "long")
MARKS = 4096  # rows that marks are hashed to
MODIFIERS = "bright deep jet snow rose leaf grass coloured passenger delivery long thin plain brown even clear".split()
HELD_SEED = 900_000  # the first simulator seed of scenes that are measured on


@dataclass(frozen=True)
class TextConfig:
    """How the encoder is trained.

    Args:
        scenes: of each simulator; shown: of those the ones the upsampler may complete prompts from.
        batch: scenes a step, each with a second wording and one that differs in a fact.
        steps; rate: peak of the learning rate; heat: temperature of the contrast, `contrast`: its weight beside naming the facts.
        network: its sizes.
    """

    scenes: int = 400
    shown: int = 100
    batch: int = 32
    steps: int = 1800
    rate: float = 2e-3
    heat: float = 0.05
    contrast: float = 1.0
    decay: float = 0.99
    seed: int = 0
    network: SmallConfig = field(default_factory=SmallConfig)


def scenes_of(world: str, count: int, first: int = 0) -> list[Facts]:
    """Facts of `count` played episodes from seed `first` on, each seen by one of the cameras."""
    sim = make(world)
    out = []
    policies = list(sim.policies.values())
    for seed in range(first, first + count):
        sim.reset(seed)
        rng = np.random.default_rng(seed)
        act = policies[seed % len(policies)]
        for _ in range(
            0 if world == "physics" else int(rng.integers(8, 33))
        ):  # what becomes of an experiment is decided at its start
            sim.step(act(sim, rng))
        out.append(sim.facts)  # type: ignore[attr-defined]
    return out


def varied(facts: Facts, rng: np.random.Generator, most: int = 4) -> Facts:
    """The scene with up to `most` facts altered: so there are more scenes than were played."""
    for _ in range(int(rng.integers(most + 1))):
        facts = other(facts, rng)
    return facts


def other(facts: Facts, rng: np.random.Generator, length: Length = "long") -> Facts:
    """The scene but for one fact, one that a text of that length states."""
    for _ in range(6):
        made = altered(facts, rng, lexicon.WORLD_COLOURS[facts.world], tuple(lexicon.SHAPES[facts.world]))
        if lost(chosen(facts, length), chosen(made, length)):
            return made
    return made


Told = tuple[str, Facts]  # a text and what it states


def part(facts: Facts, rng: np.random.Generator, most: int = 3) -> Facts:
    """One to `most` statements of a scene, with the things or without."""
    options = [f for f in facts if f.kind not in ("there", "floor", "street", "weather")]
    told = [options[int(i)] for i in rng.permutation(len(options))[: int(rng.integers(1, most + 1))]]
    if rng.random() < 0.4 or not told:
        told += facts.of("there", "floor", "empty")
    if facts.world == "driving" and rng.random() < 0.4:
        told += facts.of("street", "weather")
    return Facts(facts.world, tuple(f for f in facts if f in told))


def triplets(
    pools: dict[str, list[Facts]], size: int, rng: np.random.Generator, parts: float = 0.4
) -> tuple[list[Told], list[Told], list[Told]]:
    """Texts, other wordings of the same scenes, and wordings of scenes that differ in a fact which both texts state."""
    # A tabletop's few colours and shapes are the hardest to tell apart, and experiments are told in the most ways.
    worlds = [w for w in pools for _ in range(2 if w in ("tabletop", "physics") else 1)]
    if rng.random() < 0.6:
        worlds = [worlds[int(rng.integers(len(worlds)))]]
    texts: tuple[list[Told], list[Told], list[Told]] = ([], [], [])
    for _ in range(size):
        pool = pools[worlds[int(rng.integers(len(worlds)))]]
        facts = varied(pool[int(rng.integers(len(pool)))], rng)
        a: Length = LENGTHS[int(rng.choice(3, p=(0.2, 0.4, 0.4)))]
        b: Length = LENGTHS[int(rng.choice(3, p=(0.2, 0.4, 0.4)))]
        if rng.random() < parts:  # a few clauses: who did what to whom is learned from them, not from whole captions
            facts, a, b = part(facts, rng), "long", "long"
        wrong = other(facts, rng, a if LENGTHS.index(a) < LENGTHS.index(b) else b)
        rows: tuple[tuple[Facts, Length], ...] = ((facts, a), (facts, b), (wrong, b))
        for group, (scene, length) in zip(texts, rows):
            group.append((tell(scene, length, int(rng.integers(1 << 30))), chosen(scene, length)))
    return texts


def marks(facts: Facts) -> list[int]:
    """What a text states as hashed names, who and whom apart: `tabletop: push red block left`, `tabletop: shove who red block`."""
    out = {facts.world}
    for f in facts:
        if f.kind in ORDERED:
            pairs = [(slot, t) for slot, t in (("who", f.who), ("whom", f.whom)) if t]
            out |= {f"{f.kind} {slot} {t.colour} {t.shape}" for slot, t in pairs}
            out.add(" ".join([f.kind, *(f"{slot} {t.colour} {t.shape}" for slot, t in pairs)]))
            out |= {f"{f.kind} {f.way}"} if f.way else set()
        else:
            thing = f.who or f.whom
            out.add(" ".join([f.kind, *([thing.colour, thing.shape] if thing else []), f.way]).strip())
    return [zlib.crc32(f"{facts.world}: {mark}".encode()) % MARKS for mark in sorted(out)]


def fit(pools: dict[str, list[Facts]], c: TextConfig) -> SmallNetwork:
    """Train on scenes. Every random number comes from `c.seed`."""
    torch.manual_seed(c.seed)
    rng = np.random.default_rng([0x7E47, c.seed])
    net = SmallNetwork(c.network)
    head = torch.nn.Linear(c.network.pooled, MARKS)  # is left behind: what it asks for stays in the vectors
    torch.nn.init.constant_(head.bias, -5.0)
    optim = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=c.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, c.rate, total_steps=c.steps, pct_start=0.1)
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    labels, known = torch.arange(c.batch), set[str]()
    with Progress("text encoder", c.steps) as bar:
        for _ in range(c.steps):
            groups = triplets(pools, c.batch, rng)
            told = [pair for group in groups for pair in group]
            known.update(w for t, _ in told for w in words(t))
            pooled = _pooled(net, [_upset(words(t), rng) for t, _ in told])
            a, b, wrong = pooled.chunk(3)
            near = torch.cat([a @ b.T, a @ wrong.T], 1) / c.heat
            back = torch.cat([b @ a.T, (b * wrong).sum(1, keepdim=True)], 1) / c.heat
            contrast = functional.cross_entropy(near, labels) + functional.cross_entropy(back, labels)
            wanted = torch.zeros(len(told), MARKS)
            for i, (_, facts) in enumerate(told):
                wanted[i, marks(facts)] = 1.0
            stated = functional.binary_cross_entropy_with_logits(head(16 * pooled), wanted, reduction="none").sum(1).mean()
            loss = stated + c.contrast * contrast
            optim.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optim.step()
            schedule.step()
            for k, v in net.state_dict().items():
                average[k].lerp_(v, 1 - c.decay)
            bar.advance(stated=f"{stated.item():.2f}", contrast=f"{contrast.item():.2f}")
    net.load_state_dict(average)
    _forgotten(net, known)
    return net.eval()


def _pooled(net: SmallNetwork, texts: Sequence[Sequence[str]], parts: int = 4) -> torch.Tensor:
    """Sentence vectors `b p`, short texts with short ones, so that little is computed on padding."""
    order = np.argsort([len(t) for t in texts], kind="stable")
    groups = np.array_split(order, parts)
    made = [net([texts[i] for i in g], min(net.config.length, max(len(texts[i]) for i in g)))[2] for g in groups]
    return torch.cat(made)[torch.from_numpy(np.argsort(order))]


def _upset(text: list[str], rng: np.random.Generator) -> list[str]:
    """A few words misspelt out of recognition, and others put in that mean nothing there.

    What is not known must not upset the rest: neither a new word, nor a `bright` that is no part of a colour's name.
    """
    out = []
    for word in text:
        dice = rng.random(3)
        if dice[0] < 0.09:
            out.append(MODIFIERS[int(rng.integers(len(MODIFIERS)))] if dice[1] < 0.6 else f"x{int(rng.integers(10_000))}")
        out.append(f"{word[:2]}{int(rng.integers(1000))}" if dice[2] < 0.05 else word)
    return out


def _forgotten(net: SmallNetwork, known: set[str]) -> None:
    """Rows of the table that no word in training had a part in say nothing, rather than what chance put there."""
    rows = {row for word in known for row in pieces(word, net.config.buckets)}
    unused = torch.ones(net.config.buckets, dtype=torch.bool)
    unused[list(rows)] = False
    with torch.no_grad():
        net.embed.weight[unused] = 0.0


def retrieval(encoder: Any, pools: dict[str, list[Facts]], length: Length, seed: int = 0) -> dict[str, float]:
    """Share of held-out wordings of that length whose nearest long caption is of a scene in which all that they state is so.

    Each world's scenes are searched among themselves; `together` takes as many in all from the worlds in turn.
    """
    sets = dict(pools)
    count = min(len(p) for p in pools.values())
    sets["together"] = [p[i] for i in range(count) for p in pools.values()][:count]
    out = {}
    for name, scenes in sets.items():
        shown = encoder.pooled([tell(f, "long", (seed, i)) for i, f in enumerate(scenes)])
        asked = encoder.pooled([tell(f, length, (seed, i, 1), "held") for i, f in enumerate(scenes)])
        best = (asked @ shown.T).argmax(1).tolist()
        right = [f.world == scenes[k].world and not lost(chosen(f, length), scenes[k]) for f, k in zip(scenes, best)]
        out[name] = float(np.mean(right))
    return out


def told_apart(encoder: Any, pools: dict[str, list[Facts]], seed: int = 0) -> dict[str, float]:
    """Share of scenes whose held-out wording is nearer to their own caption than to that of a scene with one fact altered."""
    out = {}
    for world, scenes in pools.items():
        rng = np.random.default_rng([seed, *world.encode()])
        asked = encoder.pooled([tell(f, "long", (seed, i, 1), "held") for i, f in enumerate(scenes)])
        own = encoder.pooled([tell(f, "long", (seed, i)) for i, f in enumerate(scenes)])
        wrong = encoder.pooled([tell(other(f, rng), "long", (seed, i, 2)) for i, f in enumerate(scenes)])
        out[world] = float(((asked * own).sum(1) > (asked * wrong).sum(1)).float().mean())
    return out


def save(net: SmallNetwork, out: str | Path, facts: dict[str, Any]) -> Path:
    """A checkpoint folder, tensors in half precision."""
    return save_folder(
        out, family=FAMILY, config=net.config, tensors={k: v.half() for k, v in net.state_dict().items()}, extra=facts
    )


def run(out: str | Path, config: TextConfig | None = None) -> dict[str, Any]:
    """Train, measure on scenes and wordings that were held out, write the folder; gives the figures."""
    c, began = config or TextConfig(), time.process_time()
    pools = {w: scenes_of(w, c.scenes) for w in TRAINED}
    net = fit(pools, c)
    spent = round(time.process_time() - began)
    save(net, out, {"recipe": c})
    shown = {w: [to_rows(f) for f in scenes[: c.shown]] for w, scenes in pools.items()}
    encoder = SmallEncoder(out)
    held = {w: scenes_of(w, 100, HELD_SEED) for w in TRAINED}
    figures = {length: retrieval(encoder, held, length) for length in LENGTHS} | {"one fact": told_apart(encoder, held)}
    save(net, out, {"recipe": c, "held_out": figures, "cpu_s": spent})
    write_text(Path(out) / "scenes.json", json.dumps(shown, separators=(",", ":")) + "\n")
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    alone(__doc__, run, TextConfig(), arguments)


if __name__ == "__main__":
    main()
