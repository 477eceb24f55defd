"""Curation from end to end: a list of files in, a folder of clips out, whatever the files are like.

```text
out/clips/<id>.mp4      the clips that stayed
out/clips.parquet       every clip, kept or not: span, scores, tags, caption, fate and reason
out/sources.parquet     every input: its status, and the reason where something was wrong
out/embeddings.npy      one row a kept clip, in the order of clips.parquet
out/thumbs/<id>.jpg     one small picture a clip
out/summary.json        counts, and the config
out/timing.json         seconds of the last run, by step (the only file that differs from run to run)
out/.work/              what each task left (see `tasks`): what makes a second run short
```

The result depends on the files and the config, not on the runner, the number of workers, their order, or having been stopped in between.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.config import CurateConfig
from armillary.curate.dedup import dedup
from armillary.curate.rows import clip_from_json, read_clips, status_of, write_clips, write_sources
from armillary.curate.runners import RUNNERS
from armillary.curate.sources import find_sources
from armillary.curate.tasks import Work, group_of, load_part, load_plan, load_probe, observed, stages_of
from armillary.errors import BadInput, lookup
from armillary.media.errors import shown
from armillary.presets import from_json, override, to_json
from armillary.progress import Progress
from armillary.store import atomic_path, check_writable, read_json, write_json
from armillary.types import Clip


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


def curate(
    sources: Sequence[str | Path], out: str | Path, config: CurateConfig | None = None, runner: str = "inline"
) -> CurateReport:
    """Split, filter, caption and deduplicate videos into `out`; going on where an earlier run over the same files stopped.

    Args:
        sources: files, folders, globs, addresses.
        runner: a name in `RUNNERS`.

    Raises:
        BadInput: no source at all, an unknown filter or runner, an output folder that cannot be written.
    """
    config = config or CurateConfig()
    lookup(RUNNERS, runner, "runner")
    stages_of(config)  # an unknown filter, or an endpoint without an address, shows now and not once per file
    names = find_sources(sources, out)
    paths = {n: n if "://" in n else str(Path(n).resolve()) for n in names}
    return _Run(check_writable(out), paths, config, runner).whole()


def refilter(out: str | Path, assignments: Sequence[str] = (), runner: str = "inline") -> CurateReport:
    """Judge again with other settings what `out` already holds, without decoding again; only clips that were not kept before are cut.

    Args:
        assignments: `name=value` strings over the settings of the last run.

    Raises:
        BadInput: `out` holds no curated clips.
    """
    note = Path(out) / ".work" / "run.json"
    if not note.is_file():
        raise BadInput(f"{out} was not curated here, or its .work folder is gone: there is nothing to judge again.")
    last = read_json(note)
    config = override(from_json(CurateConfig, last["config"]), assignments)
    lookup(RUNNERS, runner, "runner")
    stages_of(config)
    return _Run(check_writable(out), last["sources"], config, runner).whole()


@dataclass
class _Run:
    """One run over a list of sources, by name: in batches, each batch in four waves of tasks."""

    out: Path
    paths: Mapping[str, str]
    config: CurateConfig
    runner: str
    errors: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    cpu: Counter[str] = field(default_factory=Counter)
    fresh: float = 0.0
    lost_groups: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = Work((self.out / ".work").resolve(), self.config)
        self.plain = to_json(self.config)
        self.owners: dict[str, str] = {}
        # Only steps that load a model ask for a share of a GPU.
        self.models = {"judge", "finish"} | ({"analyse"} if self.config.shots.backend != "own" else set())

    def whole(self) -> CurateReport:
        began = time.monotonic()
        write_json(self.work.root / "run.json", {"sources": dict(self.paths), "config": self.plain})
        names = list(self.paths)
        for start in range(0, len(names), max(1, self.config.batch)):
            self.batch(names[start : start + max(1, self.config.batch)])
        report = self.finish()
        self.timing(time.monotonic() - began)
        return report

    # --- waves --------------------------------------------------------------------------------------------------------------------

    def wave(self, do: str, tasks: list[dict[str, Any]], total: int) -> list[dict[str, Any]]:
        """The answers of tasks of one kind, in their order."""
        tasks = [{**t, "do": do, "work": str(self.work.root), "config": self.plain} for t in tasks]
        answers: list[dict[str, Any]] = [{} for _ in tasks]
        c = self.config
        seconds, began = 0.0, time.monotonic()
        with Progress(f"curate: {do}", total, total - len(tasks)) as bar:
            if not tasks:
                return answers
            for i, answer in RUNNERS[self.runner](
                tasks,
                workers=c.workers,
                timeout=c.timeout,
                retries=c.retries,
                gpus=c.gpus if do in self.models else 0.0,
            ):
                answers[i] = dict(answer)
                self.cpu[do] += answer.get("cpu", 0.0)
                seconds += tasks[i].get("seconds", 0.0)
                facts: dict[str, Any] = (
                    {"rate": f"{seconds / max(1e-3, time.monotonic() - began):.1f}x real time"} if seconds else {}
                )
                bar.advance(file=shown(Path(tasks[i]["name"]).name), **facts)
        if do == "analyse":
            self.fresh += seconds
        return answers

    def problem(self, name: str, answer: Mapping[str, Any]) -> bool:
        if "kind" in answer:
            self.errors.setdefault(name, []).append({"kind": answer["kind"], "reason": answer["reason"]})
        return "kind" in answer

    def batch(self, names: list[str]) -> None:
        """Some sources through all four waves."""
        self._probe(names)
        mine = [n for n in names if n in self.probes]
        self._analyse(mine)
        self._judge(mine)
        self._finish(mine)
        if not self.config.keep:
            for name in mine:
                shutil.rmtree(self.work.analysis(self.probes[name]["content"]), ignore_errors=True)

    def task(self, name: str, **more: Any) -> dict[str, Any]:
        return {"path": self.paths[name], "name": name, **more}

    def _probe(self, names: list[str]) -> None:
        missing = [n for n in names if load_probe(self.work, self.paths[n]) is None]
        for name, answer in zip(missing, self.wave("probe", [self.task(n) for n in missing], len(names))):
            self.problem(name, answer)
        for name in names:
            record = load_probe(self.work, self.paths[name])
            if record is None or name in self.errors:
                continue
            first = self.owners.setdefault(record["content"], name)
            if first != name:
                self.duplicates[name] = first
            else:
                self.probes[name] = record

    def runs(self, name: str) -> list[tuple[int, int | None]]:
        """(first window, how many) of each `analyse` task of a source."""
        record, c = self.probes[name], self.config.analyse
        if not record["apart"]:
            return [(0, None)]
        step = max(1, round(c.segment / c.window))
        last = record["windows"]
        return [(i, step if i + step < last else None) for i in range(0, last, step)]

    def _done(self, name: str) -> bool:
        """Whether a source needs no more than to be read from its records."""
        plan = load_plan(self.work, self.probes[name]["content"])
        if plan is None or plan["runs"] != [first for first, _ in self.runs(name)]:
            return False
        return all(load_part(self.work, plan, g) for g in self.groups(name, plan))

    def _analyse(self, names: list[str]) -> None:
        tasks, total = [], 0
        for name in names:
            record = self.probes[name]
            runs = self.runs(name)
            total += len(runs)
            if self._done(name):
                continue
            duration = float(record["info"]["duration"])
            for first, count in runs:
                if not observed(self.work, record["content"], [first]):
                    seconds = max(
                        0.0, min(duration - first * self.config.analyse.window, (count or 1e9) * self.config.analyse.window)
                    )
                    tasks.append(self.task(name, content=record["content"], first=first, count=count, seconds=seconds))
        for task, answer in zip(tasks, self.wave("analyse", tasks, total)):
            self.problem(task["name"], answer)

    def _judge(self, names: list[str]) -> None:
        tasks = []
        for name in names:
            content, firsts = self.probes[name]["content"], [first for first, _ in self.runs(name)]
            there = [n["first"] for n in observed(self.work, content, firsts)]
            plan = load_plan(self.work, content)
            if there and (
                plan is None or plan["runs"] != there
            ):  # what could not be analysed is left out, and tried again next time
                tasks.append(self.task(name, content=content, firsts=firsts))
        for task, answer in zip(tasks, self.wave("judge", tasks, len(names))):
            self.problem(task["name"], answer)

    def groups(self, name: str, plan: Mapping[str, Any]) -> list[int]:
        return sorted({group_of(c["start"], self.probes[name]["info"], self.config) for c in plan["clips"]})

    def _finish(self, names: list[str]) -> None:
        tasks, total = [], 0
        for name in names:
            content = self.probes[name]["content"]
            plan = load_plan(self.work, content)
            if plan is None:
                continue
            groups = self.groups(name, plan)
            total += len(groups)
            info = self.probes[name]["info"]
            tasks += [self.task(name, content=content, group=g, info=info) for g in groups if not load_part(self.work, plan, g)]
        for task, answer in zip(tasks, self.wave("finish", tasks, total)):
            if self.problem(task["name"], answer):
                self.lost_groups[task["name"], task["group"]] = answer["reason"]

    # --- result -------------------------------------------------------------------------------------------------------------------

    def clips(self) -> tuple[list[Clip], dict[str, list[int]], dict[str, int]]:
        """Every clip of every source that was judged, its hashes, and how many frames each source has."""
        clips: list[Clip] = []
        hashes: dict[str, list[int]] = {}
        frames: dict[str, int] = {}
        for name, record in self.probes.items():
            plan = load_plan(self.work, record["content"])
            if plan is None:
                continue
            frames[name] = plan["frames"]
            self.errors.setdefault(name, []).extend(plan["problems"])
            hashes.update({k: [int(h, 16) for h in v] for k, v in plan["hashes"].items()})
            for group in self.groups(name, plan):
                part = load_part(self.work, plan, group)
                rows = part["clips"] if part else self._unfinished(name, plan, group)
                vectors = plan["vectors"]
                clips += [clip_from_json(r, self.work.root, vectors.get(r["id"])).replace(source=name) for r in rows]
        return clips, hashes, frames

    def _unfinished(self, name: str, plan: Mapping[str, Any], group: int) -> list[dict[str, Any]]:
        """The clips of a group that could not be finished: each is there, as an error."""
        info, why = self.probes[name]["info"], self.lost_groups.get((name, group), "it was not finished")
        row = {"by": "error", "reason": why, "score": None, "threshold": None}
        mine = [c for c in plan["clips"] if group_of(c["start"], info, self.config) == group]
        return [{**c, "rejected": [*c["rejected"], row]} if not c["rejected"] else c for c in mine]

    def finish(self) -> CurateReport:
        """From the records: dedup across sources, link what stays, write the tables."""
        out = self.out
        clips, hashes, frames = self.clips()
        clips = dedup(clips, hashes, self.config.dedup)
        clips = self._link(clips)
        kept = [c for c in clips if not c.rejected]
        if kept:
            with atomic_path(out / "embeddings.npy") as temporary:
                np.save(temporary, np.stack([np.asarray(c.embedding, np.float32) for c in kept]), allow_pickle=False)
        else:
            (out / "embeddings.npy").unlink(missing_ok=True)
        rows = [{"source": n, **row} for n in self.paths for row in self.errors.get(n, [])]
        failed = [n for n in self.paths if self.errors.get(n) and n not in frames]
        ok = len(failed) <= self.config.max_error_rate * len(self.paths)
        report = CurateReport(str(out), len(self.paths), tuple(clips), tuple(rows), tuple(self.duplicates.items()), ok)
        write_sources(out / "sources.parquet", [self._source(n, frames) for n in self.paths])
        write_clips(out / "clips.parquet", clips, out)
        write_json(out / "summary.json", _summary(report, len(failed), self.config))
        shutil.rmtree(self.work.root / "inputs", ignore_errors=True)
        return report

    def _source(self, name: str, frames: Mapping[str, int]) -> dict[str, Any]:
        problems, record = self.errors.get(name, []), self.probes.get(name)
        row: dict[str, Any] = {"source": name, "status": "ok"}
        if name in self.duplicates:
            return {**row, "status": "duplicate", "kind": "duplicate", "reason": f"byte for byte {self.duplicates[name]}"}
        if problems:
            status = "damaged" if name in frames else "error"
            row |= {"status": status, "kind": problems[0]["kind"], "reason": "; ".join(p["reason"] for p in problems)}
        if record is not None:
            info = record["info"]
            row |= {k: info[k] for k in ("fps", "width", "height", "codec")} | {"sha256": record["content"]}
            row |= {"duration_s": info["duration"], "frames": frames.get(name)}
        return row

    def _link(self, clips: list[Clip]) -> list[Clip]:
        """Hard-link kept clips and all thumbnails into `out` and remove what no longer belongs there."""
        linked = []
        for clip in clips:
            path = ""
            if clip.path and not clip.rejected:
                path = str(_place(Path(clip.path), self.out / "clips" / f"{clip.id}.mp4"))
            linked.append(clip.replace(path=path))
            thumb = self.work.thumb(clip.id)
            if thumb.is_file():
                _place(thumb, self.out / "thumbs" / thumb.name)
        for folder, wanted in (("clips", {c.id for c in linked if c.path}), ("thumbs", {c.id for c in linked})):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
            for old in (self.out / folder).iterdir():
                if old.stem not in wanted:
                    old.unlink()
        return linked

    def timing(self, wall: float) -> None:
        """What the last run took; `analysed_s` is the video that it decoded for analysis."""
        cpu = {k: round(v, 2) for k, v in self.cpu.items()}
        total = sum(self.cpu.values())
        rate = round(self.fresh / total, 2) if total and self.fresh else None
        note = {"wall_s": round(wall, 2), "cpu_s": cpu, "analysed_s": round(self.fresh, 2), "real_time_per_core": rate}
        write_json(self.out / "timing.json", {**note, "runner": self.runner})


def _place(source: Path, target: Path) -> Path:
    if not target.is_file() or not os.path.samefile(target, source):
        with atomic_path(target) as temporary:
            temporary.unlink()
            try:
                os.link(source, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, temporary)
    return target


def _summary(report: CurateReport, failed: int, config: CurateConfig) -> dict[str, Any]:
    seconds = sum(c.end - c.start for c in report.kept)

    def mix(tag: str) -> dict[str, int]:
        return dict(sorted(Counter(c.tags.get(tag, "unknown") for c in report.kept).items()))

    return {
        "sources": report.num_sources,
        "sources_failed": failed,
        "sources_repeated": [{"source": a, "same_as": b} for a, b in report.duplicates],
        "clips": len(report.clips),
        "clips_kept": len(report.kept),
        "clips_by_status": dict(sorted(Counter(map(status_of, report.clips)).items())),
        "seconds_kept": round(seconds, 3),
        "rejected_by": report.rejected_by,
        "errors_by": dict(sorted(Counter(r["kind"] for r in report.errors).items())),
        "camera": mix("camera"),
        "type": mix("type"),
        "topic": mix("topic"),
        "captions_by": mix("caption_source"),
        "ok": report.ok,
        "config": to_json(dataclasses.replace(config, workers=0)),
    }


def load_clips(out: str | Path) -> list[Clip]:
    """The clips a run wrote, in order, with their embeddings and with paths that can be opened.

    Raises:
        BadInput: when `out` holds no finished run.
    """
    out = Path(out)
    listing = out / "clips.parquet"
    if not listing.is_file():
        raise BadInput(f"{out} holds no curated clips: it has no clips.parquet.")
    clips = read_clips(listing, out)
    vectors = out / "embeddings.npy"
    rows = iter(np.load(vectors, allow_pickle=False)) if vectors.is_file() else iter(())
    return [c if c.rejected else c.replace(embedding=next(rows, None)) for c in clips]
