"""The four kinds of work curation is made of, and what each leaves on disk. Whoever runs them: this process, others, other machines.

```text
probe     what a file is: its hash, its length, whether it can be sought          work/probes/<file>.json
analyse   a few minutes of a file, decoded once                                   work/analysis-<c>/<content>/<window>.npz
judge     a whole file's record: clips, scores, rejections, vectors, hashes       work/plans-<c>/<content>.json
finish    some clips of a file: text read, cut, captioned, a thumbnail            work/parts-<c>/<content>-<group>.json
```

`<c>` is a hash of the settings that matter there: another threshold uses the same analysis. A task is a dict of plain values (paths,
never bytes), and so is its answer. Every failure becomes an answer; only what kills the process does not come back.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.curate.analyse import AROUND, Segment, analyse, windows
from armillary.curate.caption import Caption
from armillary.curate.config import CurateConfig
from armillary.curate.cut import Cut
from armillary.curate.embed import average
from armillary.curate.filters import FILTERS
from armillary.curate.record import load_all, save_segment
from armillary.curate.rows import clip_from_json, clip_to_json
from armillary.curate.split import split
from armillary.curate.stage import Context, Stage
from armillary.errors import BadInput, Failed, lookup, require
from armillary.media import MediaError, Reader, VideoInfo
from armillary.presets import from_json, to_json
from armillary.store import atomic_path, read_json, sha256_file, write_bytes, write_json
from armillary.types import Clip, Rejection

READY = "ready"  # a worker's first line
FORMAT = 5  # of what is left on disk; a change of what tasks do raises it, so that old records are not taken for new ones
LATE = ("text",)  # filters that look at pictures of single clips: they run in `finish`
THUMB = 240  # pixels on the longer side


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, to_json(value)], sort_keys=True).encode()).hexdigest()[:8]


@dataclasses.dataclass(frozen=True)
class Work:
    """Where everything lies, below one folder."""

    root: Path
    config: CurateConfig

    @functools.cached_property
    def seen(self) -> str:
        """Settings that change what a file's analysis holds."""
        return digest([self.config.analyse, self.config.shots, self.config.limits])

    @functools.cached_property
    def judged(self) -> str:
        """Settings that change what becomes of it; how it is run, and dedup, are left out."""
        plain = CurateConfig()
        same = ("workers", "timeout", "retries", "batch", "keep", "max_error_rate", "dedup", "gpus")
        return digest(dataclasses.replace(self.config, **{k: getattr(plain, k) for k in same}))

    def probe(self, path: str) -> Path:
        return self.root / "probes" / f"{identity(path)}.json"

    def analysis(self, content: str) -> Path:
        return self.root / f"analysis-{self.seen}" / content[:32]

    def plan(self, content: str) -> Path:
        return self.root / f"plans-{self.judged}" / f"{content[:32]}.json"

    def part(self, content: str, group: int) -> Path:
        return self.root / f"parts-{self.judged}" / f"{content[:32]}-{group}.json"

    def thumb(self, clip: str) -> Path:
        return self.root / f"thumbs-{self.seen}" / f"{clip}.jpg"


def identity(path: str) -> str:
    """Of a file as it lies there now: place, size and time; of an address: what its file system says of it."""
    if "://" in path:
        return digest([path, *_remote(path)])
    try:
        stat = Path(path).stat()
    except OSError:
        return digest([path])
    return (
        digest([path, stat.st_size, stat.st_mtime_ns])
        + hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    )


def _remote(path: str) -> list[str]:
    import fsspec

    try:
        system, inner = fsspec.core.url_to_fs(path)
        info = system.info(inner)
    except (OSError, ValueError, ImportError) as error:
        return [f"{type(error).__name__}"]
    return [str(info.get(k, "")) for k in ("size", "mtime", "LastModified", "ETag", "etag", "created")]


