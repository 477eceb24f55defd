"""The phrases of one clause to facts: who does what to whom, by voice; what lies where."""

from __future__ import annotations

from collections.abc import Sequence

from armillary.sims.words.facts import Fact, Thing
from armillary.sims.words.phrases import Token

NOBODY: Token = ("actor",)
TAKEN = ("lift", "grasp", "drop")
VERBS = ("push", "strike", "throw", "shove", "put", *TAKEN)


def voice(sentence: list[Token], at: int, form: str) -> tuple[list[Thing], list[Thing] | None]:
    """(who was acted upon, who acted: None for the world's own actor) of the verb at `at`."""
    verbs = [i for i, t in enumerate(sentence) if t[0] in VERBS]
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


def pushes(sentence: list[Token]) -> list[Fact]:
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
        patients, agent = voice(sentence, at, sentence[at][1])
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
        if not out and not any(t[0] in ("go", "relation", "has", "put", *TAKEN) for t in sentence):
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


def acts(sentence: list[Token], kind: str) -> list[Fact]:
    """Strikes and throws: always one thing and another."""
    out = []
    for at, token in enumerate(sentence):
        if token[0] == kind:
            patients, agent = voice(sentence, at, token[1])
            if agent is None:
                after = [t[1] for t in sentence[at + 1 :] if t[0] == "thing" and t[1] not in patients]
                agent = after[:1] if any(t[0] == "by" for t in sentence[at:]) else None
            if patients and agent:
                out.append(Fact(kind, agent[0], patients[0]))
    return out


def relations(sentence: list[Token]) -> list[Fact]:
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


def deeds(sentence: list[Token]) -> list[Fact]:
    """What a gripper does: puts, takes, drops, pushes."""
    out: list[Fact] = []
    moved: list[Thing] = []
    for at, token in enumerate(sentence):
        if token[0] in ("onto", "beside") and sentence[at + 1 : at + 2] and sentence[at + 1][0] == "thing":
            place, kind = sentence[at + 1][1], "put" if token[0] == "onto" else "gather"
            things = [t for t in _run(sentence, at) or [t[1] for t in sentence[at + 2 :] if t[0] == "thing"][:1] if t != place]
            out += [Fact(kind, thing, place) for thing in things]
            moved += [*things, *([place] if kind == "put" else [])]
        things = [t[1] for t in sentence if t[0] == "thing"]
        if token[0] == "together" and len(things) == 2:
            out.append(Fact("gather", *things))
            moved += things
    if not any(f.kind == "put" for f in out):
        for at, token in enumerate(sentence):
            if token[0] == "down":
                things = _run(sentence, at) or [t[1] for t in sentence[at:] if t[0] == "thing"][:1]
                out += [Fact("set down", whom=thing) for thing in things]
                moved += things
    for kind in TAKEN:
        for at, token in enumerate(sentence):
            if token[0] == kind:
                things = [t for t in voice(sentence, at, token[1])[0] if t not in moved]
                out += [Fact(kind, whom=thing) for thing in things]
                moved += things
    return out + [f for f in pushes(sentence) if f.whom not in moved or _both(f, out)]


def _both(push: Fact, told: Sequence[Fact]) -> bool:
    """Whether a thing was pushed both some way and next to another."""
    return bool(push.way) and any(f.kind == "gather" and f.who == push.whom for f in told)


def _run(sentence: list[Token], at: int) -> list[Thing]:
    """The nearest things before `at`, with those that an `and` ties to them."""
    last = next((i for i in range(at - 1, -1, -1) if sentence[i][0] == "thing"), -1)
    out: list[Thing] = []
    while last >= 0 and sentence[last][0] == "thing":
        out.append(sentence[last][1])
        last -= 2 if sentence[last - 1 : last] == [("and",)] else 1
    return out[::-1]
