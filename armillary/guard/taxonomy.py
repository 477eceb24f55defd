"""One taxonomy for every rail: what safety models and word lists call things, under the names that records and reports use."""

from __future__ import annotations

CATEGORIES: dict[str, str] = {
    "violence": "people attacked, tortured or killed",
    "gore": "wounds, bodies and blood dwelt on",
    "sexual": "sexual acts, nudity for arousal, intimate pictures without consent",
    "child_safety": "harm to minors, sexual above all",
    "self_harm": "suicide, self-injury, eating disorders",
    "hate": "contempt or harm for what people are",
    "harassment": "threats, bullying, humiliation of a person",
    "weapons": "making or misusing weapons, explosives, poisons; terror",
    "drugs": "making, selling or misusing illegal drugs",
    "crime": "theft, fraud, intrusion, trafficking and help with them",
    "animal_cruelty": "animals tormented",
    "deception": "false news, cloned persons, election lies",
    "privacy": "personal data laid open",
    "other": "a class of a safety model that has no counterpart here",
    "unusable": "no prompt or no video that could be checked",
    "unsupported_language": "not a language the rails read",
}

# Llama Guard 3 and 4 (MLCommons hazards S1-S14) and Aegis 1.0 (O1-O13): code -> (category, what it is called there).
HAZARDS: dict[str, tuple[str, str]] = {
    "S1": ("violence", "violent crimes"), "S2": ("crime", "non-violent crimes"), "S3": ("sexual", "sex-related crimes"),
    "S4": ("child_safety", "child sexual exploitation"), "S5": ("deception", "defamation"), "S6": ("other", "specialised advice"),
    "S7": ("privacy", "privacy"), "S8": ("other", "intellectual property"), "S9": ("weapons", "indiscriminate weapons"),
    "S10": ("hate", "hate"), "S11": ("self_harm", "self-harm"), "S12": ("sexual", "sexual content"), "S13": ("deception", "elections"),
    "S14": ("crime", "code interpreter abuse"),
    "O1": ("violence", "violence"), "O2": ("sexual", "sexual"), "O3": ("crime", "criminal planning"),
    "O4": ("weapons", "guns and illegal weapons"), "O5": ("drugs", "controlled substances"), "O6": ("self_harm", "suicide and self-harm"),
    "O7": ("child_safety", "sexual content with minors"), "O8": ("hate", "hate"), "O9": ("privacy", "personal data"),
    "O10": ("harassment", "harassment"), "O11": ("violence", "threat"), "O12": ("harassment", "profanity"),
    "O13": ("other", "needs caution"),
}  # fmt: skip

# Words that the categories of Qwen3Guard and of Aegis 2 hold -> category, first match wins.
WORDS: dict[str, str] = {
    "non-violent": "crime", "sexual (minor)": "child_safety", "violen": "violence", "sexual": "sexual", "suicide": "self_harm",
    "self-harm": "self_harm", "self harm": "self_harm", "pii": "privacy", "personal": "privacy", "political": "deception",
    "jailbreak": "other", "unethical": "other", "copyright": "other", "criminal": "crime", "weapons": "weapons", "substances": "drugs",
    "hate": "hate", "harassment": "harassment", "threat": "violence", "profanity": "harassment", "caution": "other", "fraud": "deception",
    "manipulation": "deception", "malware": "crime", "illegal activity": "crime", "high risk gov": "other", "advice": "other",
    "other": "other",
}  # fmt: skip


def of_codes(codes: list[str]) -> str:
    """The category of the first known code, `other` when none is known, empty for none at all."""
    return next((HAZARDS[c][0] for c in codes if c in HAZARDS), "other" if codes else "")


def of_words(told: str) -> str:
    """The category of Qwen3Guard's or Aegis 2's words, `other` when none is known, empty for no words."""
    return next((category for word, category in WORDS.items() if word in told.lower()), "other" if told else "")


def known_words(told: str) -> bool:
    """Whether each of the classes, parted by commas, holds a word that is known here."""
    return all(any(word in part for word in WORDS) for part in told.lower().split(","))
