"""`armillary guard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def guard(
    *, text: str | None = None, video: Path | None = None, blurred: Path | None = None, verify: Path | None = None
) -> tuple[dict[str, Any], int]:
    """Ask the guard about a prompt or a video, or check a video against its sidecar.

    Ends with exit code 1 when the guard refuses: each rail says whether it ran, was skipped or failed, and a failed rail refuses.

    Example: armillary guard --text "A robot arm stacks two red blocks" --json

    Args:
        text: a prompt.
        video: a video file; every frame is looked at.
        blurred: where to write the video with its faces blurred.
        verify: a generated mp4 whose sidecar is to be compared with its pixels.
    """
    import dataclasses

    from armillary import guard as guards
    from armillary import media

    if not any((text is not None, video, verify)):
        raise BadInput("Nothing to look at: give --text, --video or --verify.")
    if blurred is not None and video is None:
        raise BadInput("--blurred wants a --video.")
    gate = guards.default_gate()
    result: dict[str, Any] = {}
    verdicts = []
    if text is not None:
        verdicts += gate.check_prompt(text)
    if video is not None:
        film = media.read_video(video)
        after, frames = gate.check_frames(film.frames, film.fps)
        verdicts += after
        if blurred is not None:
            result["blurred"] = str(media.write_video(blurred, frames, film.fps))
    refused = any(v.blocked for v in verdicts)
    if verify is not None:
        result["verify"] = guards.verify(verify)
        refused = refused or not result["verify"]["ok"]
    result |= {"blocked": refused, "verdicts": [dataclasses.asdict(v) for v in verdicts]}
    return result, int(refused)
