"""The same scene in other words: a caption that a simulator wrote, read into facts and told anew."""

from __future__ import annotations

from collections.abc import Sequence

from armillary.sims.words.facts import KINDS, Fact, Thing
from armillary.sims.words.read import read
from armillary.sims.words.tell import tell


def retell(caption: str, count: int, seed: int | Sequence[int] = 0) -> tuple[str, ...]:
    """The plain wording and `count` each of middle and long ones, without `caption` itself and without repetition.

    Every thing that the caption names is named in each. Empty for a text that is not wholly understood, that leaves a gap ("a bar moves"),
    or that names no thing.
    """
    reading = read(caption)
    if reading.unknown or reading.denied or not reading.facts.of("there") or not all(map(_whole, reading.facts)):
        return ()
    seeds = [seed] if isinstance(seed, int) else list(seed)
    told = [tell(reading.facts, "plain")]
    for i in range(count):
        told += [tell(reading.facts, "middle", (*seeds, i)), tell(reading.facts, "long", (*seeds, i))]
    return tuple(t for t in dict.fromkeys(told) if t != caption)


def _whole(fact: Fact) -> bool:
    """Whether it says all that a fact of its kind does, of things of known colour and shape."""
    said = [getattr(fact, slot) for slot in KINDS[fact.kind].slots]
    return all(x is not None and (x.colour and x.shape if isinstance(x, Thing) else x) for x in said)