def locate(path: str, root: Path) -> Path:
    """A local path of a source: itself, or a copy of what lies behind an address.

    Raises:
        MediaError: `not_found`, when it cannot be fetched.
    """
    if "://" not in path:
        return Path(path)
    import fsspec

    copy = root / "inputs" / f"{identity(path)}{Path(path.split('?')[0]).suffix[:8]}"
    if not copy.is_file():
        try:
            with fsspec.open(path, "rb") as source, atomic_path(copy) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)  # type: ignore[misc]
        except (OSError, ValueError, ImportError) as error:
            raise MediaError(f"{path} cannot be fetched: {error}.", "not_found") from error
    return copy


@functools.lru_cache(maxsize=8)
def _stages(text: str) -> tuple[CurateConfig, list[Stage], list[Stage]]:
    """(config, early filters, late stages) of a config as JSON: made once a process, so that a model is loaded once."""
    config = from_json(CurateConfig, json.loads(text))
    early = [lookup(FILTERS, n, "filter")(getattr(config, n)) for n in config.filters if n not in LATE]
    late = [lookup(FILTERS, n, "filter")(getattr(config, n)) for n in config.filters if n in LATE]
    if config.write:
        late.append(Cut(config.cut))
    return config, early, [*late, Caption(config.caption)]


def stages_of(config: CurateConfig) -> tuple[list[Stage], list[Stage]]:
    """Filters that judge a file's record, and stages that finish single clips.

    Raises:
        BadInput: an unknown filter, or a back end that lacks its settings.
    """
    for name in config.filters:
        lookup(FILTERS, name, "filter")
    _, early, late = _stages(json.dumps(to_json(config), sort_keys=True))
    return early, late


# --- the four -----------------------------------------------------------------------------------------------------------------------


def probe(task: Mapping[str, Any], work: Work) -> None:
    """What a file is. A long one that can be sought may be analysed in several places at once."""
    path = locate(task["path"], work.root)
    if not path.is_file():
        raise MediaError(f"{task['name']} is not a file.", "not_found")
    with Reader(path, work.config.limits) as reader:
        info = reader.info
    content = sha256_file(path)
    count = windows(info, work.config.analyse)
    apart = count * work.config.analyse.window > work.config.analyse.segment and _seeks(path, info, work.config)
    record = {"content": content, "info": {**to_json(info), "path": task["name"]}, "windows": count, "apart": apart}
    write_json(work.probe(task["path"]), record)


def _seeks(path: Path, info: VideoInfo, config: CurateConfig) -> bool:
    """Whether a frame near the end is found by seeking, without reading what lies before it."""
    late = info.start + info.duration - min(30.0, info.duration / 4)
    with Reader(path, config.limits) as reader:
        try:
            reader.container.seek(math.floor(late / reader.stream.time_base), stream=reader.stream, backward=True)
            frame = next(reader.container.decode(reader.stream), None)
        except (OSError, ValueError):  # PyAV's errors are both
            return False
        return frame is not None and frame.pts is not None and late - 60 < float(frame.pts * reader.stream.time_base) <= late


def observe(task: Mapping[str, Any], work: Work, deadline: float | None) -> None:
    """Analyse some windows; the note `done-<first>.json` is written last."""
    c = work.config
    path, folder = locate(task["path"], work.root), work.analysis(task["content"])
    written: dict[int, list[int]] = {}
    with Reader(path, c.limits, fast=c.analyse.fast) as reader:
        info = dataclasses.replace(reader.info, path=task["name"])
        for segment in analyse(reader, c.analyse, c.shots, deadline, task["first"], task["count"]):
            number = math.floor((float(segment.times[0]) - info.start) / c.analyse.window + 1e-6)
            save_segment(folder / f"{number:06d}.npz", dataclasses.replace(segment, info=info))
            written[number] = _sizes(folder, number)
        lost, errors = reader.lost, list(reader.errors[:3])
    note = {"format": FORMAT, "first": task["first"], "windows": written, "lost": lost, "errors": errors}
    write_json(folder / f"done-{task['first']:06d}.json", note)


