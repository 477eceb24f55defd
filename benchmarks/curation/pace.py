"""How fast and how large: the whole CPU pass against the video's own length, against PySceneDetect's content detector alone, and memory.

The whole pass is `armillary.curate.curate` in this process: decode, shots, flow and looks, every filter (text by strokes; OCR is apart),
hashes, vectors, deduplication, and the cut of every kept clip, written and verified.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av

SHOTS = Path(__file__).resolve().parents[2] / "../shared/data/shots/transitions_720p.mp4"
CHILD = """
import json, sys
from pathlib import Path
from armillary.curate import CurateConfig, curate
from armillary.presets import override
report = curate([sys.argv[1]], sys.argv[2], override(CurateConfig(), ["text.ocr=false", "keep=false"]))
# of this program alone: getrusage would count what the process had been before it
peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")) / 1024
print(json.dumps({"clips": len(report.clips), "kept": len(report.kept), "peak_mb": peak}))
"""


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.duration or 0) / av.time_base


def whole_pass(path: Path, *settings: str) -> float:
    """CPU seconds of curating one file from nothing."""
    from armillary.curate import CurateConfig, curate
    from armillary.presets import override

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        began = time.process_time()
        curate([path], folder, override(CurateConfig(), ["text.ocr=false", *settings]))
        return time.process_time() - began


def scene_detect(path: Path) -> float:
    """CPU seconds of PySceneDetect's content detector on the same file, its own defaults, one thread."""
    import cv2
    import scenedetect

    cv2.setNumThreads(1)
    began = time.process_time()
    scenedetect.detect(str(path), scenedetect.ContentDetector())
    return time.process_time() - began


def repeated(path: Path, out: Path, seconds: float) -> Path:
    """`path` again and again by copying packets, until it is `seconds` long; shorter than the file: its beginning."""
    with av.open(str(out), "w") as target:
        stream: Any = None
        shift, done = 0, 0.0
        while done < seconds:
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                base = video.time_base
                assert base is not None
                if stream is None:
                    stream = target.add_stream_from_template(video)
                top = 0
                for packet in source.demux(video):
                    if packet.size == 0 or packet.pts is None or packet.dts is None:
                        continue
                    if done + float(packet.pts * base) >= seconds and packet.is_keyframe:
                        return out
                    top = max(top, packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    target.mux(packet)
            shift, done = shift + top, done + float(top * base)
    return out


def memory(seconds: float) -> dict[str, Any]:
    """Peak resident memory of a process that curates a 720p video of that length."""
    with tempfile.TemporaryDirectory() as folder:
        film = repeated(SHOTS, Path(folder) / "film.mp4", seconds)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(film), str(Path(folder) / "out")],
            check=True, capture_output=True, text=True, env=environment,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": seconds}


def figures(quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(ratios, figures) for `run.py`."""
    length, repeats = seconds_of(SHOTS), 2 if quick else 3
    ours, theirs = [], []
    try:
        import scenedetect

        peer: str | None = f"scenedetect {scenedetect.__version__} ContentDetector alone"
    except ImportError:
        peer = None
    for _ in range(repeats):
        ours.append(whole_pass(SHOTS))
        if peer:
            theirs.append(scene_detect(SHOTS))
    rates = sorted(length / s for s in ours)
    spread = {"median": statistics.median(rates), "min": rates[0], "max": rates[-1], "n": repeats}
    ratios = {"real_time_per_core_720p30": spread | {"peer": "the video's own length"}}
    if peer:
        pairs = sorted(b / a for a, b in zip(ours, theirs))
        ratios["whole_pass_vs_scenedetect_content"] = {
            "median": statistics.median(pairs), "min": pairs[0], "max": pairs[-1], "n": repeats, "peer": peer,
        }  # fmt: skip
    told: dict[str, Any] = {"cpu_s_per_video_hour": round(3600 / spread["median"], 1)}
    short, long = memory(10.0), memory(180.0 if quick else 1800.0)
    told["peak_mb"] = {"10 s": round(short["peak_mb"], 1), f"{long['seconds']:g} s": round(long["peak_mb"], 1)}
    told["peak_long_over_short"] = round(long["peak_mb"] / short["peak_mb"], 3)
    return ratios, told


if __name__ == "__main__":
    print(json.dumps(figures("--quick" in sys.argv)))
