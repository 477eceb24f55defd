"""From one layout of episodes to another: in a stream, whole or absent, on from where it was stopped, past whatever is broken.

`.conversion.jsonl` in the target is the journal. Its first line says what was asked for; before an episode is written a line says under
which name, and if that fails another says why. An episode counts when its last line has a name and the target has it.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from armillary.data.convert import takes as tk
from armillary.data.convert.encoded import CODEC_NAMES
from armillary.data.convert.sinks import ENCODERS, MAX_BYTES, SINKS, Sink, ToLeRobot, ToShards
from armillary.data.convert.sources import BROKEN, Source, open_source
from armillary.errors import BadInput, Failed, lookup
from armillary.media import probe
from armillary.progress import Progress, say

JOURNAL = ".conversion.jsonl"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # of the target: no episode's fault


@dataclass(frozen=True)
class Conversion:
    """What became of it. Args: `copied` and `encoded` count videos of this run; `left_out` what the target does not hold."""

    out: str
    source: str
    target: str
    episodes: int
    frames: int
    copied: int
    encoded: int
    left_out: tuple[str, ...]
    broken: tuple[dict[str, str], ...]

    def summary(self) -> dict[str, Any]:
        about: dict[str, Any] = {"from": self.source, "to": self.target, "episodes": self.episodes, "frames": self.frames}
        about |= {"videos copied": self.copied, "videos encoded": self.encoded, "left out": list(self.left_out)}
        return about | {"broken": [dict(b) for b in self.broken], "out": self.out}


def convert(
    src: str | Path,
    dst: str | Path,
    to: str,
    *,
    layout: str = "",
    cameras: tuple[str, ...] = (),
    codec: str = "",
    crf: int = 18,
    max_bytes: int = MAX_BYTES,
) -> Conversion:
    """Write the episodes at `src` to the folder `dst` in the layout `to` (of `sinks.SINKS`). Stop it at will and call it again.

    Args:
        layout: of `sources.SOURCES`; found when empty.
        cameras: only these, in this order; all when none is named.
        codec: encode all video with this encoder; empty copies packets wherever that gives exactly the same frames.
        crf: quality of what is encoded. max_bytes: of a tar.

    Raises:
        BadInput: no such layout, nothing to read, or a target that holds other things.
        Failed: when not one episode could be converted.
    """
    lookup(SINKS, to, "layout")
    if codec and codec not in CODEC_NAMES:
        raise BadInput(f"No codec {codec!r} here. Known: {', '.join(CODEC_NAMES)}.")
    source, out = open_source(src, layout), Path(dst)
    asked = {"to": to, "from": source.layout, "cameras": list(cameras), "codec": codec, "crf": crf}
    _same_job(out, asked)
    sink = _sink(to, out, source, codec, crf, max_bytes)
    journal = _Journal(out, asked, sink)
    missing = [i for i, key in enumerate(source.keys) if key not in journal.done]
    copied = encoded = 0
    losses: set[str] = set(source.left)
    with Progress(f"convert to {to}", len(source.keys), done=len(source.keys) - len(missing)) as bar:
        for i in missing:
            key = source.keys[i]
            try:
                with tempfile.TemporaryDirectory(prefix=".render-", dir=out) as folder:
                    take = tk.checked(source.take(i))
                    take = tk.chosen(take, cameras) if cameras else take
                    videos = {}
                    for n, camera in enumerate(take.pictures):
                        target = Path(folder) / f"{n}.mp4"
                        videos[camera], was_copied = tk.render(take, camera, target, sink.codec, crf, sink.even)
                        copied, encoded = copied + was_copied, encoded + (not was_copied)
                    name = journal.begin(key, len(take))
                    sink.add(name, take, videos)
                journal.done[key] = {"name": name, "frames": len(take)}
                losses |= _losses(take, sink)
            except (*BROKEN, Failed) as error:
                cause = error if isinstance(error, OSError) else error.__cause__
                if isinstance(cause, OSError) and not isinstance(cause, FFmpegError) and cause.errno in FULL:
                    raise
                journal.fail(key, " ".join(str(error).split()))
                say(f"warning: {key} is left out: {error}")
            bar.advance()
    if not journal.done:
        raise Failed(
            f"None of the {len(source.keys)} episodes of {src} could be converted; the first: {journal.broken[0]['why']}"
        )
    sink.close()
    frames = sum(int(d["frames"]) for d in journal.done.values())
    say(f"{len(journal.done)} of {len(source.keys)} episodes ({frames} frames) in {out}")
    order = {key: n for n, key in enumerate(source.keys)}
    broken = sorted(journal.broken, key=lambda b: order.get(b["episode"], 0))
    left = tuple(sorted(losses))
    return Conversion(str(out), source.layout, to, len(journal.done), frames, copied, encoded, left, tuple(broken))


def _sink(to: str, out: Path, source: Source, codec: str, crf: int, max_bytes: int) -> Any:
    if to == "lerobot":
        return ToLeRobot(out, codec or _own_codec(source), crf)
    if to == "webdataset":
        return ToShards(out, max_bytes)
    sink = SINKS[to](out)
    sink.codec = codec
    return sink


def _own_codec(source: Source) -> str:
    """The encoder whose videos the source's first readable episode has, so that they can be copied."""
    for i in range(len(source.keys)):
        try:
            spans = source.take(i).spans
            return ENCODERS.get(probe(next(iter(spans.values())).path).codec, "") if spans else ""
        except BROKEN:
            continue  # it is named when its turn comes
    return ""


