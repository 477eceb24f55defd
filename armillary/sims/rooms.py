"""Furnished rooms that stand still, and a camera that walks through them: exact poses, intrinsics and depth.

Action: three numbers in [-1, 1]: forward (1.2 m/s), to the right (1.2 m/s), turn to the right (1 rad/s). The camera keeps its height and
its pitch, and stops at what is in its way. Nothing else moves, so everything a picture shows is geometry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.errors import BadInput, require
from armillary.sims import optics
from armillary.sims.base import Policy, SceneObject
from armillary.sims.experiments import COLOURS
from armillary.sims.light import Light, Material
from armillary.sims.mjcf import text
from armillary.sims.pictures import Pictured
from armillary.sims.raycast import Raycaster
from armillary.sims.words.facts import Fact, Facts, Thing
from armillary.sims.words.tell import tell
from armillary.types import ActionSpec, Camera

SPEED, TURN = 1.2, 1.0  # of a full command: metres and radians a second
FPS = 10.0
ROOM = 0.32  # metres the camera keeps from things
HALF_WIDTH = 0.5 * np.deg2rad(75.0)  # of the field of view
CAMERAS = ("eye", "back")

SPEC = ActionSpec(
    names=("forward", "right", "turn_right"),
    units=(f"{SPEED} m/s", f"{SPEED} m/s", f"{TURN} rad/s"),
    frame="camera",
    rate=FPS,
    mode="delta",
    low=(-1.0, -1.0, -1.0),
    high=(1.0, 1.0, 1.0),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
SURFACES = ("brick", "stripes", "dots", "marble", "wood", "checker", "speckle")


class Rooms(Pictured):
    """See the module. A `Sim`; call `reset` before anything else.

    `place` float64 `2` and `yaw` (radians, 0 looks along +y, growing to the right) are where the camera is.

    Args:
        smooth: soften outlines and shadow edges.
    """

    name = "rooms"
    spec = SPEC
    fps = FPS
    cameras: tuple[str, ...] = CAMERAS
    state_names: tuple[str, ...] = ("x", "y", "z", "yaw", "pitch")
    policies: Mapping[str, Policy]

    def __init__(self, smooth: bool = True) -> None:
        self.mj = require("mujoco", "simulating")
        self.smooth = smooth
        self.policies = POLICIES
        self.objects: tuple[SceneObject, ...] = ()
        self.memory: dict[str, Any] = {}
        self.steps = 0

    def reset(self, seed: int) -> None:
        """Draw room, furniture, surfaces, light and the camera's stand from `seed`."""
        rng = np.random.default_rng([0x400A5, int(seed)])
        self.extent = rng.uniform((2.2, 2.2), (3.4, 3.6))  # half sides
        self.high = float(rng.uniform(2.3, 2.8))
        self.objects, self.blocks, geoms, looks = _furnish(rng, self.extent)
        walls, more = _shell(rng, self.extent, self.high)
        self.model = self.mj.MjModel.from_xml_string(
            f'<mujoco model="rooms"><compiler angle="degree"/><worldbody>{walls}{geoms}</worldbody></mujoco>'
        )
        self.data = self.mj.MjData(self.model)
        self.mj.mj_forward(self.model, self.data)
        lamp = rng.uniform(-0.4, 0.4, 2) * self.extent
        light = Light(
            position=(float(lamp[0]), float(lamp[1]), self.high - 0.15),
            strength=float(rng.uniform(0.55, 0.85)),
            radius=0.08,
            colour=(1.0, float(rng.uniform(0.9, 1.0)), float(rng.uniform(0.78, 1.0))),
            sky=(0.36, 0.37, 0.40),
            ground=(0.24, 0.23, 0.22),
        )
        self.rays = Raycaster(self.model, self.data, {**looks, **more}, light, self.smooth)
        self.owner = np.full(self.model.ngeom + 1, -1)  # geom -> object; the last entry answers for geom -1
        for i in range(self.model.ngeom):
            name = self.model.geom(i).name
            if name.startswith("object"):
                self.owner[i] = int(name[6:].split("_")[0])
        self.centres = np.array([[*self.blocks[k, :2], thing.size[2]] for k, thing in enumerate(self.objects)])
        self.height, self.pitch = float(rng.uniform(1.0, 1.5)), float(rng.uniform(-0.12, 0.04))
        free = [p for p in rng.uniform(-1, 1, (400, 2)) * (self.extent - 0.5) if self.clear(p)]
        self.place = np.array(free[0] if free else (0.0, 0.0))
        options = rng.uniform(-np.pi, np.pi, 12)
        self.yaw = float(max(options, key=self.ahead))  # not with the nose at a wall
        self.begin, self.faced, self.walked, self.turned = self.place.copy(), self.yaw, 0.0, 0.0
        self.seen: set[int] = set()
        self.seed, self.steps, self.memory = int(seed), 0, {}

    def clear(self, place: np.ndarray, room: float = ROOM) -> bool:
        """Whether the camera may stand there: within the walls, `room` metres from all furniture."""
        if (np.abs(place) > self.extent - room).any():
            return False
        off = np.abs(place - self.blocks[:, :2]) - self.blocks[:, 2:4]
        return bool((np.hypot(*np.maximum(off, 0.0).T) > room).all()) if len(off) else True

    def ahead(self, yaw: float, most: float = 3.0) -> float:
        """Metres of clear way from here in a direction, up to `most`."""
        step = np.array([np.sin(yaw), np.cos(yaw)])
        for d in np.arange(0.15, most, 0.15):
            if not self.clear(self.place + d * step):
                return float(d - 0.15)
        return most

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Move for 0.1 s; a way that is blocked is taken as far as it goes, along the obstacle where that is possible.

        Raises:
            BadInput: for an action that is not three finite numbers.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (3,) or not np.isfinite(action).all():
            raise BadInput(f"Rooms take 3 finite numbers ({', '.join(SPEC.names)}); got {action!r}.")
        forward, right, turn = np.clip(action, -1.0, 1.0)
        ticks = 4
        was = self.place.copy()
        for _ in range(ticks):
            self.yaw = float((self.yaw + turn * TURN / FPS / ticks + np.pi) % (2 * np.pi) - np.pi)
            ahead = np.array([np.sin(self.yaw), np.cos(self.yaw)])
            move = (forward * ahead + right * np.array([ahead[1], -ahead[0]])) * SPEED / FPS / ticks
            for part in (move, move * (1, 0), move * (0, 1)):
                if self.clear(self.place + part):
                    self.place = self.place + part
                    break
        self.walked += float(np.hypot(*(self.place - was)))
        self.turned += float(turn) * TURN / FPS
        self.steps += 1
        return 0.0, False

    # What is so -------------------------------------------------------------------------------------------------------------------

    @property
    def instruction(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        return (
            "walk through the room",
            "look around the room while walking",
            "move through the furnished room",
            "take a camera through the room",
            "explore the room on foot",
        )

    @property
    def facts(self) -> Facts:
        """What has been so since the reset, for the camera that looks ahead."""
        things = [Thing(o.colour, o.shape) for o in self.objects]
        told = [Fact("there", thing) for thing in things]
        told.append(Fact("move", way="walk" if self.walked > 0.3 else "stand"))
        if abs(self.turned) > 0.4:
            told.append(Fact("turn", way="right" if self.turned > 0 else "left"))
        for kind, place, yaw in (("face", self.begin, self.faced), ("reach", self.place, self.yaw)):
            k = self._middle(place, yaw)
            if k >= 0 and (kind == "face" or self.steps):
                told.append(Fact(kind, whom=things[k]))
        return Facts("rooms", tuple(told))

    def _middle(self, place: np.ndarray, yaw: float, size: int = 24) -> int:
        """The thing that fills at least a fifth of the picture's middle third, -1 for none."""
        third = slice(size // 3, size - size // 3)
        seen = self.owner[self.rays.segment(self._view("eye", size, place, yaw))][third, third]
        counts = np.bincount(seen[seen >= 0], minlength=1)
        return int(counts.argmax()) if counts.max() >= 0.2 * seen.size else -1

    @property
    def caption(self) -> str:
        return tell(self.facts, "long", self.seed)

    def state(self) -> np.ndarray:
        return np.array([*self.place, self.height, self.yaw, self.pitch], np.float32)

    def truth(self, camera: str = "eye", size: int = 64) -> dict[str, np.ndarray]:
        """See `Sim.truth`; the tip is the camera. And `camera_pose` float64 `4 4`."""
        view = self.camera(camera, size)
        seen = self.owner[self.rays.segment(view)]
        count = len(self.objects)
        area = np.array([int((seen == k).sum()) for k in range(count)], np.int32)
        pose = np.concatenate([self.centres, np.tile([1.0, 0, 0, 0], (count, 1))], 1)
        eye = view.pose[:3, 3]
        return {
            "object_pose": pose,
            "object_px": optics.project(view, pose[:, :3]).astype(np.float32),
            "object_area": area,
            "object_full": area,  # what stands in front is part of the room
            "object_hidden": area == 0,
            "contact": np.zeros(count, bool),
            "tip": eye.copy(),
            "tip_px": np.full(2, size / 2, np.float32),
            "camera_pose": view.pose,
        }

    # What is seen -----------------------------------------------------------------------------------------------------------------

    def camera(self, name: str, size: int) -> Camera:
        """`eye` looks ahead, `back` behind."""
        if name not in CAMERAS:
            raise BadInput(f"There is no camera {name!r} here; there are {', '.join(CAMERAS)}.")
        if size < 1:
            raise BadInput(f"A picture needs at least 1 pixel a side; got size={size}.")
        return self._view(name, size, self.place, self.yaw + (np.pi if name == "back" else 0.0))

    def _view(self, name: str, size: int, place: np.ndarray, yaw: float) -> Camera:
        pose = pose_of((float(place[0]), float(place[1]), self.height), yaw, self.pitch)
        focal = 0.5 * size / np.tan(HALF_WIDTH)
        return Camera(name, size, size, np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]), pose)


