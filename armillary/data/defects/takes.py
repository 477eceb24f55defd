"""Checking layouts whose episodes are files: each is opened, decoded from end to end, and counted against what is said of it."""

from __future__ import annotations

from pathlib import Path

from armillary.data.convert.encoded import look
from armillary.data.convert.sources import BROKEN, open_source
from armillary.data.convert.takes import checked
from armillary.data.defects.validate import Findings, Health
from armillary.errors import BadInput
from armillary.progress import track


def check_takes(root: Path, window: int = 9, decode: bool = True) -> Health:
    """See `defects.validate`."""
    source = open_source(root)
    found, frames = Findings(), 0
    for i, key in enumerate(track(source.keys, "check the episodes")):
        try:
            take = source.take(i)
            if decode:
                for span in take.spans.values():
                    if span.whole:
                        look(span.path, take.episode.fps, len(take))
        except BROKEN as error:
            found.add("episode-unreadable", key, str(error))
            continue
        frames += len(take)
        try:
            checked(take)
        except BadInput as error:
            found.add("not-finite", key, str(error))
        if len(take) < window:
            found.add("short-episode", key, f"It has {len(take)} frames, fewer than a window of {window}")
        if not take.episode.caption and not take.episode.instruction:
            found.add("no-caption", key, "Nothing says what it shows")
    return Health(str(root), source.layout, source.version, len(source.keys), frames, tuple(found.defects))