def _losses(take: tk.Take, sink: Sink) -> set[str]:
    there = {"text embeddings": take.t5 is not None, "exact arrays of a simulator": bool(take.episode.truth)}
    return {what for what in sink.left if there.get(what, True)}


def _same_job(out: Path, asked: dict[str, Any]) -> None:
    journal = out / JOURNAL
    if out.is_file():
        raise BadInput(f"{out} is a file; an output folder is wanted.")
    if journal.is_file():
        was = json.loads(journal.read_text().partition("\n")[0] or "{}")
        wrong = [f"{k}: {was.get(k)!r} there, {v!r} now" for k, v in asked.items() if was.get(k) != v]
        if wrong:
            raise BadInput(f"{out} was converted with other settings ({'; '.join(wrong)}). Give another folder.")
    elif out.is_dir() and any(out.iterdir()):
        raise BadInput(f"{out} is a folder with other things in it; a conversion wants a new folder, or one that it began.")


class _Journal:
    """Attributes: `done` key -> name and frames; `broken` what failed in this run."""

    def __init__(self, out: Path, asked: dict[str, Any], sink: Sink) -> None:
        self.path, self.sink = out / JOURNAL, sink
        self.done: dict[str, dict[str, Any]] = {}
        self.broken: list[dict[str, str]] = []
        rows: dict[str, dict[str, Any]] = {}
        lines = self.path.read_text().split("\n")[1:] if self.path.is_file() else []
        for line in lines:
            try:
                row = json.loads(line)
                rows.pop(row["key"], None)
                rows[row["key"]] = row
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut short
        taken: set[str] = set()
        for key, row in rows.items():
            if "name" in row and row["name"] not in taken and sink.has(row["name"]):
                self.done[key] = {"name": row["name"], "frames": row.get("frames", 0)}
                taken.add(row["name"])
        self.names = taken
        if not lines:
            self._write(asked)
        for folder in out.glob(".render-*"):  # what a kill left
            shutil.rmtree(folder)
        for path in [*out.rglob(".*.tmp.*"), *out.rglob(".*.tmp")]:
            if path.is_file():
                path.unlink()

    def begin(self, key: str, frames: int) -> str:
        """The name under which an episode will be written, from now on its own."""
        base = self.sink.name(len(self.done), re.sub(r"[^\w/-]+", "_", key).strip("/_") or "episode")
        name, n = base, 2
        while name in self.names:
            name, n = f"{base}-{n}", n + 1
        self._write({"key": key, "name": name, "frames": frames})
        self.names.add(name)
        return name

    def fail(self, key: str, why: str) -> None:
        self.names = {str(d["name"]) for d in self.done.values()}
        self.broken.append({"episode": key, "why": why})
        self._write({"key": key, "error": why})

    def _write(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
