"""The tabletop's model: a tray with a rim, a four-joint arm whose tip pushes, and three objects, as one MJCF string.

World axes: x right, y away from the front camera, z up, metres; the tray's floor is z = 0 and its middle the origin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.kinematics import elbow_up
from armillary.sims.light import Light, Material
from armillary.sims.mjcf import look, text

TRAY = (0.27, 0.24)  # inner half extents
RIM = 0.012  # half thickness
TIP_RADIUS = 0.018
REACH = (TRAY[0] - TIP_RADIUS - 0.004, TRAY[1] - TIP_RADIUS - 0.004)  # where the tip's centre may go
BASE = (0.0, 0.42)  # the arm stands beyond the tray, so that from the front it hides little
SHOULDER = 0.17
LINK = 0.36
TOOL = 0.105  # from the wrist's axis down to the tip's lower end
CLEARANCE = 0.006  # of the tip's lower end above the floor

TIMESTEP = 0.004
GAIN, DAMPING = 400.0, 16.0  # of the joint servos; the ratio is the lag that the command leads by

# Half extents of each shape's bounding box. All are at least 8 pixels wide in a 64-pixel front picture.
SHAPES: dict[str, tuple[float, float, float]] = {
    "block": (0.041, 0.041, 0.026),
    "cylinder": (0.044, 0.044, 0.026),
    "bar": (0.068, 0.028, 0.023),
    "tee": (0.058, 0.052, 0.022),
}
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.84, 0.15, 0.13),
    "green": (0.16, 0.62, 0.22),
    "blue": (0.14, 0.34, 0.86),
    "yellow": (0.95, 0.79, 0.12),
}
TIP_RGB = (0.93, 0.16, 0.78)
# Table name (as a caption says it) -> its colour and look.
TABLES: dict[str, tuple[tuple[float, float, float], Material]] = {
    "grey": ((0.50, 0.52, 0.55), Material("speckle", scale=0.6, strength=0.10, gloss=0.03)),
    "wooden": ((0.60, 0.46, 0.33), Material("wood", scale=1.3, strength=0.22, gloss=0.06)),
    "checkered": ((0.49, 0.53, 0.52), Material("checker", scale=0.72, strength=0.09, gloss=0.03)),
}
CAMERAS = ("front", "side", "wrist")


def _geoms(k: int, thing: SceneObject) -> str:
    """The geoms of object `k`, in a geom group of its own; a fourth one shares the third's (MuJoCo has no group 6)."""
    x, y, z = thing.size
    common = (
        f'group="{min(3 + k, 5)}" rgba="{text(thing.rgb)} 1" density="380" friction="0.7 0.004 0.0001" condim="4" '
        f'solref="0.008 1" solimp="0.95 0.99 0.001"'
    )
    if thing.shape == "cylinder":
        return f'<geom name="object{k}" type="cylinder" size="{x} {z}" {common}/>'
    if thing.shape == "tee":
        bar = 0.36 * y  # half depth of the cross bar; the stem fills the rest
        stem = y - bar
        return (
            f'<geom name="object{k}" type="box" size="{x} {bar} {z}" pos="0 {y - bar} 0" {common}/>'
            f'<geom name="object{k}stem" type="box" size="{0.36 * x} {stem} {z}" pos="0 {stem - y} 0" {common}/>'
        )
    return f'<geom name="object{k}" type="box" size="{x} {y} {z}" {common}/>'


def _tray(rgb: np.ndarray) -> str:
    """Floor and rim. Above the rim stands a wall that nothing sees (alpha 0): objects leave the tray under no command."""
    x, y = TRAY
    slip = 'type="box" friction="0.2 0.004 0.0001" priority="1"'
    rim, wall = f'{slip} rgba="0.27 0.29 0.33 1"', f'{slip} rgba="1 1 1 0"'
    sides = [
        (
            f"{sign}{axis}",
            (RIM, y + 2 * RIM) if axis == "x" else (x, RIM),
            (sign * (x + RIM), 0) if axis == "x" else (0, sign * (y + RIM)),
        )
        for axis in "xy"
        for sign in (-1, 1)
    ]
    return (
        f'<geom name="floor" type="box" size="{x + 0.001} {y + 0.001} 0.006" pos="0 0 -0.006" rgba="{text(rgb)} 1" friction="0.7"/>'
        + "".join(
            f'<geom name="rim{name}" {rim} size="{text(half)} 0.02" pos="{text(at)} 0.008"/>'
            f'<geom name="wall{name}" {wall} size="{text(half)} 0.1" pos="{text(at)} 0.127"/>'
            for name, half, at in sides
        )
    )


