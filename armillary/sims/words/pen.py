"""What a text is written with: dice, a tense, the names already used, and patterns with everything put in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from armillary.sims.language import article
from armillary.sims.words import lexicon
from armillary.sims.words.facts import Thing
from armillary.sims.words.verbs import STATIVE, inflect

Split = Literal["train", "held"]


@dataclass
class Pen:
    """What a text is written with: its dice, its tense, and the names it has already used."""

    rng: np.random.Generator
    split: Split
    world: str
    tense: str = "present"
    names: dict[Thing, str] = field(default_factory=dict)
    known: set[Thing] = field(default_factory=set)

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def word(self, entries: Sequence[str]) -> str:
        """One wording: the plainest in two of five cases; of the held-out split half are held out."""
        new = [e for e in entries if lexicon.held(e)]
        if self.split == "held" and new and self.chance(0.5):
            return lexicon.bare(new[int(self.rng.integers(len(new)))])
        old = [e for e in entries if not lexicon.held(e)]
        return old[0] if self.chance(0.4) else old[int(self.rng.integers(len(old)))]

    def pattern(self, entries: Sequence[str]) -> str:
        """One pattern: of the held-out split always one that is held out, where there is one."""
        new = [e for e in entries if lexicon.held(e)] if self.split == "held" else []
        old = new or [e for e in entries if not lexicon.held(e)]
        return lexicon.bare(old[int(self.rng.integers(len(old)))])

    def name(self, thing: Thing) -> str:
        """`red block`, the same in the whole text."""
        if thing not in self.names:
            shapes = lexicon.SHAPES[self.world]
            self.names[thing] = f"{self.word(lexicon.COLOURS[thing.colour])} {self.word(shapes[thing.shape])}"
        return self.names[thing]

    def mention(self, thing: Thing) -> str:
        """`a red block` at first, `the red block` from then on."""
        name = self.name(thing)
        first = thing not in self.known
        self.known.add(thing)
        return article(name) if first else f"the {name}"

    def verb(self, key: str, form: str, plural: bool) -> str:
        entries = lexicon.VERBS.get("stays" if key == "stay" and plural else key, (key.removeprefix("="),))
        base = self.word(entries)
        if form:
            return inflect(base, form)
        first = base.split(" ")[0]
        if self.tense == "past":
            return inflect(base, "pasts" if plural and first == "be" else "past")
        if self.tense == "progressive" and first not in STATIVE:
            return ("are " if plural else "is ") + inflect(base, "ing")
        return inflect(base, "plain" if plural else "s")

    def write(self, pattern: str, slots: dict[str, Callable[[], str]], plural: dict[str, bool] | None = None) -> str:
        """A pattern with everything in place. Names are drawn from left to right, so that the first one is `a red block`."""

        def filled(match: re.Match[str]) -> str:
            inner = match.group(1) or match.group(2)
            if match.group(1):
                return slots[inner]()
            verb, _, number = inner.partition(":")
            key, _, form = verb.partition(".")
            return self.verb(key, form, bool((plural or {}).get(number)))

        return re.sub(r"\{(\w+)\}|\[([^\]]+)\]", filled, pattern)
