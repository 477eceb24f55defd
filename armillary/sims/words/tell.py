"""Facts to sentences, in hundreds of ways: `tell(facts, "long", seed)`.

A small grammar. A clause is a pattern such as `{arm} [push] {O} {W}`: braces are filled with names and phrases, brackets with verbs in the
tense of the whole text (`[push.pp]`, `[push.ing]` for participles, `[lie:L]` agrees with `{L}` in number, `[=go]` is that very verb).
Clauses become sentences in an order drawn for each text. A pattern that begins with `~` is held out, as words are (see `words.lexicon`).

* long: every fact, as whole sentences; what worlds are trained on.
* middle: what happens, to what, and where, in one or two sentences.
* short: what a person types; the rest is left out.
* plain: the one wording, in at most 32 words, that the shipped tabletop worlds were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from armillary.sims.language import TOWARDS, article, listed
from armillary.sims.words import lexicon
from armillary.sims.words.facts import ARMS, DONE, GRIPPER, Fact, Facts, Thing
from armillary.sims.words.patterns import LONG, MIDDLE, SHORT
from armillary.sims.words.pen import Pen, Split

PLACE = {
    "tabletop": ("table",),
    GRIPPER: ("table",),
    "driving": ("street", "weather"),
}  # what the sentence about a place needs to know
Length = Literal["short", "middle", "long", "plain"]


def tell(facts: Facts, length: Length = "long", seed: int | Sequence[int] = 0, split: Split = "train") -> str:
    """Sentences that state `facts` (all of them when `long`), the same for the same seed.

    Args:
        facts: whole ones, as a simulator fills them.
        split: `held`: in wordings that no training caption uses.
    """
    if length == "plain":
        return plain(facts)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng([0x30D5, *[int(s) for s in seeds], ("short", "middle", "long").index(length)])
    tense = str(rng.choice(["present", "present", "progressive", "past"]))
    pen = Pen(rng, split, facts.world, tense)
    if length == "short":
        return _short(pen, facts)
    if length == "middle":
        return _sentences(_middle(pen, facts))
    return _sentences(_long(pen, facts))


def chosen(facts: Facts, length: Length) -> Facts:
    """What a text of that length states."""
    if length == "long":
        return facts
    if length == "plain" and facts.world == "tabletop":
        return facts.without("camera", "light", "left of", "behind", "shove")
    kept = facts.without("camera", "light", "left of", "behind", "shove", "face", "reach", "ahead", "oncoming", "following")
    if length == "middle":
        return kept
    main = _main(kept)
    about = {t for f in main for t in (f.who, f.whom) if t is not None}
    if facts.world in (*ARMS, "physics"):
        about = about or ({kept.things[0]} if facts.world == "physics" and kept.things else set())
    else:
        about = set(kept.things[:1])
    there = tuple(f for f in kept.of("there") if f.who in about)
    settings = () if facts.world != "driving" else kept.of("street", "weather")
    return Facts(facts.world, (*there, *main, *settings))


def _main(facts: Facts) -> tuple[Fact, ...]:
    """What a short text is about."""
    if facts.world == "tabletop":
        return facts.of("push")[:1] or facts.of("move")
    if facts.world == GRIPPER:
        return facts.of(*(k for k in DONE if k != "shove"))[:1] or facts.of("move")
    if facts.world == "physics":
        return (*facts.of("experiment"), *facts.of("strike", "throw"))
    return (*facts.of("move"), *facts.of("turn", "bend", "pace"))


def _sentences(parts: Sequence[str]) -> str:
    out = []
    for part in parts:
        text = part.strip().rstrip(".")
        out.append(text[0].upper() + text[1:] + ".")
    return " ".join(out)


def _slots(pen: Pen, facts: Facts) -> dict[str, Callable[[], str]]:
    """What the patterns of every world may name."""
    ways = lexicon.WAYS
    actors = lexicon.ACTORS[facts.world]

    def setting(kind: str) -> Callable[[], str]:
        return lambda: pen.word(ways[kind][facts.way(kind)])

    out: dict[str, Callable[[], str]] = {k: setting(k) for k in ways if k in {f.kind for f in facts}}
    if actors:
        out["arm"] = lambda: f"the {pen.word(actors)}"
        out["Arm"] = lambda: article(pen.word(actors))
    if facts.way("camera"):
        out["camera"] = lambda: pen.word(lexicon.CAMERAS[facts.world][facts.way("camera")])
    if "table" in out:
        table = out["table"]
        out["table"] = lambda: article(f"{table()} table")
    return out


def _group(pen: Pen, things: Sequence[Thing]) -> Callable[[], str]:
    return lambda: listed([pen.mention(t) for t in things])


def _order(pen: Pen, things: Sequence[Thing]) -> list[Thing]:
    return [things[int(i)] for i in pen.rng.permutation(len(things))]


def _clauses(pen: Pen, facts: Facts, kinds: Sequence[str]) -> list[str]:
    """One clause for each fact of these kinds (facts of `push` with the same way together)."""
    out = []
    slots = _slots(pen, facts)
    for kind in kinds:
        found = facts.of(kind)
        groups: dict[str, list[Fact]] = {}
        for f in found:
            groups.setdefault(f.way if kind == "push" else str(len(groups)), []).append(f)
        for group in groups.values():
            f = group[0]
            patterns = LONG.get(f"{kind} {f.way}") or LONG[kind]
            more = dict(slots)
            if f.who is not None:
                more["S"] = _group(pen, [f.who])
            things = _order(pen, [g.whom for g in group if g.whom is not None])
            if things:
                more["O"] = _group(pen, things)
            if kind in ("put", "gather"):
                more |= _whither(pen, f)
            if kind in ("push", "shove"):
                more["W"] = lambda f=f: pen.word(lexicon.WAYS["side"][f.way])
            out.append(pen.write(pen.pattern(patterns), more, {"O": len(things) > 1}))
    return out


def _whither(pen: Pen, fact: Fact) -> dict[str, Callable[[], str]]:
    """Slots for where a thing is brought."""
    place = fact.whom.shape if fact.whom else ""
    return {"in": lambda: pen.word(lexicon.INTO.get(place, lexicon.INTO[""])), "near": lambda: pen.word(lexicon.BESIDE)}


def _things(pen: Pen, facts: Facts) -> str:
    things = _order(pen, facts.things)
    slots = _slots(pen, facts) | {"L": _group(pen, things)}
    return pen.write(pen.pattern(LONG[f"things {facts.world}"]), slots, {"L": len(things) > 1})


def _long(pen: Pen, facts: Facts) -> list[str]:
    """Place, things and relations before or after what happens; camera and light wherever they fall."""
    w = facts.world
    settled = all(facts.way(k) for k in PLACE[w]) if w in PLACE else False
    place = [pen.write(pen.pattern(LONG[f"place {w}"]), _slots(pen, facts))] if settled else []
    events_first = pen.chance(0.35) and w in (*ARMS, "driving", "rooms")

    def events() -> list[str]:
        if w == "physics":
            return _clauses(pen, facts, ("on", "strike", "throw", "experiment"))
        if w == "rooms":
            return [*_clauses(pen, facts, ("move", "face", "turn", "reach"))]
        if w == "driving":
            return _clauses(pen, facts, ("move", "pace", "bend"))
        return _clauses(pen, facts, ("push", "shove", "move") if w == "tabletop" else (*DONE, "move"))

    def scenery() -> list[str]:
        shown = facts.things and (w != "physics" or facts.way("floor"))
        out = [_things(pen, facts)] if shown else _clauses(pen, facts, ("empty",))
        relations = _clauses(pen, facts, ("left of", "behind", "ahead", "oncoming", "following"))
        return [*out, *[relations[int(i)] for i in pen.rng.permutation(len(relations))]]

    # Told in the order of the text, so that a thing is `a red block` where it comes first.
    body = [*events(), *scenery()] if events_first else [*scenery(), *events()]
    extra = _clauses(pen, facts, ("camera", "light"))
    out = [*place, *body]
    for e in extra:
        at = int(pen.rng.choice([0, len(out), len(out)]))
        out.insert(at, e)
    return _joined(pen, out)


def _joined(pen: Pen, parts: list[str]) -> list[str]:
    """Some neighbours as one sentence."""
    out: list[str] = []
    for part in parts:
        if out and len(out[-1].split()) + len(part.split()) < 24 and pen.chance(0.25):
            out[-1] += pen.pattern(("; ", ", and ", ", while ", "~, whereas ")) + part
        else:
            out.append(part)
    return out


def _middle(pen: Pen, facts: Facts) -> list[str]:
    kept = chosen(facts, "middle")
    w = kept.world
    slots = _slots(pen, kept)
    if w == GRIPPER:
        first, *others = _clauses(pen, kept, (*DONE, "move"))
        if kept.way("table"):
            first = pen.write(pen.pattern(MIDDLE[f"at {w}"]), slots | {"C": lambda: first})
        about = {t for f in kept.of(*DONE) for t in (f.who, f.whom)}
        left = [t for t in kept.things if t not in about]
        if left:
            last = slots | {"L": _group(pen, _order(pen, left))}
            others.append(pen.write(pen.pattern(MIDDLE["rest"]), last, {"L": len(left) > 1}))
        return _joined(pen, [first, *others])
    pushed: dict[str, list[Thing]] = {}
    for f in kept.of("push"):
        assert f.whom is not None
        pushed.setdefault(f.way, []).append(f.whom)
    if w == "tabletop" and pushed:
        (way, things), *others = pushed.items()
        slots |= {"O": _group(pen, _order(pen, things)), "W": lambda: pen.word(lexicon.WAYS["side"][way])}
        out = [pen.write(pen.pattern(MIDDLE["push"]), slots, {"O": len(things) > 1})]
        more = Facts(w, tuple(f for f in kept if f.kind != "push" or f.way in dict(others)))
        out += _clauses(pen, more, ("push",))
        rest = [t for t in kept.things if t not in {x for group in pushed.values() for x in group}]
    else:
        rest = list(kept.things)
        out = []
        if w == "tabletop":
            out = [pen.write(pen.pattern(MIDDLE[f"move {kept.way('move')}"]), slots)]
    if w == "tabletop":
        if rest:
            last = {"L": _group(pen, _order(pen, rest))}
            out.append(pen.write(pen.pattern(MIDDLE["rest"]), slots | last, {"L": len(rest) > 1}))
        return _joined(pen, out)
    told = slots | {"L": _group(pen, _order(pen, rest))}
    many = {"L": len(rest) > 1}
    if w == "physics":
        return [
            pen.write(pen.pattern(MIDDLE["physics"]), told, many),
            *_clauses(pen, kept, ("on", "strike", "throw", "experiment")),
        ]
    pattern = MIDDLE[f"{w} {kept.way('move')}"] if rest else MIDDLE[f"{w} {kept.way('move')} alone"]
    return [pen.write(pen.pattern(pattern), told, many), *_clauses(pen, kept, ("turn", "bend", "pace"))]


def _short(pen: Pen, facts: Facts) -> str:
    kept = chosen(facts, "short")
    w, main = kept.world, _main(kept)
    slots = _slots(pen, kept)
    key = f"{w} {kept.way('experiment') or kept.way('move')}"
    if w in ARMS and main and main[0].kind in DONE:
        key = main[0].kind
    if key == "push":
        slots["W"] = lambda: pen.word(lexicon.WAYS["side"][main[0].way])
    first = next((t for f in main for t in (f.whom, f.who) if t is not None), kept.things[0] if kept.things else None)
    if first is not None:
        slots |= {"o": lambda: pen.name(first), "O": lambda: pen.mention(first)}
    for f in main:
        if f.kind in ("strike", "throw", "put", "gather"):
            slots |= {
                "s": lambda f=f: pen.name(f.who or Thing()),
                "S": lambda f=f: pen.mention(f.who or Thing()),
                "O": lambda f=f: pen.mention(f.whom or Thing()),
                **_whither(pen, f),
            }
    patterns = SHORT.get(f"{key} alone", SHORT[key]) if first is None else SHORT[key]
    text = pen.write(pen.pattern(patterns), slots)
    for f in main:
        if f.kind in ("turn", "bend", "pace"):
            text += (" and " if f.kind == "turn" else " ") + pen.word(lexicon.WAYS[f.kind][f.way])
    return text if pen.chance(0.6) else text[0].upper() + text[1:] + "."


def plain(facts: Facts) -> str:
    """The shipped tabletop worlds' own wording; for other worlds the plainest short text there is."""
    if facts.world != "tabletop":
        return tell(facts, "short", 0)
    sides: dict[str, list[str]] = {}
    for f in facts.of("push"):
        assert f.whom is not None
        sides.setdefault(f.way, []).append(f"the {f.whom.colour} {f.whom.shape}")
    if sides:
        what = f"pushes {listed([f'{listed(names)} {TOWARDS[side]}' for side, names in sides.items()])}"
    else:
        what = "stands still" if facts.way("move") == "rest" else "moves about without pushing anything"
    moved = {f.whom for f in facts.of("push")}
    still = [f"{t.colour} {t.shape}" for t in facts.things if t not in moved]
    rest = f"; {listed([article(n) for n in still])} {'lies' if len(still) == 1 else 'lie'} nearby" if still else ""
    table = f" on {article(facts.way('table'))} table" if facts.way("table") else ""
    return f"A robot arm{table} {what}{rest}."
