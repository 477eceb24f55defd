"""`armillary curate` and `armillary curate refilter`."""

from __future__ import annotations

import json
import shutil
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from armillary.curate import CurateConfig, CurateReport

Settings = tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]]


def curate(
    sources: tyro.conf.Positional[tuple[str, ...]],
    *,
    out: Path = Path("curated"),
    runner: str = "processes",
    config: Path | None = None,
    set: Settings = (),
    max_error_rate: float | None = None,
    shards: bool = True,
    report: bool = True,
    export: str = "",
) -> tuple[dict[str, Any], int]:
    """Split, filter, caption, deduplicate and shard raw video.

    One broken file is a row in sources.parquet, not the end of the run. An interrupted run goes on where it was; the result depends on
    the files and the settings alone. Ends with exit code 1 when more files failed than `max_error_rate` allows.

    Example: armillary curate footage/ more/*.mp4 --out curated --set split.min_seconds=2

    Args:
        sources: files, folders, globs or addresses (s3://bucket/folder and whatever else fsspec knows).
        out: the folder for clips/, clips.parquet, sources.parquet, shards/, report.html and summary.json.
        runner: `inline`, `processes` or `ray` (a running cluster when there is one, otherwise a local one).
        config: a TOML or JSON file of settings (see curate.CurateConfig); what it leaves out keeps its default.
        set: settings to override.
        max_error_rate: share of the files that may fail.
        shards: also write tar shards by resolution, aspect and length.
        report: also write report.html.
        export: also write OUT/NAME in another layout: `cosmos` or `cosmos-curate`.
    """
    from armillary.curate import CurateConfig
    from armillary.curate import curate as run
    from armillary.errors import BadInput
    from armillary.presets import override

    if not sources:
        raise BadInput("Nothing to curate: name files, folders or globs.")
    settings = override(read_config(config) if config else CurateConfig(), set)
    if max_error_rate is not None:
        settings = override(settings, [f"max_error_rate={max_error_rate}"])
    _known(export)
    began = time.monotonic()
    return _rest(run(list(sources), out, settings, runner), out, shards, report, export, began)


def curate_refilter(
    out: tyro.conf.Positional[Path],
    *,
    runner: str = "processes",
    set: Settings = (),
    shards: bool = True,
    report: bool = True,
    export: str = "",
) -> tuple[dict[str, Any], int]:
    """Judge curated footage again with other settings, without decoding it again.

    What was measured is kept in OUT/.work: any setting of split, filters, captions and dedup can change. Only clips that were not kept
    before are cut, from the source files.

    Example: armillary curate refilter curated --set motion.min_active=0.02 --set quality.max_blur=0.6

    Args:
        out: the folder of the run.
        runner: `inline`, `processes` or `ray`.
        set: settings to override; the others stay as they were.
        shards: also write the tar shards anew.
        report: also write report.html anew.
        export: also write OUT/NAME in another layout: `cosmos` or `cosmos-curate`.
    """
    from armillary.curate import refilter

    _known(export)
    began = time.monotonic()
    return _rest(refilter(out, set, runner), out, shards, report, export, began)


def read_config(path: Path) -> CurateConfig:
    """Settings from a TOML or JSON file.

    Raises:
        BadInput: the file is not there or not readable, or names a setting that does not exist.
    """
    from armillary.curate import CurateConfig
    from armillary.errors import BadInput
    from armillary.presets import from_json

    try:
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no file of settings that can be read: {error}.") from error
    return from_json(CurateConfig, data)


def _known(export: str) -> None:
    if export:
        from armillary.errors import lookup
        from armillary.shards import EXPORTS

        lookup(EXPORTS, export, "export layout")


def _rest(found: CurateReport, out: Path, shards: bool, report: bool, export: str, began: float) -> tuple[dict[str, Any], int]:
    """What follows on the clips: shards, an export, the page; and the figures to print."""
    from armillary.shards import EXPORTS, write_shards
    from armillary.verbs._curate_report import write_report

    tars = write_shards(found.kept, out / "shards") if shards and found.kept else []
    if shards and not found.kept:
        shutil.rmtree(out / "shards", ignore_errors=True)
    if export and found.kept:
        EXPORTS[export](found.kept, out / export)
    page = write_report(out) if report else None
    reasons = Counter(r.reason for c in found.clips for r in c.rejected)
    timing = json.loads((out / "timing.json").read_text())
    result = {
        "out": str(out),
        "sources": found.num_sources,
        "clips": len(found.clips),
        "kept": len(found.kept),
        "kept_seconds": round(sum(c.end - c.start for c in found.kept), 2),
        "rejected_by": found.rejected_by,
        "reasons": dict(sorted(reasons.items())),
        "errors": list(found.errors),
        "duplicate_files": [list(d) for d in found.duplicates],
        "shards": [{"path": s.path, "bucket": s.bucket, "clips": s.num_clips, "sha256": s.sha256} for s in tars],
        "report": str(page) if page else "",
        "real_time_per_core": timing["real_time_per_core"],
        "seconds": round(time.monotonic() - began, 2),
    }
    return result, int(not found.ok)
