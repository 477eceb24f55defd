"""What becomes of a folder of real clips, and whether it is right: each file's fate against what its kind deserves.

    python benchmarks/curation/fate.py [--data ../shared/data/videos] [--quick] [--json]

A file that should go is right when a clip of it is rejected by a filter that speaks of its fault (all its clips for stills and test
cards, most of its seconds for films of many shots); a file that should stay is right when most of its seconds are kept. Being too short
is a fault of length and not counted here. Deduplication is asked about the one known copy."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.analyse import analyse, join
from armillary.curate.config import CurateConfig
from armillary.curate.dedup import dedup
from armillary.curate.filters import FILTERS
from armillary.curate.split import split
from armillary.curate.stage import Context
from armillary.media import Reader
from armillary.store import sha256_file
from armillary.types import Clip

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"

# file -> filters one of which must reject it; () for what must be kept
DESERVED: dict[str, tuple[str, ...]] = {
    "overlay_subtitles_a.mp4": ("text",),
    "screen_slideshow_a.mp4": ("type",),
    "screen_timecode_smpte.mp4": ("type", "text"),
    "black_a.mp4": ("black",),
    "noise_a.mp4": ("quality",),
    "static_still_frame_a.mp4": ("black", "motion"),
    "animation_bbb_0_30s.webm": ("type",),
    "animation_sintel_30s_multishot.mp4": ("type",),
    "animation_ui_lineart_60fps.mp4": ("type",),
    "overlay_letterbox_a.mp4": ("black",),
    "driving_highway_lane_a.mp4": (),
    "driving_parked_traffic_a.mp4": (),
    "driving_rural_road_a.mp4": (),
    "driving_suburb_a.mp4": (),
    "driving_sunset_dashcam_a.mp4": (),
    "human_asl_again.mkv": (),
    "human_asl_walk.mkv": (),
    "human_football_juggle.mp4": (),
    "human_kitchen_talk.mp4": (),
    "human_pour_coffee.mp4": (),
    "robot_language_table_a.mp4": (),
    "robot_sim_kitchen_a.mp4": (),
    "tabletop_bottles_long.mp4": (),
    "static_people_room_long.mp4": (),
}
COPY = "dup_reencoded_a.mp4"
QUICK = ("overlay_subtitles_a.mp4", "screen_slideshow_a.mp4", "static_still_frame_a.mp4", "human_asl_walk.mkv", "black_a.mp4")


def clips_of(path: Path, config: CurateConfig) -> tuple[list[Clip], dict[str, list[int]]]:
    """The clips of a file with their fates, and their hashes."""
    with Reader(path) as reader:
        segment = join(list(analyse(reader, config.analyse, config.shots)))
    content = sha256_file(path)
    clips = split(segment, config.split, content, path.name)
    context = Context(segment, path, path.name, content, path.parent)
    for name in config.filters:
        clips = FILTERS[name](getattr(config, name)).process(clips, context)
    hashes = {}
    for i, clip in enumerate(clips):
        looks = segment.looks_within(clip.start, clip.end)
        vectors = [k.vector for k in looks if k.vector is not None]
        if vectors:
            mean = np.mean(np.asarray(vectors, np.float64), axis=0)
            clips[i] = clip.replace(embedding=(mean / max(float(np.linalg.norm(mean)), 1e-6)).astype(np.float32))
            hashes[clip.id] = [k.hash for k in looks]
    return clips, hashes


def faults(clip: Clip) -> list[str]:
    return [r.by for r in clip.rejected if r.by not in ("length", "split", "dedup")]


def verdict(clips: list[Clip], deserved: tuple[str, ...]) -> bool:
    """Whether most of the seconds have the fate they deserve."""
    total = sum(c.end - c.start for c in clips)
    right = sum(c.end - c.start for c in clips if (bool(set(faults(c)) & set(deserved)) if deserved else not faults(c)))
    return total > 0 and right > 0.5 * total


def figures(quick: bool = False, data: str | Path = DATA) -> dict[str, Any]:
    """One row a file, and how many are right.

    Raises:
        FileNotFoundError: without the data.
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"The developer video set is not at {data}.")
    began, config = time.process_time(), CurateConfig(write=False)
    rows, every, hashes = [], [], {}
    wanted = QUICK if quick else tuple(DESERVED)
    extra = () if quick else tuple(p.name for p in [*sorted(data.glob("multishot_*")), data / COPY] if p.is_file())
    for name in (*wanted, *extra):
        if not (data / name).is_file():
            rows.append({"file": name, "right": None, "fate": "absent"})
            continue
        before = time.process_time()
        clips, more = clips_of(data / name, config)
        hashes |= more
        every += clips
        if name in DESERVED:
            rows.append(
                {
                    "file": name,
                    "right": verdict(clips, DESERVED[name]),
                    **_row(clips),
                    "cpu_s": round(time.process_time() - before, 2),
                }
            )
    if not quick:
        free = [c.replace(rejected=()) for c in every]
        found = next((c for c in dedup(free, hashes, config.dedup) if c.source == COPY), None)
        why = [r.reason for r in found.rejected] if found else []
        rows.append({"file": COPY, "right": bool(why), "fate": "; ".join(why) or "kept", "type": "", "camera": ""})
    known = [r for r in rows if r["right"] is not None]
    return {
        "rows": rows,
        "right": sum(r["right"] for r in known),
        "of": len(known),
        "cpu_s": round(time.process_time() - began, 1),
    }


def _row(clips: list[Clip]) -> dict[str, Any]:
    longest = max(clips, key=lambda c: c.end - c.start)
    reasons = dict.fromkeys(f"{r.by}: {r.reason}" for c in clips for r in c.rejected if r.by not in ("length", "split"))
    return {
        "clips": len(clips),
        "kept": sum(not faults(c) for c in clips),
        "fate": " | ".join(reasons) or "kept",
        "type": f"{longest.tags.get('type', '')} {longest.scores.get('type_sure', 0.0):.2f}",
        "topic": longest.tags.get("topic", ""),
        "camera": longest.tags.get("camera", ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--quick", action="store_true", help="five files")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        result = figures(options.quick, options.data)
    except FileNotFoundError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps(result))
        return
    for row in result["rows"]:
        mark = {True: "right", False: "WRONG", None: "-"}[row["right"]]
        clips = f"{row.get('kept', '')}/{row.get('clips', '')}"
        tags = f"{row.get('type', ''):15} {row.get('topic', ''):13} {row.get('camera', ''):10}"
        print(f"{mark:5} {row['file']:36} {clips:7} {tags} {row['fate'][:150]}")
    print(f"{result['right']} of {result['of']} right, {result['cpu_s']} CPU-s")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