def pose_of(eye: Sequence[float], yaw: float, pitch: float) -> np.ndarray:
    """Camera-to-world 4x4 (OpenCV: x right, y down, z forward) of a level camera at `eye`; pitch grows upwards."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, eye
    return pose


def _look(rng: np.random.Generator, low: float, high: float) -> Material:
    return Material(
        str(rng.choice(SURFACES)), float(rng.uniform(low, high)), float(rng.uniform(0.15, 0.4)), float(rng.uniform(0, 0.1))
    )


def _shell(rng: np.random.Generator, extent: np.ndarray, high: float) -> tuple[str, dict[str, Material]]:
    """Floor, ceiling, four walls of their own colours and patterns, and pictures on them."""
    x, y = extent
    xml, looks = "", {}
    pieces = {
        "floor": ((x, y, 0.05), (0, 0, -0.05)),
        "ceiling": ((x, y, 0.05), (0, 0, high + 0.05)),
        "wall0": ((x, 0.05, high / 2), (0, y + 0.05, high / 2)),
        "wall1": ((x, 0.05, high / 2), (0, -y - 0.05, high / 2)),
        "wall2": ((0.05, y, high / 2), (x + 0.05, 0, high / 2)),
        "wall3": ((0.05, y, high / 2), (-x - 0.05, 0, high / 2)),
    }
    for name, (half, at) in pieces.items():
        rgb = np.clip(rng.uniform(0.45, 0.85) + rng.uniform(-0.15, 0.15, 3), 0.1, 0.95)
        xml += f'<geom name="{name}" type="box" size="{text(half)}" pos="{text(at)}" rgba="{text(rgb)} 1"/>'
        looks[name] = _look(rng, 0.8, 2.2) if name != "ceiling" else Material("speckle", 1.5, 0.06, 0.0)
    for k in range(int(rng.integers(3, 7))):
        half, rise = rng.uniform(0.2, 0.45, 2), rng.uniform(1.2, 1.6)
        side, along = int(rng.integers(4)), rng.uniform(-0.7, 0.7)
        on_y = side < 2
        at = (along * x, (y - 0.01) * (1 - 2 * side), rise) if on_y else ((x - 0.01) * (5 - 2 * side), along * y, rise)
        size = (half[0], 0.012, half[1]) if on_y else (0.012, half[0], half[1])
        rgb = rng.uniform(0.1, 0.95, 3)
        xml += f'<geom name="picture{k}" type="box" size="{text(size)}" pos="{text(at)}" rgba="{text(rgb)} 1"/>'
        looks[f"picture{k}"] = Material(
            str(rng.choice(["dots", "stripes", "checker", "marble"])), float(rng.uniform(0.3, 0.8)), 0.5, 0.02
        )
    return xml, looks


def _furnish(
    rng: np.random.Generator, extent: np.ndarray
) -> tuple[tuple[SceneObject, ...], np.ndarray, str, dict[str, Material]]:
    """(things, their footprints `k 4`: centre and half sides, MJCF, looks): four to eight pieces that do not touch."""
    things: list[SceneObject] = []
    blocks: list[tuple[float, float, float, float]] = []
    xml, looks = "", {}
    colours = [str(c) for c in rng.permutation(list(COLOURS))]
    for _ in range(60):
        if len(things) >= int(4 + rng.integers(5)) or not colours:
            break
        kind = str(rng.choice(list(PIECES)))
        half, build = PIECES[kind](rng)
        at = rng.uniform(-1, 1, 2) * (extent - np.array(half[:2]) - 0.05)
        if rng.random() < 0.6:  # along a wall
            axis = int(rng.integers(2))
            at[axis] = float(rng.choice([-1.0, 1.0])) * (extent[axis] - half[axis] - 0.02)
        if any(abs(at[0] - b[0]) < half[0] + b[2] + 0.75 and abs(at[1] - b[1]) < half[1] + b[3] + 0.75 for b in blocks):
            continue
        k, colour = len(things), colours.pop()
        rgb = np.clip(np.array(COLOURS[colour]) + rng.uniform(-0.04, 0.04, 3), 0.03, 0.97)
        things.append(SceneObject(kind, colour, (float(rgb[0]), float(rgb[1]), float(rgb[2])), half))
        blocks.append((float(at[0]), float(at[1]), half[0], half[1]))
        for n, (shape, size, off) in enumerate(build):
            place = (at[0] + off[0], at[1] + off[1], off[2])
            xml += f'<geom name="object{k}_{n}" type="{shape}" size="{text(size)}" pos="{text(place)}" rgba="{text(rgb)} 1"/>'
            looks[f"object{k}_{n}"] = Material(
                str(rng.choice(SURFACES)),
                float(rng.uniform(0.4, 1.2)),
                float(rng.uniform(0.05, 0.3)),
                float(rng.uniform(0, 0.2)),
            )
    return tuple(things), np.array(blocks).reshape(-1, 4), xml, looks


Part = tuple[str, tuple[float, ...], tuple[float, float, float]]
Built = tuple[tuple[float, float, float], list[Part]]


def _table(rng: np.random.Generator) -> Built:
    x, y, z = (float(v) for v in rng.uniform((0.4, 0.3, 0.55), (0.7, 0.45, 0.8)))
    legs: list[Part] = [
        ("cylinder", (0.03, z / 2), (sx * (x - 0.05), sy * (y - 0.05), z / 2)) for sx in (-1, 1) for sy in (-1, 1)
    ]
    return (x, y, z / 2), [("box", (x, y, 0.025), (0, 0, z)), *legs]


def _shelf(rng: np.random.Generator) -> Built:
    x, y, z = (float(v) for v in rng.uniform((0.35, 0.16, 1.3), (0.6, 0.22, 1.9)))
    boards: list[Part] = [("box", (x, y, 0.015), (0, 0, h)) for h in np.linspace(0.05, z, 5).tolist()]
    return (x, y, z / 2), [*boards, ("box", (0.015, y, z / 2), (-x, 0, z / 2)), ("box", (0.015, y, z / 2), (x, 0, z / 2))]


def _crate(rng: np.random.Generator) -> Built:
    x, y, z = (float(v) for v in rng.uniform(0.2, 0.5, 3))
    return (x, y, z), [("box", (x, y, z), (0, 0, z))]


def _pillar(rng: np.random.Generator) -> Built:
    r, z = float(rng.uniform(0.12, 0.22)), float(rng.uniform(0.7, 1.1))
    return (r, r, z), [("cylinder", (r, z), (0, 0, z))]


def _globe(rng: np.random.Generator) -> Built:
    r = float(rng.uniform(0.18, 0.32))
    return (r, r, r + 0.2), [("sphere", (r,), (0, 0, r + 0.4)), ("cylinder", (0.06, 0.2), (0, 0, 0.2))]


def _sofa(rng: np.random.Generator) -> Built:
    x, y = float(rng.uniform(0.6, 0.9)), 0.38
    arms: list[Part] = [("box", (0.09, y, 0.3), (s * (x - 0.09), 0, 0.3)) for s in (-1, 1)]
    return (x, y, 0.4), [("box", (x, y, 0.21), (0, 0, 0.21)), ("box", (x, 0.1, 0.4), (0, y - 0.1, 0.4)), *arms]


PIECES = {"table": _table, "shelf": _shelf, "crate": _crate, "pillar": _pillar, "globe": _globe, "sofa": _sofa}


# Ways to walk ---------------------------------------------------------------------------------------------------------------------


def wander(sim: Rooms, rng: np.random.Generator) -> np.ndarray:
    """A smooth walk with turns, faster where the way is clear. float32 `3`."""
    memory = sim.memory.setdefault("wander", {"turn": 0.0, "wish": 0.0, "left": 0, "pace": 0.5, "drift": 0.0})
    if memory["left"] <= 0:
        memory.update(wish=float(rng.uniform(-0.7, 0.7)), left=int(rng.integers(5, 14)), pace=float(rng.uniform(0.35, 0.9)))
        memory["drift"] = float(rng.uniform(-0.3, 0.3)) if rng.random() < 0.3 else 0.0
    memory["left"] -= 1
    clear = sim.ahead(sim.yaw, 1.8)
    wish = memory["wish"]
    if clear < 0.9:  # towards the side with more room
        wish = 0.95 if sim.ahead(sim.yaw + 0.9, 1.8) >= sim.ahead(sim.yaw - 0.9, 1.8) else -0.95
        memory["wish"], memory["left"] = wish, 3
    memory["turn"] += 0.35 * (wish - memory["turn"])
    pace = memory["pace"] * min(1.0, max(0.0, (clear - 0.1) / 0.9))
    return np.clip([pace, memory["drift"], memory["turn"]], -1, 1).astype(np.float32)


STICKS = {"forward": (0.8, 0, 0), "back": (-0.8, 0, 0), "turn left": (0, 0, -0.7), "turn right": (0, 0, 0.7)}


def joystick(sim: Rooms, rng: np.random.Generator) -> np.ndarray:
    """Stretches of one of the four commands a player has, 6 to 14 frames each. float32 `3`."""
    memory = sim.memory.setdefault("joystick", {"left": 0, "stick": ""})
    if memory["left"] <= 0:
        options = [s for s in STICKS if s != memory["stick"]]
        memory.update(left=int(rng.integers(6, 15)), stick=options[int(rng.integers(len(options)))])
    memory["left"] -= 1
    return np.array(STICKS[memory["stick"]], np.float32)


POLICIES: dict[str, Policy] = {"wander": wander, "joystick": joystick}
