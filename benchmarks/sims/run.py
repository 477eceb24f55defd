"""Pictures of the tabletop: the ray caster against MuJoCo's own OpenGL renderer on the same scene, CPU seconds a picture.

The peer needs a GL library (`apt-get install libegl1 libopengl0 libgl1-mesa-dri`); it is the software rasteriser where there is no GPU.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("MUJOCO_GL", "egl")

import harness

from armillary import sims


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
    harness.report(__file__, ratios, figures, options)


def _version() -> str:
    from importlib.metadata import version

    return version("mujoco")


if __name__ == "__main__":
    main()
