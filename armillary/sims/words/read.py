"""Sentences to facts: what a prompt or a caption states, in the simulators' vocabulary.

Words and phrases are looked up (the longest first), and the things around a verb become who does it and to whom, by voice. It reads every
sentence `words.tell` writes, and plain English of the same make; what it does not understand it names instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from armillary.sims.words import lexicon
from armillary.sims.words.clauses import acts, deeds, pushes, relations
from armillary.sims.words.facts import ARMS, DONE, GRIPPER, WORLDS, Fact, Facts, Thing
from armillary.sims.words.phrases import Token, norm, phrases, tokens
from armillary.sims.words.sayings import COUNT, DENY, EXPERIMENTS, MOVES


@dataclass(frozen=True)
class Reading:
    """What a text states.

    Args:
        unknown: its words that are in no table, in order; what they add to the text is not among the facts.
        denied: whether it denies something, or counts; what it states is then only half understood.
    """

    facts: Facts
    unknown: tuple[str, ...]
    denied: bool


# What many texts have, so that it does not show whose they are: of a gripper only things, settings and directions count.
UNCOUNTED = ("be", "by", "and", "word", "onto", "beside", "together", "down", "put", "lift", "grasp", "drop")
# Where one statement ends: stops, and an `and` that a new subject follows.
SENTENCE = re.compile(
    r"[.;!?]|,? (?:while|whereas) |, and "
    r"(?=(?:an?|the|it|its|there|in|on|by|to|left|right|behind|what|light|shadows|all|everything|no|straight|near|upon)\b)"
)


def _rest(sentence: list[Token], world: str) -> list[Fact]:
    out = [Fact(t[1], way=t[2]) for t in sentence if t[0] == "set"]
    things = [t[1] for t in sentence if t[0] == "thing"]
    if world == "rooms":
        out += [Fact(t[1], whom=things[0]) for t in sentence if t[0] == "about" and things]
    if world == "driving":
        out += [Fact(t[1], who=things[0]) for t in sentence if t[0] == "traffic" and things]
    mover = any(t[0] == "actor" for t in sentence) or not things or (sentence and sentence[0][0] == "move")
    if world in MOVES and mover and not any(t[0] == "traffic" for t in sentence):
        out += [Fact("move", way=t[1]) for t in sentence if t[0] == "move"][:1]
    return out


def _one(text: str, world: str) -> tuple[Reading, int]:
    """A reading as of one world, and how many phrases of it were known."""
    told: list[Fact] = []
    unknown: list[str] = []
    known, experiments, mentioned = 0, set(), []
    for sentence in re.split(SENTENCE, text):
        items, left = tokens(sentence, world)
        if not items:
            continue
        unknown += left
        known += sum(len(t[1].colour + " " + t[1].shape) > 1 if t[0] == "thing" else t[0] not in UNCOUNTED for t in items)
        mentioned += [t[1] for t in items if t[0] == "thing"]
        experiments |= {t[1] for t in items if t[0] == "experiment"}
        if world == "tabletop":
            told += pushes(items)
        if world == GRIPPER:
            told += deeds(items)
        if world == "physics":
            told += [*acts(items, "strike"), *acts(items, "throw")]
        told += [*relations(items), *_rest(items, world)]
    if world == "physics":
        first = next((name for name in EXPERIMENTS if name in experiments), "")
        told += [Fact("experiment", way=first)] if first else []
    things = _merged(mentioned)
    told = [_resolved(f, things) for f in told]
    out = [*[Fact("there", t) for t in things], *dict.fromkeys(told)]
    moved = any(f.kind in DONE for f in out)
    out = [f for f in out if not (f.kind == "move" and moved and world in ARMS)]
    words = set(norm(text).split())
    denied = bool(words & (COUNT | DENY) - _meant(text, world))
    return Reading(Facts(world, tuple(out)), tuple(unknown), denied), known


def _meant(text: str, world: str) -> set[str]:
    """Words of denial inside phrases that are understood as a whole."""
    said, out = f" {norm(text)} ", set()
    for phrase in phrases(world):
        words = set(phrase.split()) & (DENY | COUNT)
        if words and f" {phrase} " in said:
            out |= words
    for phrase in ("nothing else happens", "nothing happens", "without falling", "not involved", "does not fall", "not move"):
        if f" {phrase} " in said:
            out |= set(phrase.split()) & DENY
    return out


def _merged(mentioned: Sequence[Thing]) -> list[Thing]:
    """Each thing once; half a mention (`the block`) belongs to the one whole thing it fits."""
    whole = list(dict.fromkeys(t for t in mentioned if t.colour and t.shape))
    half = [t for t in dict.fromkeys(mentioned) if not (t.colour and t.shape)]
    return [*whole, *[h for h in half if not any(h.fits(w) for w in whole)]]


def _resolved(fact: Fact, things: Sequence[Thing]) -> Fact:
    def whole(thing: Thing | None) -> Thing | None:
        if thing is None or thing in things:
            return thing
        return next((t for t in things if thing.fits(t)), thing)

    return replace(fact, who=whole(fact.who), whom=whole(fact.whom))


def read(text: str, world: str = "") -> Reading:
    """What `text` states.

    Args:
        world: in whose vocabulary; the one that knows most of it when empty.

    Returns:
        a reading whose facts have `world` "" when nothing was understood.
    """
    readings = [(*_one(text, w), w) for w in ([world] if world else WORLDS)]

    def score(row: tuple[Reading, int, str]) -> tuple[float, int]:
        reading, known, of = row
        strange = [t for t in reading.facts.things if t.colour and t.colour not in lexicon.WORLD_COLOURS[of]]
        return known - (2 * len(reading.unknown) + len(strange)) / 3, len(reading.facts.facts)

    reading, known, _ = max(readings, key=score)
    if not known or not reading.facts.facts:
        return Reading(Facts(""), tuple(norm(text).split()), reading.denied)
    return reading
