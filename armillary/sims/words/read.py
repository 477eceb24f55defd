"""Sentences to facts: what a prompt or a caption states, in the simulators' vocabulary.

Words and phrases are looked up (the longest first), and the things around a verb become who does it and to whom, by voice. It reads every
sentence `words.tell` writes, and plain English of the same make; what it does not understand it names instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from armillary.sims.words.facts import WORLDS, Fact, Facts, Thing
from armillary.sims.words.phrases import COUNT, DENY, EXPERIMENTS, MOVES, Token, norm, phrases, tokens


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


NOBODY: Token = ("actor",)
# Where one statement ends: stops, and an `and` that a new subject follows.
SENTENCE = re.compile(
    r"[.;!?]|,? (?:while|whereas) |, and "
    r"(?=(?:an?|the|it|its|there|in|on|by|to|left|right|behind|what|light|shadows|all|everything|no|straight|near|upon)\b)"
)


def _voice(sentence: list[Token], at: int, form: str) -> tuple[list[Thing], list[Thing] | None]:
    """(who was acted upon, who acted: None for the world's own actor) of the verb at `at`."""
    verbs = [i for i, t in enumerate(sentence) if t[0] in ("push", "strike", "throw", "shove")]
    low = max([v for v in verbs if v < at], default=-1)
    high = min([v for v in verbs if v > at], default=len(sentence))

    def group(start: int, step: int, stop: int) -> list[Thing]:
        """The nearest run of things from `start` on, past other tokens."""
        found: list[Thing] = []
        i = start
        while i != stop:
            if sentence[i][0] == "thing":
                found.append(sentence[i][1])
            elif found and sentence[i][0] != "and":
                break
            i += step
        return found[::step]

    after = group(at + 1, 1, high)
    by = next((i for i in range(at + 1, high) if sentence[i][0] == "by"), -1)
    before_by = next((i for i in range(at - 1, low, -1) if sentence[i][0] == "by"), -1)
    be = at > 0 and sentence[at - 1][0] == "be"
    passive = form in ("pp", "past") and (be or by >= 0 or before_by >= 0 or not after)
    before = group(at - 1, -1, low)
    if passive:
        start = by if by >= 0 else before_by
        agent: list[Thing] | None = None
        if start >= 0:
            nearest = next((t for t in sentence[start + 1 :] if t[0] in ("actor", "thing")), NOBODY)
            agent = [nearest[1]] if nearest[0] == "thing" else None
        patients = [t for t in before if agent is None or t not in agent]
        if not patients:
            things = [t[1] for t in sentence[at + 1 : high] if t[0] == "thing"]
            patients = [t for t in (things if agent else after) if agent is None or t not in agent]
        return patients, agent
    acting = next((t for t in reversed(sentence[:at]) if t[0] in ("actor", "thing")), NOBODY)
    agent = [acting[1]] if acting[0] == "thing" else None
    if not after:  # the thing itself is on the move
        return ([acting[1]] if agent else []), None
    return after, agent


def _pushes(sentence: list[Token]) -> list[Fact]:
    out: list[Fact] = []
    # «pushed by the arm, the block moves left»: the second verb tells only the way.
    by = [i for i, t in enumerate(sentence) if t[0] == "push" and ("by",) in sentence[i + 1 : i + 3]]
    if by:
        for i, t in enumerate(sentence):
            rest = sentence[i + 1 : next((j for j in by if j > i), len(sentence))]
            if t[0] == "push" and i not in by and not any(r[0] == "thing" for r in rest):
                sentence = [*sentence[:i], ("go", t[1]), *sentence[i + 1 :]]
    verbs = [i for i, t in enumerate(sentence) if t[0] == "push"]
    for n, at in enumerate(verbs):
        patients, agent = _voice(sentence, at, sentence[at][1])
        end = verbs[n + 1] if n + 1 < len(verbs) else len(sentence)
        pairs = _paired(sentence[at + 1 : end], patients)
        ways = [t[1] for t in sentence[at + 1 : end] if t[0] == "way"] or [t[1] for t in sentence if t[0] == "way"]
        for thing in patients:
            way = pairs.get(thing) or (ways[0] if ways else "")
            if agent:
                out.append(Fact("shove", agent[0], thing, way))
            else:
                out.append(Fact("push", whom=thing, way=way))
        later = [t for t in pairs if t not in patients]
        out += [Fact("push", whom=t, way=pairs[t]) for t in later if not agent]
    if not verbs:
        for at, token in enumerate(sentence):
            ways = [t[1] for t in sentence if t[0] == "way"]
            moved = [t[1] for t in sentence[:at] if t[0] == "thing"]
            if token[0] == "go" and ways:
                out += [Fact("push", whom=t, way=ways[0]) for t in moved]
        if not out and not any(t[0] in ("go", "relation", "has") for t in sentence):
            things = [t[1] for t in sentence if t[0] == "thing"]
            ways = [t[1] for t in sentence if t[0] == "way"]
            if len(things) == 1 and len(ways) == 1:  # «red block left»
                out.append(Fact("push", whom=things[0], way=ways[0]))
    return out


def _paired(items: Sequence[Token], patients: Sequence[Thing]) -> dict[Thing, str]:
    """`A and B to the left, and C to the right`: each thing with the way that follows it."""
    if len([t for t in items if t[0] == "way"]) < 2:
        return {}
    out: dict[Thing, str] = {}
    waiting: list[Thing] = list(patients) if not any(t[0] == "thing" for t in items[:1]) else []
    for t in items:
        if t[0] == "thing":
            waiting.append(t[1])
        elif t[0] == "way":
            out |= {thing: t[1] for thing in waiting}
            waiting = []
        elif t[0] in ("actor", "relation"):
            break
    return out


def _acts(sentence: list[Token], kind: str) -> list[Fact]:
    """Strikes and throws: always one thing and another."""
    out = []
    for at, token in enumerate(sentence):
        if token[0] == kind:
            patients, agent = _voice(sentence, at, token[1])
            if agent is None:
                after = [t[1] for t in sentence[at + 1 :] if t[0] == "thing" and t[1] not in patients]
                agent = after[:1] if any(t[0] == "by" for t in sentence[at:]) else None
            if patients and agent:
                out.append(Fact(kind, agent[0], patients[0]))
    return out


def _relations(sentence: list[Token]) -> list[Fact]:
    out = []
    for at, token in enumerate(sentence):
        if token[0] not in ("relation", "has"):
            continue
        if token[0] == "relation" and sentence[at + 1 : at + 2] and sentence[at + 1][0] != "thing":
            continue  # behind what is not said
        others = [i for i, t in enumerate(sentence) if t[0] in ("relation", "has")]
        low = max([i for i in others if i < at], default=-1)
        high = min([i for i in others if i > at], default=len(sentence))
        before = [t[1] for t in sentence[low + 1 : at] if t[0] == "thing"]
        after = [t[1] for t in sentence[at + 1 : high] if t[0] == "thing"]
        if token[0] == "has":
            pair = before[-2:]
        elif before:
            pair = [before[-1], *after[:1]]
        else:  # «behind A lies B»
            pair = after[1::-1]
        if len(pair) == 2 and pair[0] != pair[1]:
            out.append(Fact(token[1], *(pair[::-1] if token[2] else pair)))
    return out


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
        known += sum(
            len(t[1].colour + " " + t[1].shape) > 1 if t[0] == "thing" else t[0] not in ("be", "by", "and", "word")
            for t in items
        )
        mentioned += [t[1] for t in items if t[0] == "thing"]
        experiments |= {t[1] for t in items if t[0] == "experiment"}
        if world == "tabletop":
            told += _pushes(items)
        if world == "physics":
            told += [*_acts(items, "strike"), *_acts(items, "throw")]
        told += [*_relations(items), *_rest(items, world)]
    if world == "physics":
        first = next((name for name in EXPERIMENTS if name in experiments), "")
        told += [Fact("experiment", way=first)] if first else []
    things = _merged(mentioned)
    told = [_resolved(f, things) for f in told]
    out = [*[Fact("there", t) for t in things], *dict.fromkeys(told)]
    moved = any(f.kind in ("push", "shove") for f in out)
    out = [f for f in out if not (f.kind == "move" and moved and world == "tabletop")]
    words = set(norm(text).split())
    denied = bool(words & COUNT) or bool(words & DENY - _meant(text, world))
    return Reading(Facts(world, tuple(out)), tuple(unknown), denied), known


def _meant(text: str, world: str) -> set[str]:
    """Words of denial inside phrases that are understood as a whole."""
    said, out = f" {norm(text)} ", set()
    for phrase in phrases(world):
        words = set(phrase.split()) & DENY
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
    reading, known, _ = max(readings, key=lambda r: (r[1] - 2 * len(r[0].unknown) / 3, len(r[0].facts.facts)))
    if not known or not reading.facts.facts:
        return Reading(Facts(""), tuple(norm(text).split()), reading.denied)
    return reading
