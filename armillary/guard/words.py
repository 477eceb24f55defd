"""The word rail: editable lists of words, phrases and «this near that», matched on inflected forms after an allow list had its say.

A list is a text file; its name is the category, a line is a pattern, `#` starts a comment:

    behead                      the word in any inflection
    severed head                consecutive words, each in any inflection
    strangle ~4 @person         the second within 4 words after the first
    @sexual <>12 @minor         either order
    "shot" dead                 in quotes: this form only
    kill|murder|slay ~3 @person alternatives

`@name` is a group, a file in `groups/` of one word or phrase a line. `allow.txt` holds patterns whose words are masked before the others
are looked for: «crash test», «kill switch», «test dummy». Naming the harm and the harmed together is what keeps «slice a tomato» apart
from the same verb with a person behind it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import BadInput
from armillary.guard.normalise import Known, read
from armillary.guard.rail import Finding

LISTS = Path(__file__).parent / "lists"
ALLOW = "allow"
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_GAP = re.compile(r"(~|<>)(\d+)")
# Irregular forms of verbs and nouns that the lists use; «shot» is left out, being a noun of film far more often than a wound.
_IRREGULAR = {
    "hung": "hang", "cut": "cut", "slain": "slay", "slew": "slay", "beaten": "beat", "bled": "bleed", "bitten": "bite",
    "bit": "bite", "torn": "tear", "tore": "tear", "burnt": "burn", "drowned": "drown", "fought": "fight",
    "threw": "throw", "thrown": "throw", "broke": "break", "broken": "break", "eaten": "eat", "ate": "eat",
    "drove": "drive", "driven": "drive", "ran": "run", "blew": "blow", "blown": "blow", "struck": "strike", "made": "make",
    "built": "build", "took": "take", "taken": "take", "sold": "sell", "stole": "steal", "stolen": "steal", "died": "die",
    "dying": "die", "dies": "die", "tying": "tie", "tied": "tie", "lying": "lie", "men": "man", "women": "woman",
    "children": "child", "people": "person", "persons": "person", "wives": "wife", "knives": "knife", "bodies": "body",
    "kept": "keep", "held": "hold", "fed": "feed", "raped": "rape", "raping": "rape", "dug": "dig", "shoot": "shoot",
    "shoots": "shoot", "shooting": "shoot", "gave": "give", "given": "give", "went": "go", "gone": "go", "put": "put",
    "hid": "hide", "hidden": "hide", "slit": "slit", "policemen": "policeman", "firemen": "fireman", "gases": "gas",
    "wolves": "wolf", "calves": "calf", "themself": "themselves", "strung": "string", "stuck": "stick", "sprayed": "spray",
    "got": "get", "bound": "bind", "fired": "fire", "lynching": "lynch",
}  # fmt: skip


@functools.lru_cache(maxsize=65536)
def lemmas(word: str) -> frozenset[str]:
    """Every base form an English word may be an inflection of, itself included: `stabbed` -> `stab`, `stabb`, `stabbe`, `stabbed`."""
    word = word.replace("’", "'")
    out = {word}
    if word.endswith("'s"):
        word = word[:-2]
        out.add(word)
    if word in _IRREGULAR:
        out.add(_IRREGULAR[word])
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        out.add(word[:-1])
        if word.endswith("es"):
            out.add(word[:-2])
        if word.endswith("ies"):
            out.add(word[:-3] + "y")
    for suffix in ("ed", "ing", "ings"):
        stem = word[: -len(suffix)]
        if not word.endswith(suffix) or len(stem) < 2:
            continue
        out |= {stem, stem + "e"}
        if len(stem) > 2 and stem[-1] == stem[-2]:
            out.add(stem[:-1])
        if stem.endswith("i"):
            out.add(stem[:-1] + "y")
        if stem.endswith("ck"):
            out.add(stem[:-1])
    return frozenset(out)


@dataclass(frozen=True)
class Slot:
    """One place of a pattern: base forms (or exact ones) any of which fills it; a form of several words is a tuple of them."""

    forms: frozenset[tuple[str, ...]]
    exact: bool

    @functools.cached_property
    def starts(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Forms by their first word."""
        out: dict[str, list[tuple[str, ...]]] = {}
        for form in self.forms:
            out.setdefault(form[0], []).append(form)
        return {word: tuple(forms) for word, forms in out.items()}

    def at(self, tokens: Sequence[str], i: int) -> int:
        """How many tokens from `i` on it takes, 0 when it does not match."""
        best = 0
        if i >= len(tokens):
            return 0
        starts = self.starts
        for form in (f for word in lemmas(tokens[i]) if word in starts for f in starts[word]):
            n = len(form)
            if n > best and i + n <= len(tokens):
                if self.exact:
                    hit = all(tokens[i + k] == form[k] for k in range(n))
                else:
                    hit = all(form[k] in lemmas(tokens[i + k]) for k in range(n))
                best = n if hit else best
        return best


@dataclass(frozen=True)
class Pattern:
    """Slots with the gap (words in between at most) before each; `either`: the last two slots may come in the other order."""

    source: str
    category: str
    slots: tuple[Slot, ...]
    gaps: tuple[int, ...]
    either: bool = False

    def find(self, tokens: Sequence[str]) -> tuple[int, int] | None:
        """The first stretch `[start, end)` that matches."""
        for i in range(len(tokens)):
            if (end := self._from(tokens, i, self.slots, self.gaps)) is not None:
                return i, end
            if self.either:
                turned = (*self.slots[:-2], self.slots[-1], self.slots[-2])
                if (end := self._from(tokens, i, turned, self.gaps)) is not None:
                    return i, end
        return None

    def _from(self, tokens: Sequence[str], i: int, slots: tuple[Slot, ...], gaps: tuple[int, ...]) -> int | None:
        taken = slots[0].at(tokens, i)
        if not taken:
            return None
        if len(slots) == 1:
            return i + taken
        for gap in range(gaps[1] + 1):
            end = self._from(tokens, i + taken + gap, slots[1:], gaps[1:])
            if end is not None:
                return end
        return None


