"""`armillary embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def embed(prompts: Path, /, *, encoder: str, out: Path) -> dict[str, Any]:
    """Embed prompts beforehand, where the text encoder is; `armillary generate --embeddings OUT` then dreams without it.

    Example: armillary embed prompts.txt --encoder t5-11b --out prompts

    Args:
        prompts: a text file, a prompt a line; negative prompts too.
        encoder: its name, or its folder.
        out: the folder; prompts that are in it already are not made again.
    """
    from armillary import text
    from armillary.text import cache

    if not prompts.is_file():
        raise BadInput(f"{prompts} is no file; a text file with a prompt a line is wanted.")
    lines = [line.strip() for line in prompts.read_text(encoding="utf-8").splitlines()]
    wanted = list(dict.fromkeys(line for line in lines if line))
    if not wanted:
        raise BadInput(f"{prompts} holds no prompt.")
    made = cache.make(text.load(encoder), wanted, out)
    return {"out": str(out), "encoder": encoder, "prompts": len(wanted), "made": made}
