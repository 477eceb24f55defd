"""Faces: recall by size, what is left after hiding, false boxes on robots and roads, and milliseconds a frame.

    python benchmarks/guard/faces.py VIDEOS [--out benchmarks/guard/faces.json]

`VIDEOS` holds clips named human_*, robot_*, tabletop_* and driving_*. Reference boxes are the detector's own, of 0.6 and more, on the
frames at their full size: whoever it never finds is not counted, so recall is of sizes and not of people.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

from armillary.guard.centerface import CenterFace, iou
from armillary.guard.faces import Faces, spread
from armillary.media import read_video, resize

SIDES = (16, 24, 32, 48)


def frames_of(path: Path, count: int, step: int) -> np.ndarray:
    return read_video(path, max_frames=count * step, on_error="keep").frames[::step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    detector, rail = CenterFace(), Faces()
    found = {side: [0, 0] for side in SIDES}
    left = hidden = 0
    for path in sorted(asked.videos.glob("human_*")):
        frames = frames_of(path, 16, 4)
        best = [max((f for f in detector.detect(x) if f.score >= 0.6), key=lambda f: f.score, default=None) for x in frames]
        sides = [min(f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in best if f]
        if len(sides) < 4:
            continue
        for side in SIDES:
            zoom = side / float(np.median(sides))
            h, w = (max(32, round(n * zoom)) for n in frames.shape[1:3])
            if zoom > 1.2:
                continue
            small = resize(frames, (h, w))
            boxes = [spread(t, len(small), rail.config) for t in rail.tracks(small)]
            for i, face in enumerate(best):
                if face is not None:
                    wanted = tuple(np.array(face.box) * np.tile([w / frames.shape[2], h / frames.shape[1]], 2))
                    found[side][1] += 1
                    found[side][0] += any(i in b and iou(b[i], wanted) >= 0.2 for b in boxes)
            if side == 48:
                shown = rail.check(small, 8.0).frames
                assert shown is not None
                left += sum(bool(detector.detect(f)) for f in shown)
                hidden += len(shown)
    false: dict[str, list[int]] = {}
    for path in sorted(p for kind in ("robot_*", "tabletop_*", "driving_*") for p in asked.videos.glob(kind)):
        frames = frames_of(path, 40, 2)
        h, w = frames.shape[1:3]
        frames = resize(frames, (round(h * 320 / w), 320)) if w > 320 else frames
        touched = {i for t in rail.tracks(frames) for i in spread(t, len(frames), rail.config)}
        false[path.name] = [len(touched), len(frames)]
    picture = np.random.default_rng(0).integers(0, 255, (704, 1280, 3), np.uint8)
    spent = []
    for _ in range(6):
        began = time.perf_counter()
        detector.detect(picture)
        spent.append(1e3 * (time.perf_counter() - began))
    told = {
        "date": time.strftime("%Y-%m-%d"), "machine": f"{platform.machine()}, one thread, shared with other work",
        "recall_by_shorter_side": {side: {"found": a, "of": b} for side, (a, b) in found.items()},
        "frames_with_a_face_after_hiding": {"frames": left, "of": hidden},
        "false_boxes": {"frames": sum(a for a, _ in false.values()), "of": sum(b for _, b in false.values()), "clips": false},
        "milliseconds_a_looked_at_frame_1280x704": round(float(np.median(spent)), 1),
        "looked_at": f"one frame in {rail.config.every}",
    }  # fmt: skip
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
