"""How a gripper's scene looks, drawn anew for every seed: table, wall and what stands before it, lamps, cameras; and the whole MJCF.

World axes: x right, y away from the front camera, z up, metres; the table's top is z = 0 and the middle of the things' area the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.gripper import arm as gripper_arm
from armillary.sims.gripper import things as gripper_things
from armillary.sims.gripper.things import AREA, Target
from armillary.sims.light import Lamp, Light, Material
from armillary.sims.mjcf import look, text

TIMESTEP = 0.002
CAMERAS = ("front", "side", "wrist")
MARGIN = 0.035  # of a tray or mat around the area


@dataclass(frozen=True)
class Surface:
    """A kind of table: colours it comes in (sRGB), its pattern, and the ranges of the pattern's scale (metres a repeat) and strength."""

    colours: tuple[tuple[float, float, float], ...]
    texture: str
    scale: tuple[float, float] = (0.4, 1.4)
    strength: tuple[float, float] = (0.08, 0.25)


# Table, as a caption says it -> what it is made of.
TABLES: dict[str, Surface] = {
    "wooden": Surface(
        ((0.60, 0.46, 0.33), (0.42, 0.29, 0.19), (0.74, 0.61, 0.45), (0.52, 0.33, 0.22)), "wood", (0.7, 1.6), (0.15, 0.3)
    ),
    "grey": Surface(((0.50, 0.52, 0.55), (0.36, 0.37, 0.40), (0.65, 0.66, 0.67)), "speckle"),
    "white": Surface(((0.75, 0.75, 0.73), (0.80, 0.77, 0.70)), "speckle", (0.4, 1.2), (0.02, 0.08)),
    "dark": Surface(((0.17, 0.18, 0.20), (0.20, 0.16, 0.15), (0.13, 0.17, 0.22)), "speckle", (0.3, 1.0), (0.1, 0.35)),
    "marble": Surface(((0.76, 0.75, 0.72), (0.55, 0.60, 0.58), (0.38, 0.40, 0.44)), "marble", (0.6, 1.5), (0.12, 0.3)),
    "checkered": Surface(((0.49, 0.53, 0.52), (0.66, 0.60, 0.52), (0.42, 0.46, 0.58)), "checker", (0.4, 0.9), (0.08, 0.28)),
    "striped": Surface(((0.62, 0.58, 0.52), (0.46, 0.55, 0.62), (0.60, 0.48, 0.48)), "stripes", (0.5, 1.2), (0.08, 0.28)),
    "dotted": Surface(((0.60, 0.64, 0.60), (0.68, 0.60, 0.62), (0.44, 0.46, 0.54)), "dots", (0.4, 1.0), (0.1, 0.3)),
    "woven": Surface(
        ((0.66, 0.60, 0.50), (0.40, 0.46, 0.42), (0.55, 0.42, 0.38), (0.40, 0.44, 0.56)), "weave", (0.25, 0.5), (0.15, 0.4)
    ),
    "tiled": Surface(((0.68, 0.66, 0.62), (0.50, 0.58, 0.60), (0.66, 0.50, 0.42)), "brick", (0.8, 1.4), (0.1, 0.25)),
}
WALLS = ("plain", "brick", "stripes", "dots", "speckle", "marble", "wood", "windows", "weave")
SKINS = ("plain", "plain", "speckle", "stripes", "dots", "checker", "wood", "marble")  # of things
PADS = ("", "tray", "mat")  # what the things lie on beside the table itself


@dataclass(frozen=True)
class Scene:
    """What was drawn.

    Args:
        things, targets, poses: see `gripper_things.draw`.
        table: a name of `TABLES`; pad: of `PADS`.
        base: where the arm stands (x, y).
        light: with its further lamps; looks: geom name -> material, for those that are not plain; xml: the model.
    """

    things: tuple[SceneObject, ...]
    targets: tuple[Target, ...]
    poses: np.ndarray
    table: str
    pad: str
    base: tuple[float, float]
    light: Light
    looks: dict[str, Material]
    xml: str


