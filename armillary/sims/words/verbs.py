"""English verbs: their forms, regular and not."""

from __future__ import annotations

import re

IRREGULAR = {  # base: (third person, past, participle)
    "be": ("is", "was", "been"),
    "lie": ("lies", "lay", "lain"),
    "hit": ("hits", "hit", "hit"),
    "strike": ("strikes", "struck", "struck"),
    "throw": ("throws", "threw", "thrown"),
    "fling": ("flings", "flung", "flung"),
    "fall": ("falls", "fell", "fallen"),
    "stand": ("stands", "stood", "stood"),
    "hold": ("holds", "held", "held"),
    "keep": ("keeps", "kept", "kept"),
    "sit": ("sits", "sat", "sat"),
    "slide": ("slides", "slid", "slid"),
    "spring": ("springs", "sprang", "sprung"),
    "swing": ("swings", "swung", "swung"),
    "run": ("runs", "ran", "run"),
    "drive": ("drives", "drove", "driven"),
    "go": ("goes", "went", "gone"),
    "spin": ("spins", "spun", "spun"),
    "drop": ("drops", "dropped", "dropped"),
    "slip": ("slips", "slipped", "slipped"),
    "sweep": ("sweeps", "swept", "swept"),
    "propel": ("propels", "propelled", "propelled"),
    "have": ("has", "had", "had"),
    "come": ("comes", "came", "come"),
    "carry": ("carries", "carried", "carried"),
    "bear": ("bears", "bore", "borne"),
    "begin": ("begins", "began", "begun"),
    "find": ("finds", "found", "found"),
    "see": ("sees", "saw", "seen"),
    "travel": ("travels", "travelled", "travelled"),
    "stop": ("stops", "stopped", "stopped"),
    "let": ("lets", "let", "let"),
    "set": ("sets", "set", "set"),
    "take": ("takes", "took", "taken"),
    "do": ("does", "did", "done"),
    "shine": ("shines", "shone", "shone"),
    "leave": ("leaves", "left", "left"),
    "put": ("puts", "put", "put"),
    "lay": ("lays", "laid", "laid"),
    "bring": ("brings", "brought", "brought"),
    "hang": ("hangs", "hung", "hung"),
    "grip": ("grips", "gripped", "gripped"),
}
STATIVE = (
    "be",
    "lie",
    "stand",
    "rest",
    "hold",
    "have",
    "stay",
    "remain",
    "keep",
    "sit",
    "carry",
    "bear",
    "do",
    "set",
    "leave",
    "let",
)


def inflect(base: str, form: str) -> str:
    """`base` (particles follow the verb) as `s` (third person), `plain`, `past`, `pp` or `ing`."""
    verb, *rest = base.split(" ")
    stem = verb.removesuffix("e")
    if verb == "be":
        word = {"s": "is", "plain": "are", "past": "was", "pp": "been", "ing": "being", "pasts": "were"}[form]
    elif form in ("plain", "s"):
        regular = verb + ("es" if re.search(r"(s|sh|ch|x|z|o)$", verb) else "s")
        word = verb if form == "plain" else IRREGULAR.get(verb, (regular,))[0]
    elif form == "ing":
        double = verb in ("run", "hit", "sit", "spin", "drop", "slip", "propel", "travel", "stop", "let", "set", "put", "grip")
        word = "lying" if verb == "lie" else (verb + verb[-1] if double else stem if verb != "be" else verb) + "ing"
    else:
        regular = verb[:-1] + "ied" if verb.endswith("rry") else stem + "ed"
        word = IRREGULAR.get(verb, ("", regular, regular))[2 if form == "pp" else 1]
    return " ".join([word, *rest])