def observed(work: Work, content: str, firsts: list[int]) -> list[dict[str, Any]]:
    """The notes of those runs of windows that are there as they were written."""
    folder = work.analysis(content)
    notes = [_whole(folder / f"done-{first:06d}.json") for first in firsts]
    return [n for n in notes if n is not None and all(_sizes(folder, int(w)) == size for w, size in n["windows"].items())]


def _sizes(folder: Path, number: int) -> list[int]:
    files = [folder / f"{number:06d}{suffix}" for suffix in (".npz", ".jpgs")]
    return [f.stat().st_size if f.is_file() else -1 for f in files]


def judge(task: Mapping[str, Any], work: Work) -> None:
    """Clips of one file: split, measured by every filter that needs no picture, with vectors and hashes."""
    early, _ = stages_of(work.config)
    content, folder = task["content"], work.analysis(task["content"])
    notes = observed(work, content, task["firsts"])
    numbers = sorted({int(w) for n in notes for w in n["windows"]})
    if not numbers:
        raise MediaError(f"{task['name']} holds a video stream of which no frame decodes.", "decode_error")
    # Of the whole file only what tells where clips begin and end; what was seen in them is read a stretch at a time.
    whole = load_all([folder / f"{n:06d}.npz" for n in numbers], seen=False)
    info = {"start": whole.info.start}
    clips: list[Clip] = []
    vectors: dict[str, list[float]] = {}
    hashes: dict[str, list[str]] = {}
    found = split(whole, work.config.split, content, task["name"])
    for _, group in itertools.groupby(found, lambda c: group_of(c.start, info, work.config)):
        some = list(group)
        segment = _stretch(work, content, some, info)
        context = Context(segment, Path(task["path"]), task["name"], content, work.root / "clips")
        for stage in early:
            some = stage.process(some, context)
        clips += some
        for clip in some:
            looks = segment.looks_within(clip.start, clip.end)
            if clip.rejected or not looks:
                continue
            vectors[clip.id] = [float(x) for x in average([k.vector for k in looks if k.vector is not None])]
            hashes[clip.id] = [f"{k.hash:016x}" for k in looks]
    errors = [e for n in notes for e in n["errors"]]
    problem = f"some frames do not decode{f' ({errors[0]})' if errors else ''}; what lies between them was used"
    rows, runs = [clip_to_json(c, work.root) for c in clips], [n["first"] for n in notes]
    record = {
        "format": FORMAT,
        "content": content,
        "runs": runs,
        "key": digest([rows, runs]),
        "frames": len(whole.times),
        "clips": rows,
        "vectors": vectors,
        "hashes": hashes,
        "problems": [{"kind": "decode_error", "reason": problem}] if any(n["lost"] for n in notes) else [],
    }
    write_json(work.plan(content), record)


def group_of(start: float, info: Mapping[str, Any], config: CurateConfig) -> int:
    """Which of a file's `finish` tasks a clip belongs to."""
    return math.floor((start - float(info["start"])) / config.analyse.segment + 1e-6)


def finish(task: Mapping[str, Any], work: Work) -> None:
    """Read, cut and caption the clips of one group; one that cannot be cut is a rejection by `error`."""
    _, late = stages_of(work.config)
    content = task["content"]
    plan = load_plan(work, content)
    if plan is None:
        raise Failed(f"The plan of {task['name']} is not there any more.")
    clips = [clip_from_json(c, work.root) for c in plan["clips"]]
    clips = [c for c in clips if group_of(c.start, task["info"], work.config) == task["group"]]
    segment = _stretch(work, content, clips, task["info"])
    source = locate(task["path"], work.root)
    context = Context(segment, source, task["name"], content, work.root / f"clips-{digest(work.config.cut)}")
    _thumbs(clips, segment, work)
    for stage in late:
        clips = _passed(stage, clips, context)
    done = [clip_to_json(c, work.root) for c in clips]
    write_json(work.part(content, task["group"]), {"format": FORMAT, "plan": plan["key"], "clips": done})


