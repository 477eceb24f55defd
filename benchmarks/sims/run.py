"""Pictures of the tabletop: the ray caster against MuJoCo's own OpenGL renderer on the same scene, CPU seconds a picture.

The peer needs a GL library (`apt-get install libegl1 libopengl0 libgl1-mesa-dri`); it is the software rasteriser where there is no GPU.

And how fast each simulator is recorded: episodes of 33 frames at 128 pixels through `armillary sim record`, compressed and on disk. `CPU s
an episode` is measured in one process without its start; `a minute, two cores by CPU time` is what that comes to on two idle cores; `a
minute, as measured` is the clock with two workers and their start, on a machine as busy as it happened to be (`load`).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("MUJOCO_GL", "egl")

import harness

from armillary import progress, sims
from armillary.data.record import record

FRAMES, SIZE = 33, 128


def main() -> None:
    options = harness.arguments(__doc__ or "")
    repeats, pictures = (3, 3) if options.quick else (9, 20)
    ratios = {}
    for size in (64, 128):
        worlds = {name: sims.make("tabletop", renderer=name) for name in ("ray", "gl")}

        def draw(name: str, worlds=worlds, size=size) -> None:
            sim = worlds[name]
            sim.reset(1)
            for _ in range(pictures):
                sim.step([0.3, -0.2])
                sim.render(["front"], size)

        result = harness.interleaved(lambda: draw("ray"), lambda: draw("gl"), repeats)
        ratios[f"front picture, {size} px"] = result | {"peer": f"mujoco {_version()} Renderer, {os.environ['MUJOCO_GL']}"}
    figures = {f"{name}: ms a picture and step, ours": 1e3 * r["ours_s"] / pictures for name, r in ratios.items()}
    progress.QUIET = True
    for name in sims.SIMS:
        if name == "tabletop-gripper-joints":  # the same scene, pixels and physics as without the suffix
            continue
        cameras = sims.make(name).cameras
        for some in dict.fromkeys((cameras[:1], cameras)):
            figures[f"{name}, {len(some)} camera{'s' * (len(some) > 1)}"] = recorded(name, some, 1 if options.quick else 3)
    harness.report(__file__, ratios, figures, options)


def recorded(name: str, cameras: tuple[str, ...], episodes: int) -> dict[str, float]:
    """How fast a simulator is recorded with those cameras."""
    settings = {"frames": FRAMES, "size": SIZE, "cameras": cameras}
    with tempfile.TemporaryDirectory() as folder:
        record(name, f"{folder}/one", 1, workers=1, **settings)
        began = time.process_time()
        record(name, f"{folder}/one", 1 + episodes, workers=1, **settings)
        cpu = (time.process_time() - began) / episodes
        began = time.monotonic()
        record(name, f"{folder}/two", 2 * episodes, workers=2, **settings)
        clock = (time.monotonic() - began) / (2 * episodes)
    return {
        "CPU s an episode": round(cpu, 2),
        "a minute, two cores by CPU time": round(120 / cpu, 1),
        "a minute, as measured": round(60 / clock, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def _version() -> str:
    from importlib.metadata import version

    return version("mujoco")


if __name__ == "__main__":
    main()