def draw(rng: np.random.Generator, shapes: Sequence[str] = ()) -> Scene:
    """Everything that is in a scene and how it looks."""
    things, targets, poses = gripper_things.draw(rng, shapes)
    base = (float(rng.uniform(-0.07, 0.07)), float(rng.uniform(0.36, 0.40)))
    paint = gripper_arm.PAINTS[int(rng.integers(len(gripper_arm.PAINTS)))]
    light = _light(rng)
    room, looks, table, pad = _room(rng)
    skins = [_skin(rng) for _ in things]
    for k, thing in enumerate(things):
        names = [f"object{k}", *(f"object{k}_{n}" for n in range(gripper_things.SIDES))]
        looks |= dict.fromkeys(names if thing.shape in ("cup", "ring") else names[:1], skins[k])
    for k in range(len(targets)):
        matt = Material(gloss=float(rng.uniform(0.0, 0.25)), shine=int(rng.integers(3, 6)))
        looks |= dict.fromkeys([f"target{k}", *(f"target{k}_{n}" for n in range(4))], matt)
    xml = f"""
<mujoco model="tabletop-gripper">
  <compiler angle="degree"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" iterations="40" cone="elliptic" impratio="5"/>
  <visual><headlight ambient="0.35 0.35 0.37" diffuse="0 0 0" specular="0 0 0"/><global offwidth="1024" offheight="1024"/></visual>
  <worldbody>
    {_lamps(light)}
    {_cameras(rng)}
    {room}
    {gripper_things.targets(targets)}
    {gripper_arm.body(base, paint)}
    {gripper_things.bodies(things, poses)}
  </worldbody>
  {gripper_arm.rest()}
</mujoco>"""
    return Scene(tuple(things), tuple(targets), poses, table, pad, base, light, looks, xml)


def _light(rng: np.random.Generator) -> Light:
    """One to three lamps over and around the table, of a common warmth, and a sky that fits; the fewer lamps the stronger each."""

    def lamp(strength: float) -> Lamp:
        angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 1.0)
        warm = rng.uniform(-0.1, 0.12)
        return Lamp(
            position=(float(away * np.cos(angle)), float(away * np.sin(angle) - 0.25), float(rng.uniform(1.1, 2.0))),
            strength=float(strength * rng.uniform(0.85, 1.15)),
            radius=float(rng.uniform(0.02, 0.09)),
            colour=(float(min(1.0, 1.0 + warm)), float(1.0 - 0.3 * abs(warm)), float(min(1.0, 1.0 - warm))),
        )

    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    main, *more = (lamp(s) for s in {1: (0.85,), 2: (0.6, 0.35), 3: (0.45, 0.3, 0.22)}[count])
    sky = rng.uniform(0.24, 0.42) * (1.0 + rng.uniform(-0.08, 0.08, 3))
    ground = sky * rng.uniform(0.35, 0.6)
    return Light(
        position=main.position,
        strength=main.strength,
        radius=main.radius,
        colour=main.colour,
        sky=(float(sky[0]), float(sky[1]), float(sky[2])),
        ground=(float(ground[0]), float(ground[1]), float(ground[2])),
        more=tuple(more),
    )


def _skin(rng: np.random.Generator) -> Material:
    kind = str(rng.choice(SKINS))
    return Material(
        kind,
        float(rng.uniform(0.08, 0.2)),
        float(rng.uniform(0.06, 0.22)),
        float(rng.uniform(0.02, 0.35)),
        int(rng.integers(3, 7)),
    )


