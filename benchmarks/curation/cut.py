"""Cutting clips out of H.264: the smart cut with its check against encoding whole clips and against a plain stream copy.

`../shared/data/shots/transitions_720p.mp4` is cut at its true shots of 48 frames and more; then the same video with a key frame every 60
and every 250 frames and none at the shots. CPU seconds of this process, contenders taking turns; opening the file is part of each.
A clip counts as exact when it has the shot's number of frames and its first one is the shot's (30 dB or more).
`python benchmarks/curation/cut.py [--quick]` prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from armillary.curate.cut import Cut, CutConfig
from armillary.curate.stage import Context
from armillary.media import VideoInfo, probe
from armillary.types import Clip

ROOT = Path(__file__).resolve().parents[2]
VIDEO = ROOT.parent / "shared" / "data" / "shots" / "transitions_720p.mp4"
SHORTEST = 48


@dataclass
class Film:
    """What a cut looks at of a segment, read off the packets instead of the pictures."""

    path: Path
    info: VideoInfo
    times: np.ndarray
    keys: np.ndarray
    end: float
    lost: int = 0

    @staticmethod
    def of(path: Path) -> Film:
        with av.open(str(path)) as container:
            base = float(container.streams.video[0].time_base or 0)
            rows = sorted((p.pts * base, p.is_keyframe) for p in container.demux(video=0) if p.pts is not None)
        times = np.array([t for t, _ in rows])
        return Film(path, probe(path), times, np.array([k for _, k in rows]), float(times[-1] + times[1] - times[0]))

    def within(self, start: float, end: float) -> slice:
        return slice(int(np.searchsorted(self.times, start - 1e-6)), int(np.searchsorted(self.times, end - 1e-6)))

    def clips(self, spans: Sequence[tuple[int, int]]) -> list[Clip]:
        clock = np.r_[self.times, self.end]
        size = {"width": self.info.width, "height": self.info.height, "fps": self.info.fps}
        return [
            Clip(f"{a}", self.path.name, float(clock[a]), float(clock[b]), start_frame=a, num_frames=b - a, **size)
            for a, b in spans
        ]


def shots(truth: dict[str, Any], frames: int) -> list[tuple[int, int]]:
    """Spans between the transitions; a gradual one belongs to neither side."""
    spans, begin = [], 0
    for t in truth["gt"]:
        spans.append((begin, t["start"]))
        begin = t["end"] + (t["type"] != "hard")
    return [(a, b) for a, b in [*spans, (begin, truth["n"])] if b - a >= SHORTEST and b <= frames]


def fixed(source: Path, target: Path, gop: int, frames: int) -> Path:
    """The same pictures with a key frame every `gop` frames, B-frames on."""
    options = {
        "crf": "20",
        "preset": "superfast",
        "bf": "3",
        "threads": "1",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0",
    }
    with av.open(str(source)) as read, av.open(str(target), "w") as out:
        stream: Any = read.streams.video[0]
        track: Any = out.add_stream("libx264", rate=stream.average_rate, options=options)
        track.width, track.height, track.pix_fmt = stream.width, stream.height, "yuv420p"
        for k, frame in enumerate(read.decode(stream)):
            if k == frames:
                break
            frame.pict_type = PictureType.NONE
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return target


def plain_copy(film: Film, clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """Packets from the last key frame at or before the start until the end: what `-ss S -t T -c copy` comes to."""
    with av.open(str(film.path)) as read:
        stream: Any = read.streams.video[0]
        for clip in clips:
            read.seek(round(clip.start / stream.time_base), stream=stream, backward=True)
            with av.open(str(folder / f"{clip.id}.mp4"), "w") as out:
                track, zero, beyond = out.add_stream_from_template(stream), None, 0
                for packet in read.demux(stream):
                    if packet.pts is None:
                        continue
                    if packet.pts * stream.time_base >= clip.end - 1e-6:
                        beyond += 1
                        if beyond > 4:
                            break
                        continue
                    zero = packet.pts if zero is None else zero
                    packet.pts, packet.dts, packet.stream = packet.pts - zero, packet.dts - zero, track
                    out.mux(packet)
    return [clip.replace(path=str(folder / f"{clip.id}.mp4")) for clip in clips]


def cutter(film: Film, clips: list[Clip], folder: Path, config: CutConfig) -> Callable[[], list[Clip]]:
    context = Context(film, film.path, film.path.name, "", folder)  # type: ignore[arg-type]
    return lambda: Cut(config).process(clips, context)


def first_frames(film: Film, clips: Sequence[Clip]) -> dict[int, np.ndarray]:
    """Luma of the source's frame at each clip's start."""
    wanted, firsts = {clip.start_frame for clip in clips}, {}
    with av.open(str(film.path)) as container:
        for k, frame in enumerate(container.decode(video=0)):
            if k in wanted:
                firsts[k] = frame.to_ndarray(format="gray").astype(np.float32)
            if len(firsts) == len(wanted):
                break
    return firsts


def exact(clips: Sequence[Clip], firsts: dict[int, np.ndarray]) -> int:
    """How many clips have their frames and begin with the right one."""
    good = 0
    for clip in clips:
        with av.open(clip.path) as container:
            count = sum(1 for p in container.demux(video=0) if p.size)
        with av.open(clip.path) as container:
            first = next(container.decode(video=0)).to_ndarray(format="gray")
        error = float(np.mean((first - firsts[clip.start_frame]) ** 2))
        good += count == clip.num_frames and (error == 0 or 10 * np.log10(255**2 / error) >= 30)
    return int(good)


def contest(film: Film, spans: list[tuple[int, int]], folder: Path, repeats: int, slow: bool) -> dict[str, Any]:
    """CPU seconds, real time per core and exact clips of each contender; medians of `repeats` turns (the slowest one takes one)."""
    clips = film.clips(spans)
    folders = {name: folder / name for name in ("smart", "copy", "ultrafast", "veryfast")}
    for each in folders.values():
        each.mkdir(parents=True)
    contenders: dict[str, Callable[[], list[Clip]]] = {
        "smart": cutter(film, clips, folders["smart"], CutConfig()),
        "copy": lambda: plain_copy(film, clips, folders["copy"]),
        "ultrafast": cutter(film, clips, folders["ultrafast"], CutConfig(copy=False, crf=20, preset="ultrafast")),
        "veryfast": cutter(film, clips, folders["veryfast"], CutConfig(copy=False, crf=20, preset="veryfast")),
    }
    if not slow:
        del contenders["veryfast"]
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, list[Clip]] = {}
    for turn in range(repeats):
        for name, run in contenders.items():
            if name == "veryfast" and turn:
                continue
            began = time.process_time()
            results[name] = run()
            spent[name].append(time.process_time() - began)
    firsts = first_frames(film, clips)
    seconds = sum(c.end - c.start for c in clips)
    figures: dict[str, Any] = {"clips": len(clips), "seconds": round(seconds, 2)}
    for name, values in spent.items():
        cpu = statistics.median(values)
        figures[name] = {
            "cpu_s": round(cpu, 2),
            "cpu_s_all": [round(v, 2) for v in values],
            "real_time": round(seconds / cpu, 1),
            "exact": exact(results[name], firsts),
            "bytes": sum(Path(c.path).stat().st_size for c in results[name]),
        }
    for how in ("copy", "smart", "encode"):
        figures["smart"][how] = sum(clip.tags["cut"] == how for clip in results["smart"])
    return figures


def figures(quick: bool = False) -> dict[str, Any]:
    """Everything measured. `quick`: the first 600 frames, once, without the slowest contender: to see that it runs, not to quote."""
    if not VIDEO.is_file():
        return {"skipped": f"{VIDEO} is not there"}
    truth = json.loads(VIDEO.with_suffix(".json").read_text())
    frames = 600 if quick else truth["n"]
    spans = shots(truth, frames)
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out["as it is"] = contest(Film.of(VIDEO), spans, folder / "0", 1 if quick else 3, not quick)
        for gop in (250,) if quick else (60, 250):
            film = Film.of(fixed(VIDEO, folder / f"gop{gop}.mp4", gop, frames))
            out[f"key frame every {gop}"] = contest(film, spans, folder / f"{gop}", 1 if quick else 2, False)
    return out


if __name__ == "__main__":
    print(json.dumps(figures("--quick" in sys.argv[1:]), indent=1))
