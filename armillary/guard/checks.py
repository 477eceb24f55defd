"""The guard asked directly: about a prompt, a file of prompts, or a video. The same gate, and so the same verdicts, as generation."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.guard.gate import Gate, Open
from armillary.guard.provenance import record, seal
from armillary.guard.rail import verdicts_json
from armillary.guard.rails import default_gate
from armillary.types import Verdict

COLUMNS = ("id", "blocked", "rail", "category", "score", "reason", "milliseconds")


def summary(verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """One line of many verdicts: `blocked`; `rail`, `category` and `reason` of the first that refused; the highest `score` given."""
    refused = [v for v in verdicts if v.blocked]
    scores = [float(v.score) for v in verdicts if v.score is not None]
    first = refused[0] if refused else None
    named = next((v.category for v in refused if v.category), "unspecified") if refused else ""
    return {
        "blocked": bool(refused),
        "rail": first.rail if first else "",
        "category": named,
        "score": round(max(scores), 4) if scores else None,
        "reason": first.reason if first else "no rail refused",
    }


def check(
    text: str | None = None,
    video: str | Path | np.ndarray | None = None,
    *,
    fps: float = 10.0,
    out: str | Path | None = None,
    gate: Gate | Open | None = None,
) -> dict[str, Any]:
    """Run the guard over a prompt, a video, or both.

    Args:
        text: a prompt.
        video: a file, or uint8 `t h w 3` at `fps`.
        out: where the video with hidden faces is written (with its sidecar), when no rail refused.
        gate: another gate than the default.

    Returns:
        `{"blocked", "rail", "category", "score", "reason", "milliseconds", "guard", "verdicts": [...], "path", "notes"}`, JSON-able.

    Raises:
        BadInput: nothing to check, or a file that cannot be read.
    """
    from armillary.media import read_video, write_video

    if text is None and video is None:
        raise BadInput("Nothing to look at: give a text, a file of prompts or a video.")
    gate = gate or default_gate()
    began = time.perf_counter()
    verdicts: tuple[Verdict, ...] = gate.check_prompt(text) if text is not None else ()
    notes, path = [], ""
    if video is not None:
        if isinstance(video, np.ndarray):
            frames = video
        else:
            read = read_video(video)
            frames, fps = read.frames, read.fps
        after, shown = gate.check_frames(frames, fps)
        verdicts += after
        if out is not None and any(v.blocked for v in verdicts):
            notes.append("nothing was written: a rail refused")
        elif out is not None:
            if not isinstance(video, np.ndarray) and Path(out).resolve() == Path(video).resolve():
                raise BadInput(f"{out} is the video itself; another name is wanted.")
            path = str(write_video(out, shown, fps))
            seal(path, {"provenance": record(shown, fps, after, gate.describe()) | {"synthetic": False}})
    notes += [f"{v.rail} did not run: {v.reason}" for v in verdicts if v.state == "skipped"]
    return summary(verdicts) | {
        "milliseconds": round(1e3 * (time.perf_counter() - began), 2),
        "guard": gate.describe(),
        "verdicts": verdicts_json(verdicts),
        "path": path,
        "notes": notes,
    }


def check_file(prompts: str | Path, out: str | Path, gate: Gate | Open | None = None) -> dict[str, Any]:
    """Ask the guard about every row of a CSV with the columns `id` and `text`, and write one with `COLUMNS`.

    A row without a text is refused by the input rail like an empty prompt; it does not stop the others.

    Returns:
        `{"rows", "blocked", "failed", "milliseconds", "path", "by": {rail: rows it refused first}}`; `failed` counts the rows on which a
        rail could not run, `milliseconds` is the median.

    Raises:
        BadInput: a file that cannot be read or lacks the columns, or an output that is the input.
    """
    from armillary.progress import track
    from armillary.store.atomic import atomic_path

    if Path(prompts).resolve() == Path(out).resolve():
        raise BadInput(f"{out} is the file of prompts itself; another name is wanted.")
    rows = list(_rows(Path(prompts)))
    gate = gate or default_gate()
    gate.check_prompt("warm up")  # weights are loaded outside the first row's time
    spent, failed, by = [], 0, {}
    with atomic_path(out) as part, part.open("w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, list[str](COLUMNS))
        writer.writeheader()
        for key, text in track(rows, "prompts"):
            began = time.perf_counter()
            verdicts = gate.check_prompt(text)
            spent.append(1e3 * (time.perf_counter() - began))
            line = summary(verdicts)
            failed += any(v.state == "failed" for v in verdicts)
            if line["blocked"]:
                by[line["rail"]] = by.get(line["rail"], 0) + 1
            shown = {"blocked": str(line["blocked"]).lower(), "score": "" if line["score"] is None else line["score"]}
            writer.writerow({"id": key, **line, **shown, "milliseconds": round(spent[-1], 2)})
    return {
        "rows": len(rows), "blocked": sum(by.values()), "failed": failed, "by": by, "path": str(out),
        "milliseconds": round(float(np.median(spent)), 2) if spent else 0.0,
    }  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 30))
    try:
        # Bytes that are no UTF-8 become lone surrogates, which the input rail refuses by name.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as f:
            reader = csv.DictReader(f)
            if not {"id", "text"} <= set(reader.fieldnames or ()):
                raise BadInput(f"{path} wants the columns id and text; it has {', '.join(reader.fieldnames or ()) or 'none'}.")
            for row in reader:
                yield (row["id"] or "").encode("utf-8", "replace").decode(), row["text"] or ""
    except (OSError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
