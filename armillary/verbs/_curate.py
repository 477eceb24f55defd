"""`armillary curate`."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import tyro


def curate(
    sources: tyro.conf.Positional[tuple[str, ...]],
    *,
    out: Path = Path("curated"),
    runner: str = "processes",
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
    shards: bool = True,
) -> tuple[dict[str, Any], int]:
    """Split, filter, caption, deduplicate and shard raw video.

    One broken file is a row in the report, not the end of the run. An interrupted run goes on where it was; the result depends on the
    files and the settings alone. Ends with exit code 1 when more files failed than `max_error_rate` allows.

    Example: armillary curate footage/ more/*.mp4 --out curated --set split.min_seconds=2

    Args:
        sources: files, folders or globs.
        out: the folder for clips/, clips.jsonl, errors.jsonl, summary.json and shards/.
        runner: `inline` or `processes`.
        set: settings to override (see curate.CurateConfig).
        shards: also write tar shards by resolution, aspect and length.
    """
    from armillary.curate import CurateConfig
    from armillary.curate import curate as run
    from armillary.errors import BadInput
    from armillary.presets import override
    from armillary.shards import write_shards

    if not sources:
        raise BadInput("Nothing to curate: name files, folders or globs.")
    began = time.monotonic()
    report = run(list(sources), out, override(CurateConfig(), set), runner)
    tars = write_shards(report.kept, out / "shards") if shards and report.kept else []
    reasons = Counter(r.reason for c in report.clips for r in c.rejected)
    result = {
        "out": str(out),
        "sources": report.num_sources,
        "clips": len(report.clips),
        "kept": len(report.kept),
        "kept_seconds": round(sum(c.end - c.start for c in report.kept), 2),
        "rejected_by": report.rejected_by,
        "reasons": dict(sorted(reasons.items())),
        "errors": list(report.errors),
        "duplicate_files": [list(d) for d in report.duplicates],
        "shards": [{"path": s.path, "bucket": s.bucket, "clips": s.num_clips, "sha256": s.sha256} for s in tars],
        "seconds": round(time.monotonic() - began, 2),
    }
    return result, int(not report.ok)
