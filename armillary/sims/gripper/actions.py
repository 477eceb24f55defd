"""The two ways to command a gripper, as action specs: how fast the hand is to go, or where the joints are to stand."""

from __future__ import annotations

import numpy as np

from armillary.sims.gripper import arm as gripper_arm
from armillary.sims.gripper.things import AREA
from armillary.types import ActionSpec

FPS = 10.0
SPEED, TURN, PART = 0.5, 4.0, 0.3  # of a full command: m/s of the tip along each axis, rad/s, m/s of the gap
LEAD = 0.03  # metres that the commanded tip, or gap, may run ahead of a blocked one
LOWEST, HIGHEST = gripper_arm.TOUCH + 0.003, 0.27  # metres: of the tip under `ee` commands
REACH = np.array([[-AREA[0] - 0.01, -AREA[1] - 0.01, LOWEST], [AREA[0] + 0.01, AREA[1] + 0.01, HIGHEST]])

EE = ActionSpec(
    names=("ee_vx", "ee_vy", "ee_vz", "ee_vyaw", "gripper_v"),
    units=(f"{SPEED} m/s", f"{SPEED} m/s", f"{SPEED} m/s", f"{TURN} rad/s", f"{PART} m/s"),
    frame="world",
    rate=FPS,
    mode="delta",
    low=(-1.0,) * 5,
    high=(1.0,) * 5,
    mean=(0.0,) * 5,
    std=(1.0,) * 5,
)
# As single precision has them, so that a recorded action at a bound lies within it.
_LOW = tuple(float(np.float32(v)) for v in (*gripper_arm.LOW, 0.0))
_HIGH = tuple(float(np.float32(v)) for v in (*gripper_arm.HIGH, gripper_arm.OPEN))
JOINTS = ActionSpec(
    names=(*gripper_arm.JOINTS, "gap"),
    units=("rad",) * 6 + ("m",),
    frame="base",
    rate=FPS,
    mode="absolute",
    low=_LOW,
    high=_HIGH,
    mean=tuple((a + b) / 2 for a, b in zip(_LOW, _HIGH)),
    std=tuple((b - a) / 4 for a, b in zip(_LOW, _HIGH)),
)
