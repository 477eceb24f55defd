"""The guard as a verb: check a prompt, a video, a prompt file, or a sealed video against its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.guard.gate import Gate, Open
from armillary.guard.provenance import record, seal, verify
from armillary.guard.rail import verdicts_json
from armillary.guard.rails import default_gate


def check(
    text: str | None = None,
    video: str | Path | np.ndarray | None = None,
    *,
    fps: float = 10.0,
    out: str | Path | None = None,
    sealed: str | Path | None = None,
    gate: Gate | Open | None = None,
) -> dict[str, Any]:
    """Run the guard over what is given.

    Args:
        text: a prompt.
        video: a file, or uint8 `t h w 3` at `fps`.
        out: where the video with hidden faces is written (with its sidecar), when no rail refused.
        sealed: a video whose sidecar is compared with it.
        gate: another gate than the default.

    Returns:
        `{"title", "blocked", "prompt": [verdict...], "frames": [verdict...], "verify": {...}, "path", "notes"}`, JSON-able; the keys of
        what was not asked for are left out.

    Raises:
        BadInput: nothing to check, or a file that cannot be read.
    """
    from armillary.media import read_video, write_video

    if text is None and video is None and sealed is None:
        raise BadInput("Nothing to check: give a text, a video or a sealed video.")
    gate = gate or default_gate()
    report: dict[str, Any] = {"title": "Guard", "blocked": False, "guard": gate.describe(), "notes": []}
    if text is not None:
        verdicts = gate.check_prompt(text)
        report["prompt"] = verdicts_json(verdicts)
        report["blocked"] |= any(v.blocked for v in verdicts)
    if video is not None:
        if isinstance(video, np.ndarray):
            frames = video
        else:
            read = read_video(video)
            frames, fps = read.frames, read.fps
        verdicts, shown = gate.check_frames(frames, fps)
        report["frames"] = verdicts_json(verdicts)
        blocked = any(v.blocked for v in verdicts)
        report["blocked"] |= blocked
        if out is not None and blocked:
            report["notes"].append("nothing was written: a rail refused")
        elif out is not None:
            if not isinstance(video, np.ndarray) and Path(out).resolve() == Path(video).resolve():
                raise BadInput(f"{out} is the video itself; another name is wanted.")
            path = write_video(out, shown, fps)
            made = record(shown, fps, verdicts, gate.describe()) | {"synthetic": False}
            seal(path, {"provenance": made})
            report["path"] = str(path)
    if sealed is not None:
        report["verify"] = verify(sealed)
        report["blocked"] |= not report["verify"]["ok"]
    skipped = [v for part in ("prompt", "frames") for v in report.get(part, ()) if v["state"] == "skipped"]
    report["notes"] += [f"{v['rail']} did not run: {v['reason']}" for v in skipped]
    return report
