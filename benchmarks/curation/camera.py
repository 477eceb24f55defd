"""Camera-motion tags against cameras whose motion is known: rendered scenes, encoded, analysed and judged as any file is.

    python benchmarks/curation/camera.py [--per 20] [--first 1000] [--keep FOLDER] [--json]

A scene is a textured ground with walls, boxes, balls and columns, cast by `sims.raycast`; in half of the clips of every class, and in
three quarters of the static ones, things of all sizes cross the picture. A clip has one of five shapes and five frame rates and 3 to 4
seconds (without shadows), the noise of a sensor, and goes through H.264. Nothing is trained; thresholds were set on seeds below 1000.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.analyse import analyse, join
from armillary.curate.filters.motion import Motion
from armillary.curate.stage import Context
from armillary.media import Reader, write_video
from armillary.sims import optics
from armillary.sims.raycast import EVERY, GAMMA, Light, Material, Raycaster
from armillary.types import Camera, Clip

SHAPES = ((144, 256), (180, 320), (168, 224), (192, 192), (256, 144))
RATES = (8, 8, 10, 12, 15)


class Caster(Raycaster):
    """One ray a pixel and no shadows: a third of the time, and the camera moves from frame to frame, so that nothing could be kept."""

    def picture(self, camera: Camera) -> np.ndarray:
        """uint8 `h w 3`."""
        dirs = optics.directions(camera)
        hits = self.cast(camera.pose[:3, 3], dirs, EVERY)
        lamps = self._lamps()
        colour = self._shade(dirs, hits, np.zeros((len(lamps), len(dirs)), bool), lamps)
        return GAMMA[(np.clip(colour, 0, 1) * 65535 + 0.5).astype(np.int64)].reshape(camera.height, camera.width, 3)


# A path is a function of time giving (yaw, pitch, roll in radians, x, y, z in metres, factor of the focal length): right, up, clockwise,
# then right, forward, up.
Path7 = Callable[[float], tuple[float, float, float, float, float, float, float]]
DEG = np.pi / 180


def wobble(rng: np.random.Generator, low: float, high: float, speed: float) -> Callable[[float], float]:
    """A sum of five waves of `low` to `high` Hz whose speed has the root mean square `speed`."""
    rate = 2 * np.pi * rng.uniform(low, high, 5)
    phase, size = rng.uniform(0, 2 * np.pi, 5), rng.uniform(0.5, 1.0, 5)
    size *= speed / np.sqrt((size**2).sum() / 2)
    return lambda t: float((size / rate * np.sin(rate * t + phase)).sum())


def path(kind: str, rng: np.random.Generator) -> Path7:
    """How the camera of a class moves. Speeds are drawn on a logarithmic scale."""

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    if kind.startswith("pan"):
        v = between(3, 28) * DEG * (1 if kind.endswith("right") else -1)
        return lambda t: (v * t, 0, 0, 0, 0, 0, 1)
    if kind.startswith("tilt"):
        v = between(3, 12) * DEG * (1 if kind.endswith("up") else -1)
        return lambda t: (0, v * (t - 1.6), 0, 0, 0, 0, 1)
    if kind.startswith("zoom"):
        v = between(0.08, 0.4) * (1 if kind.endswith("in") else -1)
        return lambda t: (0, 0, 0, 0, 0, 0, float(np.exp(v * (t - (0 if v > 0 else 3.5)))))
    if kind.startswith("roll"):
        v = between(4, 30) * DEG * (-1 if kind.endswith("ccw") else 1)
        return lambda t: (0, 0, v * (t - 1.6), 0, 0, 0, 1)
    if kind.startswith("dolly"):
        v = between(0.35, 1.2) * (1 if kind.endswith("in") else -1)
        return lambda t: (0, 0, 0, 0, v * (t - (0.5 if v > 0 else 3.0)), 0, 1)
    if kind == "handheld":
        speed = between(0.9, 3.0) * DEG
        yaw, pitch, roll = (wobble(rng, 0.25, 2.5, s * speed) for s in (1, 0.8, 0.5))
        x, z = wobble(rng, 0.2, 1.0, 0.03), wobble(rng, 0.2, 1.0, 0.02)
        return lambda t: (yaw(t), pitch(t), roll(t), x(t), 0, z(t), 1)
    if kind == "shaky":
        speed = between(16, 40) * DEG
        yaw, pitch, roll = (wobble(rng, 2, 6, s * speed) for s in (1, 1, 0.5))
        return lambda t: (yaw(t), pitch(t), roll(t), 0, 0, 0, 1)
    if kind == "moving":
        a, b = (between(5, 14) * DEG * rng.choice([-1, 1]) for _ in range(2))
        b = np.sign(b) * abs(a) * rng.uniform(0.8, 1.25)
        zoom = 2.2 * abs(a) * rng.choice([-1, 1])
        which = rng.integers(4)
        if which == 0:  # pan and tilt
            return lambda t: (a * t, np.clip(b, -9 * DEG, 9 * DEG) * (t - 1.6), 0, 0, 0, 0, 1)
        if which == 1:  # pan and zoom
            return lambda t: (a * t, 0, 0, 0, 0, 0, float(np.exp(zoom * (t - 1.6))))
        if which == 2:  # pan and roll
            return lambda t: (a * t, 0, 2.2 * b * (t - 1.6), 0, 0, 0, 1)
        return lambda t: (0, 0, 2.2 * b * (t - 1.6), 0, 0, 0, float(np.exp(zoom * (t - 1.6))))  # roll and zoom
    return lambda t: (0, 0, 0, 0, 0, 0, 1)


KINDS = (
    *("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll cw", "roll ccw"),
    *("dolly in", "dolly out", "handheld", "shaky", "moving"),
)


def scene(rng: np.random.Generator, movers: int, huge: bool) -> tuple[str, dict[str, Material], list[tuple[np.ndarray, ...]]]:
    """MJCF, looks, and for every mover where it starts and how it goes (position, velocity)."""
    geoms, bodies, looks, ways = [], [], {}, []

    def look(name: str, scale: float) -> str:
        looks[name] = Material(str(rng.choice(["checker", "wood", "speckle", "speckle"])), scale, float(rng.uniform(0.25, 0.6)))
        return f'rgba="{" ".join(f"{c:.3f}" for c in rng.uniform(0.2, 0.85, 3))} 1"'

    geoms.append(f'<geom name="ground" type="plane" size="60 60 1" {look("ground", rng.uniform(2, 5))}/>')
    far = rng.uniform(8, 14)
    for k, (x, y, half) in enumerate(
        [(0, far, "30 0.2 9"), (-far, 0, "0.2 30 9"), (far, 0, "0.2 30 9"), (0, -far, "30 0.2 9")]
    ):
        geoms.append(f'<geom name="wall{k}" type="box" pos="{x} {y} 3" size="{half}" {look(f"wall{k}", rng.uniform(2, 5))}/>')
    for k in range(int(rng.integers(14, 26))):
        angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(3.2, 8)
        x, y, size = away * np.sin(angle), away * np.cos(angle), rng.uniform(0.25, 0.8)
        shape = str(rng.choice(["box", "cylinder", "sphere"]))
        half = {"box": f"{size} {size} {size * 1.6}", "cylinder": f"{size * 0.6} {size * 2}", "sphere": f"{size}"}[shape]
        geoms.append(
            f'<geom name="g{k}" type="{shape}" pos="{x} {y} {size}" size="{half}" {look(f"g{k}", rng.uniform(0.6, 2))}/>'
        )
    for k in range(movers):
        away = 2.2 if huge and k == 0 else rng.uniform(2.5, 6)
        size = 0.75 if huge and k == 0 else rng.uniform(0.1, 0.35)
        side = rng.choice([-1, 1])
        start = np.array([-side * rng.uniform(0.3, 1) * away * 0.5, away, rng.uniform(0.5, 1.6)])
        ways.append((start, np.array([side * rng.uniform(0.3, 0.9), rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.05)])))
        shape = f'type="box" size="{size} {size} {size}"' if rng.random() < 0.5 else f'type="sphere" size="{size}"'
        bodies.append(f'<body name="m{k}" mocap="true"><geom name="m{k}" group="1" {shape} {look(f"m{k}", 0.7)}/></body>')
    return f"<mujoco><worldbody>{''.join(geoms)}{''.join(bodies)}</worldbody></mujoco>", looks, ways


def pose(yaw: float, pitch: float, roll: float, at: np.ndarray) -> np.ndarray:
    """Camera to world, OpenCV axes, looking along +y of a world whose z is up."""
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    down = np.cross(ahead, right)
    out = np.eye(4)
    out[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    out[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    out[:3, 2], out[:3, 3] = ahead, at
    return out


def render(kind: str, seed: int) -> tuple[np.ndarray, float]:
    """Frames uint8 `t h w 3` and their rate."""
    import cv2
    import mujoco

    rng = np.random.default_rng([KINDS.index(kind), seed])
    h, w = SHAPES[int(rng.integers(len(SHAPES)))]
    fps = float(RATES[int(rng.integers(len(RATES)))])
    frames = round(rng.uniform(3, 4) * fps)
    movers = int(rng.integers(1, 4)) if rng.random() < (0.75 if kind == "static" else 0.5) else 0
    xml, looks, ways = scene(rng, movers, kind == "static" and rng.random() < 0.4)
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    caster = Caster(model, data, looks, Light(position=(2.0, -2.0, 7.0), strength=0.6), smooth=False)
    focal = 0.5 * max(h, w) / np.tan(rng.uniform(40, 62) * DEG / 2)
    base_yaw, base_pitch = rng.uniform(-0.3, 0.3), rng.uniform(-0.12, 0.0)
    go, height, noise = path(kind, rng), rng.uniform(1.0, 1.7), rng.uniform(0, 2.5)
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        t = i / fps
        yaw, pitch, roll, x, y, z, factor = go(t)
        for k, (start, velocity) in enumerate(ways):
            data.mocap_pos[k] = start + velocity * t
        mujoco.mj_forward(model, data)
        lens = np.array([[focal * factor, 0, w / 2], [0, focal * factor, h / 2], [0, 0, 1.0]])
        right, ahead = np.array([np.cos(base_yaw), -np.sin(base_yaw), 0]), np.array([np.sin(base_yaw), np.cos(base_yaw), 0])
        at = np.array([0, 0, height + z]) + x * right + y * ahead
        camera = Camera("c", w, h, lens, pose(base_yaw + yaw, base_pitch + pitch, roll, at))
        soft = cv2.GaussianBlur(caster.picture(camera), (3, 3), 0.6).astype(np.float32)
        out[i] = np.clip(soft + rng.normal(size=(h, w, 1)).astype(np.float32) * noise, 0, 255)
    return out, fps


def clip_of(kind: str, seed: int, folder: Path) -> Path:
    """The encoded clip; drawn once a folder."""
    target = folder / f"{kind.replace(' ', '-')}-{seed}.mp4"
    if not target.is_file():
        frames, fps = render(kind, seed)
        write_video(target, frames, fps)
    return target


def judged(path: Path) -> Clip:
    """The file as one clip, with what the motion filter says of it."""
    with Reader(path) as reader:
        segment = join(list(analyse(reader)))
        info = reader.info
    clip = Clip("c", path.name, float(segment.times[0]), segment.end, width=info.width, height=info.height)
    return Motion().process([clip], Context(segment, path, path.name, "", path.parent))[0]


def _one(job: tuple[str, int, str]) -> tuple[str, int, str, dict[str, float], bool]:
    import cv2

    cv2.setNumThreads(1)
    kind, seed, folder = job
    clip = judged(clip_of(kind, seed, Path(folder)))
    return kind, seed, clip.tags.get("camera", "unknown"), dict(clip.scores), any(r.by == "motion" for r in clip.rejected)


def figures(per: int = 20, first: int = 1000, folder: str = "", workers: int = 1) -> dict[str, Any]:
    """Accuracy of every class and the confusions, over `per` clips of each from seed `first` on."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or scratch
        Path(place).mkdir(parents=True, exist_ok=True)
        jobs = [(kind, first + k, place) for kind in KINDS for k in range(per)]
        if workers > 1:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                rows = pool.map(_one, jobs, chunksize=4)
        else:
            rows = [_one(job) for job in jobs]
    table: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for kind, _, tag, _, _ in rows:
        table[kind][tag] = table[kind].get(tag, 0) + 1
    accuracy = {kind: table[kind].get(kind, 0) / per for kind in KINDS}
    wrong = [
        {
            "kind": k,
            "seed": s,
            "tag": t,
            **{n: v for n, v in scores.items() if n.startswith("camera") or n in ("shake", "objects")},
        }
        for k, s, t, scores, _ in rows
        if t != k
    ]
    return {
        "clips": len(rows),
        "per_class": accuracy,
        "least": min(accuracy.values()),
        "mean": float(np.mean(list(accuracy.values()))),
        "confusion": table,
        "wrong": wrong,
        "cpu_s": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per", type=int, default=20, help="clips of each class")
    parser.add_argument("--first", type=int, default=1000, help="first seed")
    parser.add_argument("--keep", default="", help="a folder for the encoded clips, used again when they are there")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = figures(options.per, options.first, options.keep, options.workers)
    if options.json:
        print(json.dumps(result))
        return
    for kind, value in result["per_class"].items():
        others = {k: v for k, v in result["confusion"][kind].items() if k != kind}
        print(f"{kind:10} {value:5.2f}  {others or ''}")
    for row in result["wrong"]:
        print("  wrong:", {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    print(f"mean {result['mean']:.3f}, least {result['least']:.2f}, {result['clips']} clips, {result['cpu_s']} CPU-s here")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
