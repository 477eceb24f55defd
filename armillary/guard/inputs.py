"""The first rail: whether there is a prompt at all that other rails can be given."""

from __future__ import annotations

from armillary.guard.normalise import fold
from armillary.guard.rail import Finding


class Input:
    """Refuses what is empty, blank to the eye, undecodable or over-long; says the limit instead of cutting silently.

    Args:
        limit: characters a prompt may have.
    """

    name, first, version = "input", True, "1"

    def __init__(self, limit: int = 8000) -> None:
        self.limit = limit

    def check(self, text: str) -> Finding:
        if not isinstance(text, str):
            return _refused(f"a prompt is text; got {type(text).__name__}")
        if not text.strip():
            return _refused("the prompt is empty; give none at all to generate without one")
        if len(text) > self.limit:
            return _refused(f"the prompt has {len(text)} characters; the limit is {self.limit}")
        if any("\ud800" <= c <= "\udfff" for c in text):
            return _refused("the prompt holds half a character (a lone surrogate); send valid UTF-8")
        if "\0" in text:
            return _refused("the prompt holds a NUL character")
        if not any(c.isalnum() for c in fold(text)):
            return _refused("the prompt holds no letter or digit that can be seen")
        return Finding(False, f"{len(text)} characters")


def _refused(why: str) -> Finding:
    return Finding(True, why, category="unusable")
