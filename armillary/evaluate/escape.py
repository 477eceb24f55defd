"""Text made safe for a page."""

from __future__ import annotations

import html
import re

# What no HTML document may hold, and the marks that turn the direction of text that follows.
UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Any text as the inside of an element or attribute: markup escaped, unprintable characters replaced by U+FFFD."""
    return html.escape(UNFIT.sub("\ufffd", str(text)), quote=True)


def inline(text: str) -> str:
    """`clean`, with `code` between backticks."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", clean(text))
