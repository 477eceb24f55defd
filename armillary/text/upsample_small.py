"""The embedded prompt upsampler: reads what a prompt states, completes it to a scene as the simulators have them, and tells that at length.

What is missing in the prompt (other things, their places, table, light) is taken from one of some hundred scenes that were played in a
simulator, the one whose caption the text encoder finds nearest among those that agree best; it is real as a whole. The user's facts take
the place of its own. Whatever is told is read again: a caption that lost or contradicts a fact is not given out.

A prompt it does not understand, or only half (`not`, `two`), keeps its own words and gets a caption's form, nothing invented; words that it
does not know are kept by putting the prompt before the caption.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.sims.words import lexicon
from armillary.sims.words.facts import ARMS, DONE, KINDS, MOVES, ORDERED, PLACES, Fact, Facts, Thing, lost, swap
from armillary.sims.words.read import Reading, read
from armillary.sims.words.tell import Length, tell
from armillary.store import read_json, weights_root
from armillary.text.keep import LIMIT, Fits, faithful, sentence
from armillary.text.prompt import check_prompt
from armillary.text.small import SmallEncoder

MOTION = (*DONE, "move")
WHERE = ("left of", "behind")
TRAFFIC = ("ahead", "oncoming", "following")
TRIES = 6  # wordings of one scene


def to_rows(facts: Facts) -> list[list[Any]]:
    """Facts as plain JSON."""
    return [[f.kind, *([t.colour, t.shape] if t else None for t in (f.who, f.whom)), f.way] for f in facts]


def from_rows(world: str, rows: Sequence[Sequence[Any]]) -> Facts:
    def thing(pair: Any) -> Thing | None:
        return Thing(*pair) if pair else None

    return Facts(world, tuple(Fact(kind, thing(who), thing(whom), way) for kind, who, whom, way in rows))


@dataclass
class SmallUpsampler:
    """Args:
    folder: with the text encoder and its `scenes.json`; the shipped one when None. For worlds that it has no scenes of there are the
        shipped `text-scenes`.
    nearest: take the scene nearest to the prompt; otherwise one drawn by the prompt's letters.
    """

    folder: Path | None = None
    nearest: bool = True

    @property
    def name(self) -> str:
        return "small"

    @functools.cached_property
    def encoder(self) -> SmallEncoder:
        return SmallEncoder(self._folder)

    @property
    def _folder(self) -> Path:
        return self.folder or weights_root() / "text-small"

    @functools.cached_property
    def scenes(self) -> dict[str, list[Facts]]:
        """World -> scenes that were played."""
        out: dict[str, list[Facts]] = {}
        for folder in (weights_root() / "text-scenes", self._folder):
            held = read_json(folder / "scenes.json")
            if not isinstance(held, dict):
                raise BadInput(f"{folder}/scenes.json holds no scenes.")
            out |= {world: [from_rows(world, rows) for rows in scenes] for world, scenes in held.items()}
        return out

    def upsample(self, prompt: str, image: np.ndarray | None = None, fits: Fits | None = None) -> str:
        """See `Upsampler.upsample`. It sees no picture, so with one it adds no things and no surroundings."""
        from armillary.text.upsample import TemplateUpsampler

        prompt = check_prompt(prompt, LIMIT)
        reading = read(prompt)
        world = reading.facts.world
        if image is not None or not world or reading.denied or len(prompt.split()) >= 40:
            return TemplateUpsampler().upsample(prompt, image, fits)
        for made in self._made(prompt, reading):
            if len(made) <= LIMIT and (fits is None or fits(made)) and all(faithful(prompt, made)):
                return made
        return prompt if fits is not None and not fits(sentence(prompt)) else sentence(prompt)

    def _made(self, prompt: str, reading: Reading) -> Any:
        """Captions to choose from, the best first: long ones, then what fits into little room."""
        facts = self.complete(prompt, reading.facts)
        seed = sum(prompt.encode())
        lengths: tuple[Length, ...] = ("long", "plain", "middle") if facts.world == "tabletop" else ("long", "middle")
        for length in lengths:
            for k in range(1 if length == "plain" else TRIES):
                text = tell(facts, length, (seed, k))
                # What was not understood is kept in the user's own words.
                yield f"{sentence(prompt)} {text}" if reading.unknown else text
        for length in lengths[1:]:
            yield f"{sentence(prompt)} {tell(facts, length, seed)}"

    def complete(self, prompt: str, wanted: Facts) -> Facts:
        """A whole scene in which everything of `wanted` is so."""
        pool = self.scenes[wanted.world]
        agreeing = [len(wanted.facts) - len(lost(wanted, s)) + 4 * _same_kind(wanted, s) for s in pool]
        best = [s for s, n in zip(pool, agreeing) if n == max(agreeing)]
        if len(best) > 1:
            if self.nearest:
                shown = self.encoder.pooled([tell(s, "long", i) for i, s in enumerate(best[:40])])
                best = [best[int((shown @ self.encoder.pooled([prompt])[0]).argmax())]]
            else:
                best = [best[sum(prompt.encode()) % len(best)]]
        return joined(wanted, best[0])


def _same_kind(wanted: Facts, scene: Facts) -> int:
    """How many settings and kinds of events of `wanted` the scene has, so that little has to be changed."""
    settings = {(f.kind, f.way) for f in wanted if KINDS[f.kind].single and f.kind in ("experiment", "move")}
    have = {(f.kind, f.way) for f in scene}
    kinds = {f.kind for f in wanted if f.kind in ORDERED or f.kind in DONE}
    return len(settings & have) + len(kinds & {f.kind for f in scene})


def joined(wanted: Facts, scene: Facts) -> Facts:
    """The scene with the wanted facts in the place of its own."""
    scene, names = _named(wanted, scene)
    if wanted.of("empty"):
        scene = scene.without("there", *TRAFFIC)
    told: list[Fact] = []
    for f in wanted:
        for old, new in names.items():
            f = swap(f, old, new)
        told.append(f)
    own = list(scene.facts)
    moved = [f for f in told if f.kind in MOTION]
    if moved and scene.world in ARMS:
        replaced = [f for f in own if f.kind in MOTION]
        told = [replace(f, way=f.way or _way(f, replaced)) for f in told]
        own = [f for f in own if f.kind not in (*MOTION, *WHERE)]
        # A thing that is pushed along needs one that is pushed; the arm begins.
        if any(f.kind == "shove" for f in told) and not any(f.kind in DONE and f.kind != "shove" for f in told):
            first = next(f for f in told if f.kind == "shove")
            told.append(Fact("push", whom=first.who, way=first.way))
    for f in told:
        if KINDS[f.kind].single:
            own = [o for o in own if o.kind != f.kind]
        if f.way in ("halt", "stand"):
            own = [o for o in own if o.kind not in ("pace", "bend", "turn", "reach")]
        if f.kind in TRAFFIC:
            own = [o for o in own if o.kind != f.kind and not (o.kind in TRAFFIC and o.who == f.who)]
        if f.kind in WHERE:
            own = [o for o in own if o.kind not in WHERE]
        if f.kind in ("face", "reach", "strike", "throw"):
            own = [o for o in own if o.kind != f.kind]
        if f.kind == "on":
            own = [o for o in own if o.kind != "on" or {o.who, o.whom}.isdisjoint({f.who, f.whom}) or o == f]
    facts = Facts(scene.world, tuple(dict.fromkeys([*own, *told])))
    if facts.world in MOVES and facts.world not in ARMS and not facts.way("move"):
        facts = replace(facts, facts=(*facts.facts, Fact("move", way=MOVES[facts.world][0])))
    return facts


def _way(fact: Fact, replaced: Sequence[Fact]) -> str:
    """A direction where the prompt names none."""
    if fact.kind not in ("push", "shove"):
        return ""
    return next((f.way for f in replaced if f.way in KINDS["push"].ways), "left")


def _role(facts: Facts, thing: Thing) -> set[tuple[str, str]]:
    """What a thing does in a scene."""
    return {(f.kind, slot) for f in facts for slot in ("who", "whom") if getattr(f, slot) == thing and f.kind != "there"}


def _named(wanted: Facts, scene: Facts) -> tuple[Facts, dict[Thing, Thing]]:
    """(the scene with the wanted things in the place of its most alike, wanted thing -> whole thing)."""
    names: dict[Thing, Thing] = {}
    free = list(scene.things)
    facts = list(scene.facts)
    for thing in wanted.things:
        roles = _role(wanted, thing)

        def alike(t: Thing, thing: Thing = thing, roles: set[tuple[str, str]] = roles) -> float:
            same = (bool(thing.colour) and t.colour == thing.colour) + (bool(thing.shape) and t.shape == thing.shape)
            sort = bool(thing.shape) and (thing.shape in PLACES) == (t.shape in PLACES)  # no place stands in for a thing
            return 3.0 * len(roles & _role(scene, t)) + same + 9.0 * sort

        place = max(free, key=alike, default=None)
        whole = Thing(thing.colour or (place.colour if place else ""), thing.shape or (place.shape if place else ""))
        whole = _completed(whole, {*names.values()}, scene.world)
        if place is None:
            facts.append(Fact("there", whole))
        else:
            free.remove(place)
            # By way of a name that nothing has, lest another thing of the new name is renamed with it.
            facts = [swap(f, place, Thing("?", str(len(names)))) for f in facts]
        names[thing] = whole
    # What is left of the scene's own things gives way in colour: a name stands for one thing.
    taken = {t.colour for t in names.values()}
    for other in free:
        if other.colour in taken:
            spare = [c for c in lexicon.WORLD_COLOURS[scene.world] if c not in taken | {t.colour for t in free}]
            if not spare:
                facts = [f for f in facts if other not in (f.who, f.whom)]
                continue
            new = replace(other, colour=spare[0])
            taken.add(new.colour)
            facts = [swap(f, other, new) for f in facts]
    for k, whole in enumerate(names.values()):
        facts = [swap(f, Thing("?", str(k)), whole) for f in facts]
    return Facts(scene.world, tuple(facts)), names


def _completed(thing: Thing, taken: set[Thing], world: str) -> Thing:
    """A colour and a shape for what has none, different from the others."""
    colours = [c for c in lexicon.WORLD_COLOURS[world] if c not in {t.colour for t in taken}]
    shape = thing.shape or next(iter(lexicon.SHAPES[world]))
    colour = thing.colour or colours[0]
    if Thing(colour, shape) in taken and colours:
        return Thing(colours[0], shape)
    return Thing(colour, shape)
