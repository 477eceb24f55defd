"""Curation from end to end: a list of files in, a folder of clips out, whatever the files are like.

```text
out/clips/<id>.mp4      the clips that stayed
out/clips.jsonl         every clip, kept or not: span, scores, tags, caption, rejections with score and threshold
out/embeddings.npy      one row a kept clip, in the order of clips.jsonl
out/errors.jsonl        every source that failed, wholly or in part: source, kind, reason
out/summary.json        counts, and the config
out/.work/              one record a source, by content; what makes a second run short
```

The result depends on the files and the config, not on the number of workers, on their order, or on having been stopped in between.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.config import CurateConfig
from armillary.curate.dedup import dedup
from armillary.curate.runners import RUNNERS
from armillary.curate.source import clip_from_json, clip_to_json, fingerprint, load_record, stages_of
from armillary.errors import BadInput, lookup
from armillary.presets import to_json
from armillary.progress import Progress
from armillary.store import atomic_path, check_writable, sha256_file, write_json, write_text
from armillary.types import Clip

SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .mts .wmv .flv .ogv .3gp .mxf .y4m .gif".split())


@dataclass(frozen=True)
class CurateReport:
    """What came out.

    Args:
        clips: every clip, kept and rejected, in the order of sources and time; paths are usable as they are.
        errors: rows `{source, kind, reason}`.
        duplicates: sources whose bytes another source has too: (source, the one that was used).
    """

    out: str
    num_sources: int
    clips: tuple[Clip, ...]
    errors: tuple[dict[str, Any], ...]
    duplicates: tuple[tuple[str, str], ...] = ()
    ok: bool = True

    @property
    def kept(self) -> list[Clip]:
        return [c for c in self.clips if not c.rejected]

    @property
    def rejected_by(self) -> dict[str, int]:
        """How many clips each filter rejected; a clip rejected by several counts for each."""
        counts = Counter(by for c in self.clips for by in {r.by for r in c.rejected})
        return dict(sorted(counts.items()))


def find_sources(sources: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Files, folders (searched through, by suffix) and globs as a list of files in natural order, each once.

    A folder's symbolic links are followed only where they stay inside it. What lies under `out` is a result and no source.

    Raises:
        BadInput: naming what matches nothing.
    """
    found: dict[str, Path] = {}
    for source in sources:
        text = os.fspath(source)
        path = Path(text)
        if path.is_dir():
            root = path.resolve()
            inside = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not _hidden(p, path) and p.is_file()]
            matches = [p for p in inside if p.resolve().is_relative_to(root)]
            if out is not None:
                matches = [p for p in matches if not p.resolve().is_relative_to(Path(out).resolve())]
        elif path.is_file():
            matches = [path]
        else:
            matches = [Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file()]
        if not matches:
            raise BadInput(
                f"Nothing to curate at {text!r}: no such file, no video in that folder, or no match for that pattern."
            )
        found.update({str(p): p for p in matches})
    if not found:
        raise BadInput("Nothing to curate: no source was given.")
    return sorted(found.values(), key=natural)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def natural(path: Path) -> list[Any]:
    """Sorts `clip2` before `clip10`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]


def curate(
    sources: Sequence[str | Path], out: str | Path, config: CurateConfig | None = None, runner: str = "inline"
) -> CurateReport:
    """Split, filter, caption and deduplicate videos into `out`; going on where an earlier run over the same files stopped.

    Args:
        sources: files, folders, globs.
        runner: a name in `RUNNERS`.

    Raises:
        BadInput: no source at all, an unknown filter or runner, an output folder that cannot be written.
    """
    config = config or CurateConfig()
    run = lookup(RUNNERS, runner, "runner")
    stages_of(config)  # an unknown filter, or an endpoint without an address, shows now and not once per file
    paths = find_sources(sources, out)
    out = check_writable(out)
    work = out / ".work" / fingerprint(config)
    errors: dict[str, list[dict[str, Any]]] = {}
    contents, duplicates = _contents(paths, errors)
    todo = [p for p, content in contents.items() if load_record(work, content) is None]
    plain = to_json(config)
    tasks = [
        {"path": str(p.resolve()), "name": str(p), "content": contents[p], "work": str(work.resolve()), "config": plain}
        for p in todo
    ]
    with Progress("curate", len(contents), len(contents) - len(todo)) as bar:
        results = run(tasks, workers=config.workers, timeout=config.timeout, retries=config.retries)
        for i, answer in results:
            if answer:
                errors.setdefault(str(todo[i]), []).append(answer)
            bar.advance(file=todo[i].name)
    return _finish(out, work, paths, contents, duplicates, errors, config)


def _contents(paths: list[Path], errors: dict[str, list[dict[str, Any]]]) -> tuple[dict[Path, str], list[tuple[str, str]]]:
    """sha256 of each file that can be read, the first of each content only; and who repeats whom."""
    contents: dict[Path, str] = {}
    first: dict[str, Path] = {}
    duplicates = []
    for path in paths:
        try:
            digest = sha256_file(path)
        except OSError as error:
            errors.setdefault(str(path), []).append({"kind": "not_found", "reason": f"{error.strerror or error}"})
            continue
        if digest in first and path.stat().st_size:
            duplicates.append((str(path), str(first[digest])))
        else:
            first.setdefault(digest, path)
            contents[path] = digest
    return contents, duplicates


def _finish(
    out: Path,
    work: Path,
    paths: list[Path],
    contents: dict[Path, str],
    duplicates: list[tuple[str, str]],
    errors: dict[str, list[dict[str, Any]]],
    config: CurateConfig,
) -> CurateReport:
    """From the records: dedup across sources, link what stays, write the lists."""
    clips: list[Clip] = []
    hashes: dict[str, list[int]] = {}
    lost: set[str] = set()
    for path, content in contents.items():
        record = load_record(work, content)
        if record is None:
            lost.add(str(path))
            continue
        errors.setdefault(str(path), []).extend(record["problems"])
        hashes.update({k: [int(h, 16) for h in v] for k, v in record["hashes"].items()})
        clips += [clip_from_json(c, work, record["vectors"].get(c["id"])).replace(source=str(path)) for c in record["clips"]]
    clips = dedup(clips, hashes, config.dedup)
    clips = _link(out, clips)
    rows = [{"source": str(p), **row} for p in paths for row in errors.get(str(p), [])]
    kept = [c for c in clips if not c.rejected]
    if kept:
        with atomic_path(out / "embeddings.npy") as temporary:
            np.save(temporary, np.stack([np.asarray(c.embedding, np.float32) for c in kept]), allow_pickle=False)
    else:
        (out / "embeddings.npy").unlink(missing_ok=True)
    write_text(out / "clips.jsonl", _lines([clip_to_json(c, out) for c in clips]))
    write_text(out / "errors.jsonl", _lines(rows))
    failed = len({r["source"] for r in rows if r["source"] in lost or r["source"] not in {str(p) for p in contents}})
    ok = failed <= config.max_error_rate * len(paths)
    report = CurateReport(str(out), len(paths), tuple(clips), tuple(rows), tuple(duplicates), ok)
    write_json(out / "summary.json", _summary(report, failed, config))
    return report


def _link(out: Path, clips: list[Clip]) -> list[Clip]:
    """Hard-link kept clips into `out/clips` and remove what no longer belongs there."""
    folder = out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    linked: list[Clip] = []
    for clip in clips:
        target = folder / f"{clip.id}.mp4"
        if clip.rejected or not clip.path:
            linked.append(clip.replace(path=""))
            continue
        source = Path(clip.path)
        if not target.is_file() or not os.path.samefile(target, source):
            with atomic_path(target) as temporary:
                temporary.unlink()
                try:
                    os.link(source, temporary)
                except OSError:  # a file system without hard links
                    shutil.copyfile(source, temporary)
        linked.append(clip.replace(path=str(target)))
    wanted = {Path(c.path).name for c in linked if c.path}
    for old in folder.iterdir():
        if old.name not in wanted:
            old.unlink()
    return linked


def _lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(to_json(r), ensure_ascii=False, sort_keys=True) + "\n" for r in rows)


def _summary(report: CurateReport, failed: int, config: CurateConfig) -> dict[str, Any]:
    seconds = sum(c.end - c.start for c in report.kept)
    return {
        "sources": report.num_sources,
        "sources_failed": failed,
        "sources_repeated": [{"source": a, "same_as": b} for a, b in report.duplicates],
        "clips": len(report.clips),
        "clips_kept": len(report.kept),
        "seconds_kept": round(seconds, 3),
        "rejected_by": report.rejected_by,
        "errors_by": dict(sorted(Counter(r["kind"] for r in report.errors).items())),
        "camera": dict(sorted(Counter(c.tags.get("camera", "unknown") for c in report.kept).items())),
        "captions_by": dict(sorted(Counter(c.tags.get("caption_by", "none") for c in report.kept).items())),
        "ok": report.ok,
        "config": to_json(dataclasses.replace(config, workers=0)),
    }


def load_clips(out: str | Path) -> list[Clip]:
    """The clips a run wrote, in order, with their embeddings and with paths that can be opened.

    Raises:
        BadInput: when `out` holds no finished run.
    """
    out = Path(out)
    listing = out / "clips.jsonl"
    if not listing.is_file():
        raise BadInput(f"{out} holds no curated clips: it has no clips.jsonl.")
    clips = [clip_from_json(json.loads(line), out) for line in listing.read_text().splitlines()]
    vectors = out / "embeddings.npy"
    rows = iter(np.load(vectors, allow_pickle=False)) if vectors.is_file() else iter(())
    return [c if c.rejected else c.replace(embedding=next(rows, None)) for c in clips]
