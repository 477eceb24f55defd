"""What counts as a prompt."""

from __future__ import annotations

from armillary.errors import BadInput


def check_prompt(text: str, limit: int = 2000) -> str:
    """`text` without the white space around it, when a person could have meant it.

    Args:
        limit: characters.

    Raises:
        BadInput: it is no string, is empty, is longer than `limit` (nothing is ever cut off silently), or holds a NUL or half a
            surrogate pair, which no encoder and no file can carry.
    """
    if not isinstance(text, str):
        raise BadInput(f"A prompt is text; got {type(text).__name__}.")
    if "\x00" in text:
        raise BadInput(f"The prompt holds a NUL character at position {text.index(chr(0))}; remove it.")
    lone = next((i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff"), None)
    if lone is not None:
        raise BadInput(f"The prompt holds half a surrogate pair at position {lone}: it was not read as UTF-8.")
    stripped = text.strip()
    if not stripped:
        raise BadInput("The prompt is empty; say in a sentence what is to be seen.")
    if len(stripped) > limit:
        raise BadInput(f"The prompt is {len(stripped)} characters long; the limit is {limit}.")
    return stripped
