"""The language rail: the other rails read English, so what is not English is said to be unsupported instead of passing unread.

Three signs, none of which needs a model: letters of another script (lookalikes inside Latin words do not count, they are an attack and
not a language), function words of other European languages, and the share of words that a vocabulary of English knows.
"""

from __future__ import annotations

import re
import unicodedata

from armillary.errors import BadInput
from armillary.guard.normalise import Known, fold, read
from armillary.guard.rail import Finding

ENGLISH = frozenset(
    "the a an of in on at to and or is are was with from by for while as into its it he she they his her their this that through over under"
    " up down off out after before near behind beside between against across around onto be being has have had not no who which when"
    " where".split()
)
# Function words of other languages, less those that are English words too.
OTHERS = {
    "German": "der das und ist ein eine einen einem einer nicht auf von zu mit für dem den des im sich wie man einen über nach bei durch"
    " wird jemand seinen seine ihre".split(),
    "French": "le la les un une du et est dans sur avec pour qui que au aux ce cette il elle en son sa ses par pas ne d'un d'une".split(),
    "Spanish": "el la los las un una y es con para que por del al su sus como mientras sobre se lo en hacia hasta".split(),
    "Italian": "il lo la gli le un una e di che è con per del della nel nella sul mentre su suo sua come da una dello".split(),
    "Portuguese": "o os um uma e de que é com para por do da no na em seu sua enquanto sobre ao dos das".split(),
    "Dutch": "de het een en van is op met voor niet zijn aan door naar dat die wordt uit bij hij zij".split(),
    "Polish": "i w na z że się do jest nie przez jak po od za oraz jego jej".split(),
    "Swedish": "och en ett är på med som för av till från den det att han hon sig".split(),
    "Turkish": "bir ve bu için ile da de çok olan gibi nasıl kadar".split(),
    "Indonesian": "yang dan di dengan untuk dari ini itu pada adalah seorang sebuah ke oleh".split(),
    "Finnish": "ja on ei se että hän mies nainen kun niin joka".split(),
    "Czech": "je se na že v ve s do pro jako nebo si od po muž".split(),
}
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
POLICIES = ("block", "record")


def script_of(char: str) -> str:
    """`LATIN`, `CYRILLIC`, `CJK` ...: the first word of a letter's Unicode name."""
    return unicodedata.name(char, "UNKNOWN").split()[0].split("-")[0]


def foreign_share(text: str, known: Known) -> tuple[float, str]:
    """Share of letters in words wholly of another script (and that no lookalike reading makes English), and that script."""
    counts: dict[str, int] = {}
    total = 0
    words = [(word, {script_of(c) for c in word if c.isalpha()}) for word in _WORD.findall(unicodedata.normalize("NFKC", text))]
    # Where some words mix scripts, those wholly of lookalikes belong to the same disguise.
    disguised = any("LATIN" in scripts and len(scripts) > 1 for _, scripts in words)
    for word, scripts in words:
        # Scripts without spaces write a sentence as one «word»; each of their letters says about as much as two Latin ones.
        total += len(word)
        if "LATIN" not in scripts and scripts and not known(fold(word)) and not (disguised and fold(word).isascii()):
            name = sorted(scripts)[0]
            counts[name] = counts.get(name, 0) + len(word)
    if not counts or not total:
        return 0.0, ""
    return sum(counts.values()) / total, max(counts, key=lambda k: counts[k])


def other_language(text: str) -> tuple[int, int, str]:
    """(function words of the likeliest other language, English function words, that language's name)."""
    words = [w.casefold().replace("’", "'") for w in _WORD.findall(unicodedata.normalize("NFKC", text))]
    english = sum(w in ENGLISH for w in words)
    best, name = 0, ""
    for language, listed in OTHERS.items():
        # A single letter may be spelling, an initial or an axis; it tells no language.
        own = {w for w in listed if len(w) > 1} - ENGLISH
        hits = [w for w in words if w in own]
        # Two different ones at least: «la» or «de» alone may be part of a name.
        score = len(hits) if len(set(hits)) >= 2 else 0
        if score > best:
            best, name = score, language
    return best, english, name


class Language:
    """The rail.

    Args:
        known: whether a lower-case word is English (the classifier's vocabulary).
        policy: `block` refuses what it cannot read; `record` says so and lets it pass, for callers whose endpoint reads the language.
        coverage: least share of known words in a text of `least` words or more, after disguises were undone.
    """

    name, first, version = "language", False, "1"

    def __init__(self, known: Known, policy: str = "block", coverage: float = 0.5, least: int = 4) -> None:
        if policy not in POLICIES:
            raise BadInput(f"language policy {policy!r}: one of {', '.join(POLICIES)} is wanted.")
        self.known, self.policy, self.coverage, self.least = known, policy, coverage, least

    def check(self, text: str) -> Finding:
        text = "".join(
            c for c in text if unicodedata.category(c) != "Cf" and c not in "*_~`"
        )  # invisible, and Markdown in a word
        share, script = foreign_share(text, self.known)
        if share > 0.15:
            return self._unsupported(f"{share:.0%} of its letters are {script.title()}")
        views = read(text, self.known).views
        hits, english, language = other_language(text)
        # English spelt backwards may hold another language's short words; then some other view is English nearly throughout.
        if hits > english and max((self._known_share(v) for v in views[1:]), default=0.0) < 0.8:
            return self._unsupported(f"it reads like {language}")
        words = [w for w in _WORD.findall(views[0] if views else "") if len(w) >= 3]
        if not views or not any(_WORD.findall(v) for v in views):
            return self._unsupported("no readable word in it")
        best = max(self._known_share(v) for v in views)
        if len(words) >= self.least and best < self.coverage:
            return self._unsupported(f"only {best:.0%} of its words are known")
        return Finding(False, "English")

    def _known_share(self, text: str) -> float:
        words = [w for w in _WORD.findall(text) if len(w) >= 3]
        return sum(self.known(w) for w in words) / len(words) if words else 0.0

    def _unsupported(self, why: str) -> Finding:
        told = f"unsupported language: {why}; this guard reads English"
        return Finding(self.policy == "block", told, category="unsupported_language")