@dataclass(frozen=True)
class Lexicon:
    """Compiled lists: `patterns` that refuse, `allow` that mask; `digest` of their text."""

    patterns: tuple[Pattern, ...]
    allow: tuple[Pattern, ...]
    digest: str

    def search(self, text: str) -> Pattern | None:
        """The first pattern a text (as `normalise.fold` gives it) matches."""
        tokens = self.masked(text)
        return next((p for p in _possible(self.patterns, tokens) if p.find(tokens)), None)

    def masked(self, text: str) -> list[str]:
        """The words of a text, those of allowed phrases replaced by an empty string."""
        tokens = _TOKEN.findall(text)
        for pattern in _possible(self.allow, tokens):
            while span := pattern.find(tokens):
                tokens[span[0] : span[1]] = [""] * (span[1] - span[0])
        return tokens

    @functools.cached_property
    def vocabulary(self) -> frozenset[str]:
        """Single words the lists know, so that the normaliser can mend them when they are spelt in disguise."""
        words = {w for p in (*self.patterns, *self.allow) for s in p.slots for form in s.forms for w in form}
        return frozenset(w for w in words if w.isalpha() and len(w) >= 3)


def _possible(patterns: Sequence[Pattern], tokens: Sequence[str]) -> Iterator[Pattern]:
    """Those of which some word of every slot occurs at all: a cheap rejection of nearly everything."""
    present = frozenset().union(*(lemmas(t) for t in tokens)) if tokens else frozenset()
    return (p for p in patterns if not any(present.isdisjoint(slot.starts) for slot in p.slots))


def load_lists(folders: Iterable[str | Path] = (LISTS,)) -> Lexicon:
    """Read list folders; a file of the same name in a later folder replaces the earlier one, an empty file switches a category off.

    Raises:
        BadInput: a folder without lists, an unknown group, a line that cannot be read; with file and line.
    """
    files: dict[str, Path] = {}
    groups: dict[str, Path] = {}
    for folder in map(Path, folders):
        found = sorted(folder.glob("*.txt"))
        if not found and not sorted((folder / "groups").glob("*.txt")):
            raise BadInput(f"{folder} holds no word lists: files named category.txt with one pattern a line are wanted.")
        files |= {p.stem: p for p in found}
        groups |= {p.stem: p for p in sorted((folder / "groups").glob("*.txt"))}
    words = {name: frozenset(tuple(_TOKEN.findall(line)) for _, line in _lines(path)) for name, path in groups.items()}
    patterns: list[Pattern] = []
    allow: list[Pattern] = []
    digest = hashlib.sha256()
    for name, path in [*sorted(files.items()), *sorted(groups.items())]:
        digest.update(name.encode() + b"\0" + path.read_bytes())
    for name, path in sorted(files.items()):
        for number, line in _lines(path):
            (allow if name == ALLOW else patterns).append(_compile(line, name, words, f"{path}:{number}"))
    return Lexicon(tuple(patterns), tuple(allow), digest.hexdigest())


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error}") from error
    lines = ((i, line.split("#")[0].strip().casefold()) for i, line in enumerate(text.splitlines(), 1))
    return [(i, line) for i, line in lines if line]


def _compile(line: str, category: str, groups: dict[str, frozenset[tuple[str, ...]]], where: str) -> Pattern:
    slots: list[Slot] = []
    gaps: list[int] = []
    gap, either = 0, False
    for part in line.split():
        if match := _GAP.fullmatch(part):
            gap, either = int(match[2]), match[1] == "<>"
            continue
        exact = part.startswith('"')
        forms: set[tuple[str, ...]] = set()
        for word in part.strip('"').split("|"):
            if word.startswith("@"):
                if word[1:] not in groups:
                    raise BadInput(f"{where}: there is no group {word!r}; known: {', '.join(sorted(groups)) or 'none'}.")
                forms |= groups[word[1:]]
            elif _TOKEN.fullmatch(word):
                forms.add((word,))
            else:
                raise BadInput(f"{where}: {word!r} is no word; a pattern is words, @groups, a|b, ~3 and <>3.")
        slots.append(Slot(frozenset(forms), exact))
        gaps.append(gap)
        gap = 0
    if not slots or gap or (either and len(slots) < 2):
        raise BadInput(f"{where}: {line!r} ends in a gap or has no word.")
    return Pattern(line, category, tuple(slots), tuple(gaps), either)


class Words:
    """The rail.

    Args:
        folders: list folders, later ones replacing files of the same name; empty for the shipped lists.
        known: vocabulary test that guides the normaliser (beside the lists' own words).
    """

    name, first = "words", False

    def __init__(self, folders: Sequence[str | Path] = (), known: Known | None = None) -> None:
        self.lexicon = load_lists((LISTS, *folders))
        self.version = f"1+{self.lexicon.digest[:8]}"
        own = self.lexicon.vocabulary

        def both(word: str) -> bool:
            return bool(own & lemmas(word)) or (known is not None and known(word))

        self.known: Known = both

    def check(self, text: str) -> Finding:
        for view in read(text, self.known).views:
            if pattern := self.lexicon.search(view):
                told = f"matches the {pattern.category.replace('_', ' ')} list: {pattern.source!r}"
                return Finding(True, told, category=pattern.category)
        return Finding(False, "no listed word or phrase")