def _arm() -> str:
    """A turntable, two links and a wrist that keeps the tool upright. Its weight is carried (`gravcomp`), as real arms' controllers do."""
    inert = 'group="1" contype="0" conaffinity="0"'
    touch = 'group="1" contype="1" conaffinity="1" friction="0.3 0.004 0.0001" priority="1"'
    shell, joint = 'rgba="0.86 0.87 0.88 1"', 'rgba="0.20 0.21 0.24 1"'
    hinge = 'type="hinge" armature="0.02"'
    low, high = CLEARANCE - TOOL + 0.5 * TIP_RADIUS, 0.052 - TOOL
    return f"""
    <geom name="pedestal" type="cylinder" size="0.055 {SHOULDER / 2 - 0.01}" pos="{text(BASE)} {SHOULDER / 2 - 0.02}"
      rgba="0.30 0.32 0.36 1"/>
    <body name="turntable" pos="{text(BASE)} {SHOULDER}" gravcomp="1">
      <joint name="yaw" {hinge} axis="0 0 1"/>
      <geom type="cylinder" size="0.045 0.022" mass="0.3" {inert} {joint}/>
      <body name="upper" gravcomp="1">
        <joint name="shoulder" {hinge} axis="0 -1 0"/>
        <geom type="capsule" fromto="0 0 0 {LINK} 0 0" size="0.019" mass="0.35" {inert} {shell}/>
        <body name="fore" pos="{LINK} 0 0" gravcomp="1">
          <joint name="elbow" {hinge} axis="0 -1 0"/>
          <geom type="cylinder" size="0.026 0.024" euler="90 0 0" mass="0.1" {inert} {joint}/>
          <geom type="capsule" fromto="0 0 0 {LINK} 0 0" size="0.015" mass="0.25" {inert} {shell}/>
          <body name="tool" pos="{LINK} 0 0" gravcomp="1">
            <joint name="wrist" {hinge} axis="0 -1 0"/>
            <geom type="sphere" size="0.021" mass="0.05" {inert} {joint}/>
            <geom name="rod" type="capsule" fromto="0 0 0 0 0 {high}" size="0.008" mass="0.03" {touch} rgba="0.45 0.46 0.50 1"/>
            <geom name="tip" type="cylinder" fromto="0 0 {high} 0 0 {low}" size="{TIP_RADIUS}" mass="0.04" {touch}
              rgba="{text(TIP_RGB)} 1"/>
            <site name="tip" pos="0 0 {0.5 * (low + high)}" group="5" size="0.001"/>
            <camera name="wrist" pos="0.085 0 0.05" xyaxes="0 -1 0 0.958 0 -0.287" fovy="80"/>
          </body>
        </body>
      </body>
    </body>"""


def build(
    objects: Sequence[SceneObject], table: tuple[float, float, float], floor: np.ndarray, light: Light, poses: np.ndarray
) -> str:
    """The MJCF of one scene.

    Args:
        table, floor: sRGB of the table and of the tray's floor.
        poses: where the objects lie at first, `k 3`: x, y, and the angle about the vertical in radians.
    """
    things = "".join(
        f'<body name="object{k}" pos="{text(poses[k, :2])} {thing.size[2]:.9g}" '
        f'quat="{text([np.cos(poses[k, 2] / 2), 0, 0, np.sin(poses[k, 2] / 2)])}"><freejoint/>{_geoms(k, thing)}</body>'
        for k, thing in enumerate(objects)
    )
    servos = "".join(
        f'<position joint="{joint}" kp="{GAIN}" kv="{DAMPING}" forcerange="-40 40"/>'
        for joint in ("yaw", "shoulder", "elbow", "wrist")
    )
    return f"""
<mujoco model="tabletop">
  <compiler angle="degree"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" iterations="30" cone="elliptic"/>
  <visual><headlight ambient="0.35 0.35 0.37" diffuse="0 0 0" specular="0 0 0"/><global offwidth="1024" offheight="1024"/></visual>
  <worldbody>
    <light pos="{text(light.position)}" dir="{text(-np.asarray(light.position))}" diffuse="0.7 0.7 0.66" castshadow="true"/>
    <camera name="front" {look((0.0, -0.66, 0.88), (0.0, 0.035, 0.0))} fovy="33"/>
    <camera name="side" {look((0.85, -0.25, 0.62), (0.0, 0.05, 0.03))} fovy="36"/>
    <geom name="table" type="plane" size="3 3 0.1" pos="0 0 -0.012" rgba="{text(table)} 1"/>
    {_tray(floor)}
    {_arm()}
    {things}
  </worldbody>
  <actuator>{servos}</actuator>
</mujoco>"""


def materials(table: Material) -> dict[str, Material]:
    return {
        "table": table,
        "floor": Material("speckle", scale=0.35, strength=0.05, gloss=0.05, shine=3),
        "tip": Material(gloss=0.25, shine=4),
    }


def joints(x: float, y: float) -> np.ndarray:
    """Inverse kinematics: the four joint angles (radians) that hold the tip over (x, y) at pushing height, tool upright, elbow up."""
    turn, lift, bend = elbow_up(x - BASE[0], y - BASE[1], CLEARANCE + TOOL - SHOULDER, LINK)
    return np.array([turn, lift, bend, -lift - bend])
