"""The words of sentences as tokens: which phrase of a world's vocabulary each is (the longest first), and things put together."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from armillary.sims.words import lexicon
from armillary.sims.words.facts import ARMS, GRIPPER, Thing, ways_of
from armillary.sims.words.sayings import (
    ABOUT,
    COMMON,
    DEEDS,
    EXPERIMENTS,
    FAR_SIDES,
    HAS,
    MOVES,
    MOVES_ABOUT,
    OTHER,
    RELATIONS,
    SAID,
    SIDE,
    TRAFFIC,
    UNTOUCHED,
)
from armillary.sims.words.verbs import inflect


def norm(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold()))


@functools.cache
def phrases(world: str) -> Mapping[str, tuple[str, ...]]:
    """Phrase -> token of a world's vocabulary."""
    out: dict[str, tuple[str, ...]] = {}

    def put(phrase: str, *token: str, over: bool = True) -> None:
        key = norm(phrase)
        if over or key not in out:
            out[key] = token

    for word, colour in lexicon.words_of(lexicon.COLOURS).items():
        put(word, "colour", colour)
    for word, shape in lexicon.words_of(lexicon.SHAPES[world]).items():
        put(word, "shape", shape)
        put(word + "s", "shape", shape)
    for word in lexicon.ACTORS[world]:
        if world != "driving" or word != "car":
            put(lexicon.bare(word), "actor")
    if world in ARMS:
        put("left alone", "be")
        put("left untouched", "be")
        for phrase, side in SIDE.items():
            put(phrase, "way", side)
        for side, forms in lexicon.WAYS["side"].items():
            for form in forms:
                put(lexicon.bare(form), "way", side)
        for side in ("left", "right", "above"):
            for form in lexicon.WAYS["light"][side]:
                put(lexicon.bare(form), "set", "light", side)
        for base in lexicon.VERBS["push"]:
            for form in ("plain", "s", "past", "pp", "ing"):
                put(inflect(lexicon.bare(base), form), "push", form)
        for base in lexicon.VERBS["go"]:
            for form in ("plain", "s", "past", "ing"):
                put(inflect(lexicon.bare(base), form), "go", form, over=False)
        for value in ("roam", "rest") if world == "tabletop" else ("hover", "rest"):
            for base in lexicon.VERBS[value]:
                for form in ("plain", "s", "past", "ing"):
                    put(inflect(lexicon.bare(base), form), "set", "move", value)
        for value in ways_of(world, "table"):
            for form in lexicon.WAYS["table"][value]:
                put(f"{lexicon.bare(form)} table", "set", "table", value)
        put("wood table", "set", "table", "wooden")
        for phrase in ("stays still", "not moving", "idle", "does nothing", "is still", "motionless"):
            put(phrase, "set", "move", "rest")
        for mover, forms in UNTOUCHED.items():  # each arm has its own way to put it
            for phrase in forms:
                put(phrase, *(("set", "move", MOVES_ABOUT[world]) if mover == world else ("be",)))
    for kind in {"physics": ("light", "floor"), "driving": ("street", "weather", "bend", "pace"), "rooms": ("turn",)}.get(
        world, ()
    ):
        for value, forms in lexicon.WAYS[kind].items():
            for form in forms:
                put(lexicon.bare(form), "set", kind, value)
                for article in ("a ", "an "):
                    put(lexicon.bare(form).removeprefix(article), "set", kind, value)
    for camera, forms in lexicon.CAMERAS[world].items():
        for form in forms:
            put(lexicon.bare(form), "set", "camera", camera)
    put("one by one", "be")  # nobody does it
    for phrase, (kind, flip) in RELATIONS.items():
        put(phrase, "relation", kind, "flip" if flip else "")
    for phrase, (kind, flip) in HAS.items():
        put(phrase, "has", kind, "flip" if flip else "")
    if world == GRIPPER:
        for word, shape in lexicon.words_of(lexicon.SHAPES["tabletop"]).items():
            if shape in lexicon.SHAPES[world]:  # a tabletop's other names for what both have
                put(word, "shape", shape, over=False)
        for phrase in ("gripper", "robot gripper", "robotic gripper"):
            put(phrase, "actor")
        for phrase, side in FAR_SIDES.items():
            put(phrase, "way", side)
        for kind in ("put", "lift", "grasp", "drop"):
            for base in (*lexicon.VERBS[kind], *DEEDS[kind]):
                for form in ("plain", "s", "past", "ing", "pp"):
                    put(inflect(lexicon.bare(base), form), kind, form)
        for form in ("plain", "s", "past", "ing", "pp"):
            put(inflect("bring", form), "push", form)
        for base in ("put", "set", "lay", "place"):
            for form in ("plain", "s", "past", "ing", "pp"):
                put(f"{inflect(base, form)} down", "down")
        for token, forms in SAID.items():
            for form in forms:
                put(form, token, *(("plain",) if token == "lift" else ()))
    for key, forms in OTHER[world].items():
        kind, value = key.split(" ", 1)
        for form in forms:
            put(form, "set", kind, value)
    if world == "physics":
        for name, forms in EXPERIMENTS.items():
            for form in forms:
                put(form, "experiment", name)
        for base in ("carry", "bear"):
            for form in ("plain", "s", "past", "ing"):
                put(inflect(base, form), "relation", "on", "flip")
        for form in ("stand", "stands", "stood", "standing", "rests", "lies", "sits"):
            put(f"{form} on", "relation", "on", "")
        for key in ("strike", "throw"):
            for base in lexicon.VERBS[key]:
                for form in ("plain", "s", "past", "pp", "ing"):
                    first, *rest = lexicon.bare(base).split(" ")
                    put(" ".join([inflect(first, form), *rest]), key, form)
    if world == "rooms":
        for phrase, kind in ABOUT.items():
            put(phrase, "about", kind)
    if world == "driving":
        for going in ("goes", "is going", "went", "was going"):
            put(f"the drive {going}", "be")  # along a street, whether or not the car stands now
        for phrase, kind in TRAFFIC.items():
            put(phrase, "traffic", kind)
    for value, bases in MOVES.get(world, {}).items():
        for base in bases:
            for form in ("plain", "s", "past", "ing"):
                put(base if " " in base and base.startswith("not") else inflect(base, form), "move", value, over=False)
    return out


