"""A prompt as a reader would read it: what hides letters from a filter is undone before any rail looks.

`read(text, known)` gives a few views of one prompt. The first is the text with compatibility forms, invisible characters, lookalike
letters, Markdown and entities undone. The others undo what may also be innocent (dots between letters, digits for letters, doubled
letters, swapped letters, reversed text, Base64); they are guided by `known`, a test for English words, so that an ordinary word is never
«repaired». A rail judges every view and takes the worst.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import functools
import html
import itertools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

Known = Callable[[str], bool]

# Letters that look like Latin ones and whose Unicode names do not say so (after the idea of UTS #39, own selection): lookalike, Latin.
_PAIRS = (
    "аa вb еe һh іi јj кk ӏl мm нh оo рp ԛq сc ѕs тt уy ԝw хx ѵv ԁd гr ѡw ҽe ҫc ҝk қk ԍg ѻo ҳx ьb"
    " АA ВB ЕE ЗE ІI ЈJ КK МM НH ОO РP СC ЅS ТT УY ХX ѴV ԀD ԌG ԚQ ԜW ҺH ӀI ЯR ИN"
    " αa βb γy εe ηn ιi κk νv οo ρp σo τt υu χx ωw ϲc ϳj ϱp ϵe"
    " ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX ϹC ϺM ΣE ΛA ΔA"
    " օo սu հh ոn զq ցg աw յj ՍU ՏS ՕO ՈN ᎪA ᏴB ᏟC ᎠD ᎬE ᏀG ᎻH ᎥI ᎫJ ᏦK ᏞL ᎷM ᏢP ᏒR ᏚS ᎢT ᏙV ᎳW ᏃZ"
    " ℮e ∂d ꓐB ꓑP ꓓD ꓔT ꓖG ꓗK ꓙJ ꓚC ꓜZ ꓝF ꓟM ꓠN ꓡL ꓢS ꓣR ꓦV ꓧH ꓪW ꓫX ꓬY ꓮA ꓰE ꓲI ꓳO ꓴU"
)
_NAME = re.compile(
    r"(?:NEGATIVE |SQUARED |CIRCLED |PARENTHESIZED |TORTOISE SHELL BRACKETED |CROSSED |MODIFIER LETTER |SUPERSCRIPT )*"
    r"(?:REGIONAL INDICATOR SYMBOL LETTER|LATIN (?:CAPITAL |SMALL )?LETTER|LATIN SUBSCRIPT SMALL LETTER|(?:CAPITAL|SMALL))"
    r" (?:SMALL CAPITAL |SMALL |CAPITAL |TURNED |REVERSED |SIDEWAYS |INVERTED |OPEN |DOTLESS |LONG |BARRED |SCRIPT |STRETCHED )*"
    r"([A-Z])(?: WITH .*)?"
)
_RANGES = (
    (0xC0, 0x2B0), (0x2B0, 0x300), (0x1D00, 0x1DC0), (0x1E00, 0x1F00), (0x2070, 0x20A0), (0x249C, 0x24EA),
    (0x2C60, 0x2C80), (0xA720, 0xA800), (0xAB30, 0xAB70), (0x1F100, 0x1F200),
)  # fmt: skip
# Blank to the eye although Unicode calls them letters, or separators no prompt needs.
_BLANK = {0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x180E, 0x034F, 0x17B4, 0x17B5}
_LEET = str.maketrans("013457890@$!|+€£8", "oieastbgoasiiteeb")
_RUN = re.compile(r"(?<![^\W_])[^\W_](?:[.\-_*·•/|~,'’^=:;]+[^\W_])+(?![^\W_])")
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_](?:[ \t]{1,3}[^\W\d_])+(?![^\W_])")
_INNER = re.compile(r"(?<=[^\W\d_])[\-_*.·•~|^=/](?=[^\W\d_])")
_TOKEN = re.compile(r"[^\W_][\w@$!|+€£]*[^\W_]|[@$][\w@$!|+]*[^\W_]")
_WORD = re.compile(r"[^\W_]+")
_B64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/\-_]{12,}={0,2}")


@dataclass(frozen=True)
class Reading:
    """`text`: the plain view (keeps case folded, words separated by single spaces); `views`: it and the others, each once."""

    text: str
    views: tuple[str, ...]


@functools.cache
def confusables() -> dict[int, str]:
    """Code point -> Latin letter, for every lookalike this file knows: from Unicode names where they tell, else from the pairs above."""
    table: dict[int, str] = {}
    for low, high in _RANGES:
        for code in range(low, high):
            name = unicodedata.name(chr(code), "")
            if match := _NAME.fullmatch(name):
                table[code] = match[1].lower()
    for pair in _PAIRS.split():
        table[ord(pair[0])] = pair[-1].lower()
    return table


def fold(text: str) -> str:
    """Lookalikes to Latin, compatibility forms (fullwidth, mathematical, ligatures) to plain, accents and invisible characters away."""
    table = confusables()
    # Before the compatibility forms too: those would turn an enclosed letter into a letter between brackets.
    text = unicodedata.normalize("NFKD", text.translate(table))
    kept = []
    for char in text:
        code, kind = ord(char), unicodedata.category(char)
        if kind in ("Mn", "Me") or kind == "Cf" or code in _BLANK or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE01FF:
            continue
        kept.append(" " if kind in ("Cc", "Zs", "Zl", "Zp", "Co", "Cn", "Cs") else char)
    return unicodedata.normalize("NFKC", "".join(kept).translate(table)).casefold()


def read(text: str, known: Known | None = None) -> Reading:
    """The views of a prompt.

    Args:
        known: whether a lower-case word is English; without it, repairs that need it are left out.
    """
    plain = fold(html.unescape(text))
    plain = re.sub(r"<[^<>]{0,80}>", " ", plain)
    marked = re.sub(r"[*_`~#>]{1,3}(?=[^\W_])|(?<=[^\W_])[*_`~]{1,3}(?=[\s.,;:!?]|$)", "", plain)
    base = _squash(re.sub(r"(.)\1{2,}", r"\1\1", marked) if known else marked)
    views = [_squash(marked), base]
    tight = _tighten(marked, known)
    views.append(_squash(tight))
    turned = _decoded(text, base, known) if known else []
    # What reads as English when turned round as a whole is not mended word by word: that gives its words in the wrong order.
    if known and not (turned and coverage(base, known) < 0.5):
        fixed = _TOKEN.sub(lambda m: repair(m[0], known), tight)
        views.append(_squash(fixed))
    views.extend(turned)
    return Reading(views[0], tuple(dict.fromkeys(v for v in views if v)))


def _squash(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _tighten(text: str, known: Known | None) -> str:
    """`b.e.h.e.a.d`, `b e h e a d` and `be-head` as words."""
    text = _RUN.sub(lambda m: re.sub(r"[\W_]+", "", m[0]), text)

    def join(match: re.Match[str]) -> str:
        letters = re.split(r"[ \t]{2,}", match[0])
        words = ["".join(part.split()) for part in letters]
        # Two single letters may be «a b»; from three on it is spelling.
        if sum(map(len, words)) < 3:
            return match[0]
        return " ".join(segment(word, known) if known else word for word in words)

    text = _SPACED.sub(join, text)
    if not known:
        return _INNER.sub("", text)

    def inner(match: re.Match[str]) -> str:
        # `robot-arm` is two words and stays; `be-head` is one.
        parts = re.split(r"[\W_]+", match[0])
        whole = "".join(parts)
        if known(whole) and not all(known(p) for p in parts):
            return whole
        # Short scraps cannot be words of a sentence: «ex-plo-sive».
        return whole if len(whole) >= 6 and sum(known(p) for p in parts) < len(parts) else match[0]

    return re.sub(r"[^\W\d_]+(?:[\-_*.·•~|^=/][^\W\d_]+)+", inner, text)


def segment(letters: str, known: Known, longest: int = 18) -> str:
    """`amanstabs` -> `a man stabs`: the split with the fewest unknown letters, then the fewest words."""
    if known(letters):
        return letters
    best: list[tuple[float, int]] = [(0.0, 0)] + [(float("inf"), 0)] * len(letters)
    for end in range(1, len(letters) + 1):
        for start in range(max(0, end - longest), end):
            word = letters[start:end]
            if len(word) == 1:
                cost = 1.5 if word in "ai" else 6.0
            else:
                cost = 1.0 + (0.6 if len(word) == 2 else 0.0) if known(word) else 6.0 * len(word)
            if best[start][0] + cost < best[end][0]:
                best[end] = (best[start][0] + cost, start)
    words, end = [], len(letters)
    while end:
        start = best[end][1]
        words.append(letters[start:end])
        end = start
    return " ".join(reversed(words))


@functools.lru_cache(maxsize=4096)
def _repaired(token: str, known: Known) -> str:
    if known(token) or token.isdigit():
        return token
    candidates: list[str] = []
    if any(c.isalpha() for c in token) and not token.isalpha() and len(token) >= 3:
        plain = token.translate(_LEET)
        candidates += [plain, token.replace("1", "l").replace("!", "l").replace("|", "l").translate(_LEET)]
    if len(token) >= 4:
        word = candidates[0] if candidates else token
        runs = [m.span() for m in re.finditer(r"(\w)\1+", word)]
        if 0 < len(runs) <= 6:
            for choice in itertools.product((2, 1), repeat=len(runs)):
                out, at = [], 0
                for (low, high), n in zip(runs, choice, strict=True):
                    out += [word[at:low], word[low] * min(n, high - low)]
                    at = high
                candidates.append("".join(out) + word[at:])
        for w in (word, re.sub(r"(\w)\1+", r"\1", word)) if len(word) >= 5 else ():
            candidates += [w[:i] + w[i + 1] + w[i] + w[i + 2 :] for i in range(len(w) - 1)]
        if len(word) >= 5:
            candidates.append(word[::-1])
    for candidate in candidates:
        if candidate.isalpha() and known(candidate):
            return candidate
    # A word spelt with digits stays readable to the character features even when it is in no vocabulary.
    return candidates[0] if candidates and candidates[0].isalpha() and _leety(token) else token


def _leety(token: str) -> bool:
    letters = sum(c.isalpha() for c in token)
    inside = sum(not c.isalpha() for c in token[1:-1])
    return len(token) >= 4 and inside > 0 and letters >= len(token) / 2


def repair(token: str, known: Known) -> str:
    """An unknown token as the known word it spells with digits, doubled, swapped or reversed letters; anything else as it is."""
    return _repaired(token, known)


def coverage(text: str, known: Known) -> float:
    """Share of the words of three letters and more that are known; 1 when there are none."""
    words = [w for w in _WORD.findall(text) if len(w) >= 3 and w.isalpha()]
    return sum(known(w) for w in words) / len(words) if words else 1.0


def _decoded(raw: str, base: str, known: Known) -> list[str]:
    """Base64, reversed and rot13 text, taken as the prompt only where the result is English and the original is not."""
    out = []
    for match in _B64.finditer(raw):
        chunk = match[0].replace("-", "+").replace("_", "/").rstrip("=")
        try:
            plain = base64.b64decode(chunk + "=" * (-len(chunk) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            continue  # not Base64 after all: an ordinary long word
        if plain.isprintable() and coverage(fold(plain), known) > 0.6:
            out.append(_squash(fold(plain)))
    if len(base) >= 6 and coverage(base, known) < 0.5:
        for other in (base[::-1], codecs.encode(base, "rot13")):
            if coverage(other, known) > 0.6:
                out.append(_squash(other))
    return out
