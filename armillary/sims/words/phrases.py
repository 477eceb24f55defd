"""The words of sentences as tokens: which phrase of a world's vocabulary each is (the longest first), and things put together."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from armillary.sims.words import lexicon
from armillary.sims.words.facts import Thing
from armillary.sims.words.verbs import inflect

# What people say beside the lexicon. world -> phrase -> token; a token is (type, ...).
SIDE = {
    "left": "left", "leftward": "left", "to left": "left", "right": "right", "rightward": "right", "to right": "right",
    "away": "far", "back": "far", "backward": "far", "towards the back": "far", "to the far edge": "far", "at the far edge": "far",
    "to the far rim": "far", "towards the far edge": "far", "far away": "far", "into the background": "far",
    "towards the camera": "near", "toward the camera": "near", "forward": "near", "closer": "near", "to the near edge": "near",
    "at the near edge": "near", "to the near rim": "near", "nearer": "near", "towards us": "near", "toward the viewer": "near",
    "into the foreground": "near", "away from the camera": "far", "over to the far edge": "far", "over to the near edge": "near",
}  # fmt: skip
for _side in ("left", "right"):
    for _form in ("to the {} edge", "at the {} edge", "to the {} rim", "over to the {} edge", "over to the {}", "towards the {} edge",
                  "toward the {}", "to the {} side of the tray", "{} side"):  # fmt: skip
        SIDE[_form.format(_side)] = _side
RELATIONS = {
    "to the left of": ("left of", False), "left of": ("left of", False), "to the right of": ("left of", True),
    "right of": ("left of", True), "behind": ("behind", False), "further back than": ("behind", False),
    "in front of": ("behind", True), "nearer than": ("behind", True), "on top of": ("on", False),
    "stacked on": ("on", False), "upon": ("on", False),
}  # fmt: skip
HAS = {
    "on top of it": ("on", True),
    "on its left": ("left of", True),
    "behind it": ("behind", True),
    "on its right": ("left of", False),
}  # O has S on its left
FREE = "fall falls falling fell drop drops dropping dropped bounce bounces bouncing plunge plunges plunging plunged gravity".split()
EXPERIMENTS: dict[str, tuple[str, ...]] = {  # the first that is named decides
    "gyroscope": ("gyroscope", "spinning top", "spin", "spins", "spinning", "spun", "whirl", "whirls", "whirling", "whirled"),
    "seesaw": ("seesaw", "see saw"),
    "dominoes": ("domino", "dominoes", "dominos"),
    "u slope": ("trough", "half pipe", "u shaped", "u slope", "bowl"),
    "slope": ("slope", "ramp", "incline", "tilted plane", "downhill"),
    "unstable stack": ("comes down", "coming down", "came down", "topple", "topples", "toppling", "toppled", "collapse", "collapses",
                       "collapsing", "collapsed", "tumble", "tumbles", "tumbling", "tumbled", "unstable", "do not balance", "not stable"),
    "stable stack": ("stable", "stack", "stacked", "tower"),
    "free fall": tuple(FREE),
}  # fmt: skip
MOVES: dict[str, dict[str, tuple[str, ...]]] = {
    "rooms": {
        "walk": ("walk", "move", "wander", "stroll", "explore", "tour"),
        "stand": ("stand", "keep its place", "stay in one place", "remain standing", "not move"),
    },
    "driving": {
        "drive": ("drive", "go", "travel", "cruise", "ride"),
        "halt": ("stand", "stand still", "wait", "be parked", "stop", "parked"),
    },
}
OTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "driving": {
        "empty near": ("no other traffic is near", "the road is empty", "there is nobody else on the road", "empty road"),
        "empty view": ("no other vehicle is in the picture", "nobody else is in this view", "there is nobody else in the picture"),
        "weather rain": ("rainy", "rain", "raining", "through rain", "wet weather"),
        "weather fog": ("foggy", "fog", "misty", "mist", "through fog"),
        "weather night": ("night", "nighttime", "after dark"),
        "weather dusk": ("dusk", "sunset", "evening"),
        "weather clear": ("sunny", "clear weather", "clear day", "clear sky", "sunshine", "blue sky"),
        "weather overcast": ("overcast", "cloudy", "grey sky"),
        "street grass": ("country road", "rural road", "country lane", "countryside"),
        "street paving": ("city street", "town street", "urban street", "city", "downtown"),
        "street sand": ("desert", "desert road", "sandy road", "sand"),
        "street snow": ("snow", "snowy road", "snowy"),
        "pace faster": ("speeds up", "sped up", "accelerates", "accelerate", "faster"),
        "pace slower": ("slows down", "slowed down", "brakes", "brake", "slower"),
        "bend left": ("turning left", "bends left", "bend to the left", "left bend", "turns left", "curving left", "left curve"),
        "bend right": ("turning right", "bends right", "bend to the right", "right bend", "turns right", "curving right", "right curve"),
    },
    "rooms": {
        "turn left": ("turning left", "turn left", "turned left", "turning to the left", "left turn"),
        "turn right": ("turning right", "turn right", "turned right", "turning to the right", "right turn"),
    },
    "physics": {
        "floor wood": ("wooden floor", "wood floor"),
        "floor tiles": ("tiled floor", "tiles"),
        "floor stone": ("stone floor",),
        "floor carpet": ("carpet", "rug"),
        "floor plain": ("plain floor",),
    },
    "tabletop": {},
}  # fmt: skip
ABOUT = {"at first it looks at": "face", "at first it looked at": "face", "at first it is looking at": "face", "into view first": "face",
         "at the beginning": "face", "in the end": "reach", "at the end": "reach", "sees last": "reach"}  # fmt: skip
TRAFFIC = {"ahead": "ahead", "in front of the ego car": "ahead", "the other way": "oncoming", "oncoming": "oncoming",
           "in the opposite lane": "oncoming", "follow": "following", "follows": "following", "following": "following",
           "followed": "following", "behind in the same lane": "following"}  # fmt: skip
THROWN = ("throw",)
# Words that add no fact of their own.
COMMON = set(
    """