def _stretch(work: Work, content: str, clips: list[Clip], info: Mapping[str, Any]) -> Segment:
    """The windows that the clips lie in."""
    folder, width = work.analysis(content), work.config.analyse.window
    first = math.floor((min(c.start for c in clips) - float(info["start"])) / width + 1e-6)
    last = math.floor((max(c.end for c in clips) + AROUND - float(info["start"])) / width + 1e-6)
    names = [folder / f"{n:06d}.npz" for n in range(first, last + 1)]
    return load_all([p for p in names if p.is_file()])


def _passed(stage: Stage, clips: list[Clip], context: Context) -> list[Clip]:
    """All clips through a stage; when that fails, one by one, so that one bad clip is one row."""
    try:
        return stage.process(clips, context)
    except (MediaError, Failed) as all_error:
        if len(clips) == 1:
            return [clips[0].replace(rejected=(*clips[0].rejected, Rejection("error", f"{stage.name}: {all_error}")))]
        return [c for clip in clips for c in _passed(stage, [clip], context)]


def _thumbs(clips: list[Clip], segment: Segment, work: Work) -> None:
    cv2 = require("cv2", "curation")
    for clip in clips:
        looks, path = segment.looks_within(clip.start, clip.end), work.thumb(clip.id)
        if not looks or path.is_file():
            continue
        rgb = looks[len(looks) // 2].rgb
        ratio = min(1.0, THUMB / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * ratio)), max(1, round(rgb.shape[0] * ratio)))
        small = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        write_bytes(path, cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())


# --- reading what they left ---------------------------------------------------------------------------------------------------------


def _whole(path: Path) -> dict[str, Any] | None:
    """A JSON record of this format; a damaged one is made anew."""
    if not path.is_file():
        return None
    try:
        record = read_json(path)
    except BadInput:
        return None
    return record if isinstance(record, dict) and record.get("format", FORMAT) == FORMAT else None


def load_probe(work: Work, path: str) -> dict[str, Any] | None:
    return _whole(work.probe(path))


def load_plan(work: Work, content: str) -> dict[str, Any] | None:
    record = _whole(work.plan(content))
    return record if record is not None and record.get("content") == content else None


def load_part(work: Work, plan: Mapping[str, Any], group: int) -> dict[str, Any] | None:
    """A finished group of a plan, or None when there is none, it was made for another plan, or one of its clips is gone."""
    record = _whole(work.part(plan["content"], group))
    if not record or record.get("plan") != plan["key"]:
        return None
    return record if all((work.root / c["path"]).is_file() for c in record["clips"] if c["path"]) else None


def run_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does with one task: its seconds of CPU, and `kind` and `reason` when it failed."""
    began = time.process_time()
    try:
        _do(task)
        problem = {}
    except MediaError as error:
        problem = {"kind": error.kind, "reason": str(error)}
    except Failed as error:
        problem = {"kind": "timeout" if "longer than allowed" in str(error) else "failed", "reason": str(error)}
    except BadInput as error:
        problem = {"kind": "bad_input", "reason": str(error)}
    except MemoryError:
        problem = {"kind": "limit_exceeded", "reason": "out of memory"}
    except Exception as error:  # a bug met on one file must not end the run over all the others; the row carries it
        problem = {"kind": "internal", "reason": f"{type(error).__name__}: {error}"}
    return {**problem, "cpu": round(time.process_time() - began, 4)}


def _do(task: Mapping[str, Any]) -> None:
    require("cv2", "curation").setNumThreads(1)
    config = from_json(CurateConfig, task["config"])
    work = Work(Path(task["work"]), config)
    if task["do"] == "probe":
        probe(task, work)
    elif task["do"] == "analyse":
        observe(task, work, time.monotonic() + config.timeout if config.timeout > 0 else None)
    elif task["do"] == "judge":
        judge(task, work)
    else:
        finish(task, work)