Token = tuple  # (type, ...); things are ("thing", Thing)


@functools.cache
def longest(world: str) -> int:
    """Words of the longest phrase."""
    return max(len(p.split()) for p in phrases(world))


def tokens(sentence: str, world: str) -> tuple[list[Token], list[str]]:
    """The known phrases of a sentence in order, with things put together, and the words that are neither known nor common."""
    table = phrases(world)
    words = norm(sentence).split()
    most = longest(world)
    out: list[Token] = []
    unknown: list[str] = []
    i = 0
    while i < len(words):
        for n in range(min(most, len(words) - i), 0, -1):
            phrase = " ".join(words[i : i + n])
            if phrase in table:
                out.append(table[phrase])
                i += n
                break
        else:
            word = words[i]
            if word in ("by", "and", "is", "are", "was", "were", "be", "been", "being"):
                out.append(("be",) if word not in ("by", "and") else (word,))
            elif word in ("the", "a", "an"):
                out.append(("article",))
            elif word not in COMMON:
                out.append(("word", word))
                unknown.append(word)
            i += 1
    return _things(out, world), unknown


def _things(items: Sequence[Token], world: str) -> list[Token]:
    """`colour shape` as one thing; a shape alone, or a colour that is followed by a word, as half a thing."""
    out: list[Token] = []
    i = 0
    while i < len(items):
        kind = items[i][0]
        if kind == "colour":
            j = i + 1
            while j < len(items) and items[j][0] == "word" and j - i < 3:
                j += 1
            if j < len(items) and items[j][0] == "shape":
                out.append(("thing", Thing(items[i][1], items[j][1])))
                i = j + 1
                continue
            out.append(("thing", Thing(items[i][1], "")))
        elif kind == "shape":
            own = world == "driving" and items[i][1] == "car" and not any(t[0] in ("actor", "thing") for t in out)
            out.append(("actor",) if own else ("thing", Thing("", items[i][1])))
        elif kind != "article":
            out.append(items[i])
        i += 1
    return out