begins rises makes loses apart leads back thing things object objects item items piece gets got getting next past onto
a about above after air all alone along among an and another approach approached approaches approaching are around as
at axis badly balance balanced be been beginning behind being both by came camera cameras cars clip come comes coming
consists create did do does down drive each ego else end everything experiment falling falls fast faster film filmed
find finds first fixed floor forth found free fro from furnished furniture gather gathering gathers go goes going
ground had happened happening happens has have held hold holds in into involved is it its just keep keeps kept knock
lamp land landed landing lands lane last lay leans leaves leaving left let lets lie lies light like lit look looked
looking looks make me meanwhile middle moved moves moving near nearby neither nobody nothing of of's off on one one's
or other out over own part picture pivot place placed please point pulled pulling pulls raised ran reached reaches
reaching remain remained remains rest rested rests ride rides road rode roll rolled rolling rolls room rotated rotates
rotating round row run running runs same sat scene see seen sees seesaw set sets shadows shallow shines shining shone
short show shown shows side simple sit sits slowly so some speed stand standing stands stay stayed stays stood
straight street swinging swings swung table taken takes taking that the them then there they this through tilted to
took traffic tray tray's turn turned turning turns unmoved untouched up us vehicle very video view was way went were
what when where whereas which while who with without worked working works
""".split()
)
DENY = set("no not never without nothing none neither nor don't doesn't isn't aren't didn't cannot except instead un".split())
COUNT = set("two three four five six seven eight nine ten several many both dozen pair couple 2 3 4 5 6 7 8 9".split())


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
    if world == "tabletop":
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
        for value in ("roam", "rest"):
            for base in lexicon.VERBS[value]:
                for form in ("plain", "s", "past", "ing"):
                    put(inflect(lexicon.bare(base), form), "set", "move", value)
        for value, forms in lexicon.WAYS["table"].items():
            for form in forms:
                put(f"{lexicon.bare(form)} table", "set", "table", value)
        put("wood table", "set", "table", "wooden")
        for phrase in ("stays still", "not moving", "idle", "does nothing", "is still", "motionless"):
            put(phrase, "set", "move", "rest")
        for phrase in ("without touching anything", "touches nothing", "without pushing anything", "touching nothing"):
            put(phrase, "set", "move", "roam")
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
