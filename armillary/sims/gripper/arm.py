"""The arm of `tabletop-gripper`: six hinges and a hand with two fingers, as MJCF, with its limits and inverse kinematics.

Joints, from the table up: `base` turns about the vertical, `shoulder` and `elbow` lift two equal links, `roll` turns the forearm about
itself, `wrist` bends the hand, `hand` turns it. Commanded at the end effector, `roll` stays 0 and the hand points straight down.
All angles are 0 where the arm points level towards the viewer with the hand hanging, and the two fingers part along the arm's own left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armillary.sims.kinematics import elbow_up
from armillary.sims.mjcf import text

JOINTS = ("base", "shoulder", "elbow", "roll", "wrist", "hand")
LOW = (-1.2, -0.6, -2.75, -0.9, -1.3, -2.6)  # radians
HIGH = (1.2, 2.1, -0.15, 0.9, 2.2, 2.6)
RATE = (4.0, 4.0, 5.0, 4.0, 5.0, 7.0)  # the most that a joint's target moves, radians a second

SHOULDER = 0.22  # metres above the table
LINK, FORE = 0.335, 0.18  # of either link; of the forearm's part before the roll joint
TOOL = 0.165  # from the wrist's axis to the fingers' ends
OPEN = 0.10  # widest gap between the fingers
FINGER = (0.012, 0.006, 0.030)  # half extents: width, thickness, length
TOUCH = 0.014  # the tip lies this far above the fingers' ends
GRIP = 20.0  # newtons, the most either finger presses with
GAIN, DAMPING = 500.0, 20.0  # of the joint servos; the ratio is the lag that the command leads by

# Links' shell, joints, fingers; sRGB.
PAINTS: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((0.88, 0.89, 0.90), (0.22, 0.23, 0.26), (0.16, 0.17, 0.19)),
    ((0.93, 0.52, 0.12), (0.20, 0.20, 0.22), (0.30, 0.31, 0.33)),
    ((0.25, 0.27, 0.30), (0.75, 0.76, 0.78), (0.82, 0.82, 0.80)),
    ((0.80, 0.81, 0.78), (0.14, 0.36, 0.66), (0.20, 0.21, 0.24)),
    ((0.92, 0.80, 0.25), (0.18, 0.18, 0.20), (0.55, 0.56, 0.58)),
    ((0.62, 0.64, 0.68), (0.55, 0.14, 0.14), (0.12, 0.12, 0.13)),
)


def body(base: Sequence[float], paint: tuple[tuple[float, float, float], ...]) -> str:
    """The arm standing at `base` (x, y in metres). Its weight is carried (`gravcomp`), as real arms' controllers do."""
    shell, joint, finger = (f'rgba="{text(c)} 1"' for c in paint)
    # The arm meets all else but not itself: its bit is 2, which its own geoms do not answer to.
    solid = 'group="1" contype="2" conaffinity="0"'
    pad = f'group="2" contype="2" conaffinity="0" friction="1.5 0.02 0.001" condim="6" priority="1" solref="0.006 1" {finger}'
    hinge = 'type="hinge" armature="0.02"'
    limits = {name: f'range="{text(np.rad2deg((low, high)))}"' for name, low, high in zip(JOINTS, LOW, HIGH)}
    rest, (wide, thick, long) = LINK - FORE, FINGER
    fingers = "".join(
        f"""
                <body name="finger{k}" gravcomp="1">
                  <joint name="finger{k}" type="slide" axis="0 {side} 0" range="0 {OPEN / 2}" armature="0.05" damping="6"/>
                  <geom name="pad{k}" type="box" size="{wide} {thick} {long}" pos="0 {side * thick} {long - TOOL}" mass="0.02" {pad}/>
                  <geom name="knuckle{k}" type="box" size="0.015 0.009 0.012" pos="0 {side * 0.009} {2 * long - TOOL + 0.012}"
                    mass="0.02" {solid} {joint}/>
                </body>"""
        for k, side in enumerate((1, -1))
    )
    return f"""
    <geom name="foot" type="cylinder" size="0.075 0.012" pos="{text(base)} 0.012" {joint}/>
    <geom name="pedestal" type="cylinder" size="0.052 {SHOULDER / 2 - 0.015}" pos="{text(base)} {SHOULDER / 2 - 0.015}" {shell}/>
    <body name="turntable" pos="{text(base)} {SHOULDER}" euler="0 0 -90" gravcomp="1">
      <joint name="base" {hinge} axis="0 0 1" {limits["base"]}/>
      <geom type="cylinder" size="0.056 0.026" pos="0 0 -0.01" mass="0.4" {solid} {joint}/>
      <body name="upper" gravcomp="1">
        <joint name="shoulder" {hinge} axis="0 -1 0" {limits["shoulder"]}/>
        <geom type="cylinder" size="0.043 0.050" euler="90 0 0" mass="0.3" {solid} {joint}/>
        <geom type="capsule" fromto="0 0 0 {LINK} 0 0" size="0.031" mass="0.4" {solid} {shell}/>
        <body name="fore" pos="{LINK} 0 0" gravcomp="1">
          <joint name="elbow" {hinge} axis="0 -1 0" {limits["elbow"]}/>
          <geom type="cylinder" size="0.036 0.043" euler="90 0 0" mass="0.2" {solid} {joint}/>
          <geom type="capsule" fromto="0 0 0 {FORE} 0 0" size="0.026" mass="0.2" {solid} {shell}/>
          <body name="forearm" pos="{FORE} 0 0" gravcomp="1">
            <joint name="roll" {hinge} axis="1 0 0" {limits["roll"]}/>
            <geom type="cylinder" fromto="0 0 0 0.022 0 0" size="0.029" mass="0.1" {solid} {joint}/>
            <geom type="capsule" fromto="0.02 0 0 {rest} 0 0" size="0.021" mass="0.1" {solid} {shell}/>
            <body name="wrist" pos="{rest} 0 0" gravcomp="1">
              <joint name="wrist" {hinge} axis="0 -1 0" {limits["wrist"]}/>
              <geom type="cylinder" size="0.027 0.032" euler="90 0 0" mass="0.1" {solid} {joint}/>
              <geom type="cylinder" fromto="0 0 -0.015 0 0 -0.055" size="0.022" mass="0.08" {solid} {shell}/>
              <body name="hand" gravcomp="1">
                <joint name="hand" {hinge} axis="0 0 1" {limits["hand"]}/>
                <geom name="palm" type="box" size="0.021 0.058 0.013" pos="0 0 -0.068" mass="0.12" {solid} {joint}/>
                <geom name="eye" type="box" size="0.010 0.012 0.008" pos="0.030 0 -0.066" mass="0.01" {solid} {finger}/>
                <site name="tip" pos="0 0 {TOUCH - TOOL}" group="5" size="0.001"/>
                <camera name="wrist" pos="0.062 0 -0.058" xyaxes="0 -1 0 0.92 0 -0.392" fovy="82"/>{fingers}
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def rest() -> str:
    """MJCF beside the bodies: the fingers move as one, and what drives the joints. `ctrl` is six angles and the gap."""
    servos = "".join(f'<position joint="{name}" kp="{GAIN}" kv="{DAMPING}" forcerange="-60 60"/>' for name in JOINTS)
    return f"""
  <tendon><fixed name="gap"><joint joint="finger0" coef="1"/><joint joint="finger1" coef="1"/></fixed></tendon>
  <equality><joint joint1="finger0" joint2="finger1" polycoef="0 1 0 0 0" solref="0.006 1"/></equality>
  <actuator>{servos}<position tendon="gap" kp="700" kv="20" forcerange="-{GRIP} {GRIP}"/></actuator>"""


def joints(base: Sequence[float], x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """The six angles (radians) that hold the tip at (x, y, z), hand straight down, turned by `yaw` about the vertical (0: the fingers
    part to the left and right of a viewer in front); within the joints' limits."""
    turn, lift, bend = elbow_up(x - base[0], y - base[1], z + TOOL - TOUCH - SHOULDER, LINK)
    turn += np.pi / 2  # the arm's zero looks at the viewer, along -y
    return np.clip([turn, lift, bend, 0.0, -lift - bend, yaw - turn], LOW, HIGH)