def _room(rng: np.random.Generator) -> tuple[str, dict[str, Material], str, str]:
    """Table, wall, what stands before it, and a tray or mat: (MJCF, looks, name of the table, of the pad)."""
    table = str(rng.choice(list(TABLES)))
    surface = TABLES[table]
    tone = np.array(surface.colours[int(rng.integers(len(surface.colours)))])
    tone = np.clip(tone * rng.uniform(0.88, 1.12) + rng.uniform(-0.03, 0.03, 3), 0.05, 0.95)
    wall = np.clip(rng.uniform(0.25, 0.85) + rng.uniform(-0.15, 0.15, 3), 0.05, 0.95)
    away, turn = float(rng.uniform(0.62, 1.1)), float(rng.uniform(-14, 14))
    looks = {
        "table": Material(
            surface.texture,
            float(rng.uniform(*surface.scale)),
            float(rng.uniform(*surface.strength)),
            float(rng.uniform(0, 0.1)),
        ),
        "wall": Material(str(rng.choice(WALLS)), float(rng.uniform(0.5, 1.8)), float(rng.uniform(0.04, 0.3)), 0.0),
    }
    xml = (
        f'<geom name="table" type="plane" size="3 3 0.1" euler="0 0 {rng.uniform(-180, 180):.6g}" rgba="{text(tone)} 1" friction="0.7"'
        f' contype="1" conaffinity="3"/>'
        f'<geom name="wall" type="box" size="4 0.05 1.5" pos="0 {away + 0.05} 1.5" euler="0 0 {turn}" rgba="{text(wall)} 1"/>'
    )
    for k in range(int(rng.integers(0, 5))):  # boxes and tins at the wall, out of the arm's way
        x = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.12, 0.6))
        half = rng.uniform((0.02, 0.02, 0.03), (0.07, 0.05, 0.13))
        kind, size = ("box", half) if rng.random() < 0.65 else ("cylinder", half[[0, 2]])
        y = away + x * np.tan(np.deg2rad(turn)) - 0.09
        xml += (
            f'<geom name="clutter{k}" type="{kind}" size="{text(size)}" pos="{x} {y} {half[2]}" euler="0 0 {rng.uniform(-30, 30):.6g}"'
            f' rgba="{text(rng.uniform(0.1, 0.9, 3))} 1"/>'
        )
        looks[f"clutter{k}"] = Material(
            str(rng.choice(WALLS)), float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.05, 0.35)), 0.08
        )
    pad = str(rng.choice(PADS))
    x, y = AREA[0] + MARGIN, AREA[1] + MARGIN
    cloth = np.clip(rng.uniform(0.3, 0.85) + rng.uniform(-0.12, 0.12, 3), 0.05, 0.95)
    if pad:  # it is as good as flat: things stand on the table through it
        xml += f'<geom name="pad" type="box" size="{x} {y} 0.0003" pos="0 0 0.0003" rgba="{text(cloth)} 1" contype="0" conaffinity="0"/>'
        looks["pad"] = Material(
            str(rng.choice(["speckle", "weave", "plain", "stripes"] if pad == "mat" else ["plain", "speckle", "wood"])),
            float(rng.uniform(0.25, 0.8)),
            float(rng.uniform(0.04, 0.25)),
            0.04,
        )
    if pad == "tray":
        rim = np.clip(cloth * rng.uniform(0.5, 0.9), 0.03, 0.9)
        for sign in (-1, 1):
            for size, at in (
                ((0.008, y + 0.016, 0.011), (sign * (x + 0.008), 0)),
                ((x, 0.008, 0.011), (0, sign * (y + 0.008))),
            ):
                xml += f'<geom type="box" size="{text(size)}" pos="{text(at)} 0.011" rgba="{text(rim)} 1" contype="1" conaffinity="3"/>'
    return xml, looks, table, pad


def _cameras(rng: np.random.Generator) -> str:
    """`front` and `side`, each a little elsewhere for every seed; `wrist` hangs on the hand (see `gripper_arm`)."""
    out = ""
    for name, at, target, wide in (
        ("front", (0.0, -0.80, 0.62), (0.0, 0.03, 0.045), 31.0),
        ("side", (0.80, -0.30, 0.48), (0.0, 0.05, 0.06), 33.0),
    ):
        place = np.array(at) + rng.uniform(-0.05, 0.05, 3)
        aim = np.array(target) + rng.uniform(-0.015, 0.015, 3)
        out += f'<camera name="{name}" {look(place, aim)} fovy="{wide + rng.uniform(-2.0, 2.0):.6g}"/>'
    return out


def _lamps(light: Light) -> str:
    """The same lamps for OpenGL."""
    lamps = (Lamp(light.position, light.strength, light.radius, light.colour), *light.more)
    return "".join(
        f'<light pos="{text(lamp.position)}" dir="{text(-np.array(lamp.position))}" '
        f'diffuse="{text(0.8 * lamp.strength * np.array(lamp.colour))}" castshadow="true"/>'
        for lamp in lamps
    )
