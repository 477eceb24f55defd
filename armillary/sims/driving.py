"""A car in traffic, seen by six cameras at once: streets, weather and light, other cars, and the exact way it took.

Action: two numbers in [-1, 1]: the steering angle (1 is 0.45 rad to the left) and the acceleration (1 is 3 m/s², -1 brakes with 6). The
car is a kinematic bicycle; others keep to their lanes and their distances. World axes: x along the street at its beginning, y to the left,
z up, metres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.errors import BadInput, require
from armillary.sims import optics, street
from armillary.sims.base import Policy, SceneObject
from armillary.sims.facts import shown
from armillary.sims.pictures import Pictured
from armillary.sims.raycast import Raycaster
from armillary.sims.words.facts import Fact, Facts, Thing
from armillary.sims.words.tell import tell
from armillary.types import ActionSpec, Camera

FPS, TICKS = 10.0, 5
STEER, ACCEL, BRAKE = 0.45, 3.0, 6.0  # radians, m/s2 of a full command
WHEELBASE = 2.7
HORIZON = 64  # points of a trajectory, one every 0.1 s
# Camera -> (bearing from straight ahead, to the right, in degrees; half the field of view; mount: ahead, right, up in metres).
MOUNTS: dict[str, tuple[float, float, tuple[float, float, float]]] = {
    "front": (0.0, 32.0, (0.6, 0.0, 1.45)),
    "left": (-60.0, 35.0, (0.4, -0.6, 1.45)),
    "right": (60.0, 35.0, (0.4, 0.6, 1.45)),
    "rear": (180.0, 38.0, (-1.2, 0.0, 1.45)),
    "rear_left": (-120.0, 35.0, (-0.6, -0.6, 1.45)),
    "rear_right": (120.0, 35.0, (-0.6, 0.6, 1.45)),
}

SPEC = ActionSpec(
    names=("steer_left", "accelerate"),
    units=(f"{STEER} rad", f"{ACCEL} m/s2"),
    frame="ego",
    rate=FPS,
    mode="absolute",
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    mean=(0.0, 0.0),
    std=(1.0, 1.0),
)


class Driving(Pictured):
    """See the module. A `Sim`; call `reset` before anything else.

    `ego` float64 `3` is where the car's rear axle is (x, y) and its heading (radians, 0 along +x, growing to the left); `speed` in m/s.

    Args:
        smooth: soften outlines and shadow edges.
    """

    name = "driving"
    spec = SPEC
    fps = FPS
    cameras: tuple[str, ...] = tuple(MOUNTS)
    state_names: tuple[str, ...] = ("x", "y", "heading", "speed", "steer")
    policies: Mapping[str, Policy]

    def __init__(self, smooth: bool = True) -> None:
        self.mj = require("mujoco", "simulating")
        self.smooth, self.policies = smooth, POLICIES
        self.objects: tuple[SceneObject, ...] = ()
        self.memory: dict[str, Any] = {}
        self.steps = 0

    def reset(self, seed: int) -> None:
        """Draw the street, weather, traffic and the car's place in it from `seed`."""
        rng = np.random.default_rng([0xD217E, int(seed)])
        self.street = street.draw(rng)
        self.objects = tuple(self.street.cars)
        self.model = self.mj.MjModel.from_xml_string(self.street.xml)
        self.data = self.mj.MjData(self.model)
        bodies = [self.model.body(f"car{k}").id for k in range(len(self.objects))]
        self.bodies = np.array(bodies, int)
        self.owner = np.full(self.model.ngeom + 1, -1)  # geom -> car; the last entry answers for geom -1
        for k, body in enumerate(bodies):
            self.owner[:-1][self.model.geom_bodyid == body] = k
        self.lane = -1  # the right-hand side is driven on
        self.along = 30.0  # metres of the street behind the car
        self.speed = float(rng.uniform(6.0, 13.0))
        self.wish = self.speed
        x, y, heading = self.street.place(self.along, self.lane * street.LANE / 2)
        self.ego, self.steer = np.array([x, y, heading]), 0.0
        self.traffic = street.traffic(rng, len(self.objects), self.along)
        self._set()
        self.rays = Raycaster(self.model, self.data, self.street.looks, self.street.light, self.smooth)
        self.begin, self.driven, self.turned = self.ego.copy(), 0.0, 0.0
        self.start_speed = self.speed
        self.hit = np.zeros(len(self.objects), bool)
        self.seed, self.steps, self.memory = int(seed), 0, {}

    def _set(self) -> None:
        """Put every car where the traffic has it."""
        for k, (s, side, _, _) in enumerate(self.traffic):
            x, y, heading = self.street.place(float(s), float(side) * street.LANE / 2)
            if side > 0:
                heading += np.pi
            self.data.qpos[7 * k : 7 * k + 7] = (x, y, 0.0, np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2))
        self.mj.mj_forward(self.model, self.data)

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Drive for 0.1 s. The reward is metres along the street, minus 5 for touching a car or leaving the road; nothing ends the drive.

        Raises:
            BadInput: for an action that is not two finite numbers.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise BadInput(f"Driving takes 2 finite numbers ({', '.join(SPEC.names)}); got {action!r}.")
        steer, push = np.clip(action, -1.0, 1.0)
        before, dt = self.along, 1.0 / FPS / TICKS
        for _ in range(TICKS):
            # A wheel turns by no more than 0.8 rad a second.
            self.steer += float(np.clip(steer * STEER - self.steer, -0.8 * dt, 0.8 * dt))
            self.speed = max(0.0, self.speed + float(push) * (ACCEL if push > 0 else BRAKE) * dt)
            turn = self.speed * np.tan(self.steer) / WHEELBASE * dt
            middle = self.ego[2] + turn / 2
            self.ego = self.ego + np.array([np.cos(middle) * self.speed * dt, np.sin(middle) * self.speed * dt, turn])
            self.driven += self.speed * dt
            self.turned += turn
            self.traffic = street.advance(self.traffic, dt, (self.along, self.offset(), self.speed))
        self.along = self.street.nearest(self.ego[:2], self.along)
        self._set()
        self.steps += 1
        self.hit = self._touching()
        off = abs(self.offset()) > street.WIDTH / 2
        return float(self.along - before) - 5.0 * float(self.hit.any() or off), False

    def offset(self) -> float:
        """Metres to the left of the street's middle."""
        x, y, heading = self.street.place(self.along, 0.0)
        return float(-np.sin(heading) * (self.ego[0] - x) + np.cos(heading) * (self.ego[1] - y))

    def _touching(self) -> np.ndarray:
        """Which cars the ego car's outline overlaps, by discs along both: bool `k`."""
        mine = self.ego[:2] + np.array([[np.cos(self.ego[2]), np.sin(self.ego[2])]]) * np.array([[0.0], [1.4], [2.8]])
        out = []
        for k in range(len(self.objects)):
            at, turn = self.data.xpos[self.bodies[k]][:2], self.data.xmat[self.bodies[k]].reshape(3, 3)[:2, 0]
            theirs = at + turn * np.array([[-1.4], [0.0], [1.4]])
            out.append(bool((np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1)) < 1.7).any()))
        return np.array(out, bool)

    # What is so -------------------------------------------------------------------------------------------------------------------

    @property
    def instruction(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        return (
            "drive along the street",
            "follow the road in your lane",
            "keep to the lane and go with the traffic",
            "drive on and keep your distance",
            "go down the road without leaving the lane",
        )

    @property
    def facts(self) -> Facts:
        """What the drive is, all views together: the cars are those within 40 m."""
        near = [k for k in range(len(self.objects)) if np.hypot(*(self.data.xpos[self.bodies[k]][:2] - self.ego[:2])) < 40.0]
        told = self._drive(near, "near")
        if abs(self.offset() - self.lane * street.LANE / 2) < street.LANE / 2:
            told += self._traffic(near)
        return Facts("driving", tuple(told))

    def _drive(self, cars: Sequence[int], where: str) -> list[Fact]:
        """The facts that every view shares, and the cars that `where` (near, view) has."""
        told = [Fact("there", Thing(self.objects[k].colour, self.objects[k].shape)) for k in cars]
        told += [] if cars else [Fact("empty", way=where)]
        told.append(Fact("move", way="halt" if self.driven < 0.5 else "drive"))
        if abs(self.turned) > 0.15:
            told.append(Fact("bend", way="left" if self.turned > 0 else "right"))
        change = self.speed - self.start_speed
        if abs(change) > 1.5:
            told.append(Fact("pace", way="faster" if change > 0 else "slower"))
        said = self.street.said
        told.append(Fact("street", way=next(k for k, (name, _) in street.SIDES_OF_ROAD.items() if said.startswith(name))))
        told.append(Fact("weather", way=next(k for k, row in street.WEATHER.items() if said.endswith(row[0]))))
        return told

    def _traffic(self, near: Sequence[int]) -> list[Fact]:
        """The next car before us in our lane, the next that comes towards us, the next behind us."""
        told = []
        for kind, side, sign in (("ahead", -1.0, 1.0), ("oncoming", 1.0, 1.0), ("following", -1.0, -1.0)):
            gaps = {k: sign * (self.traffic[k, 0] - self.along) for k in near if self.traffic[k, 1] == side}
            gaps = {k: gap for k, gap in gaps.items() if gap > 3.0}
            if gaps:
                thing = self.objects[min(gaps, key=lambda k: gaps[k])]
                told.append(Fact(kind, Thing(thing.colour, thing.shape)))
        return told

    @property
    def caption(self) -> str:
        return tell(self.facts, "long", self.seed)

    @property
    def captions(self) -> dict[str, str]:
        """Camera -> what that view shows now: the cars that take half a percent of it at least."""
        out = {}
        for i, name in enumerate(self.cameras):
            owners = self.owner[self.rays.segment(self.camera(name, 48))]
            cars = [k for k in range(len(self.objects)) if (owners == k).sum() >= 12]
            told = (*self._drive(cars, "view"), Fact("camera", way=name))
            out[name] = tell(Facts("driving", told), "long", (self.seed, i))
        return out

    def state(self) -> np.ndarray:
        return np.array([*self.ego, self.speed, self.steer], np.float32)

    def truth(self, camera: str = "front", size: int = 64) -> dict[str, np.ndarray]:
        """See `Sim.truth`; the tip is the rear axle. And `ego` float64 `4`: x, y, heading, speed, and `camera_pose` float64 `4 4`."""
        view = self.camera(camera, size)
        pose = np.concatenate([self.data.xpos[self.bodies], self.data.xquat[self.bodies]], 1)
        tip = np.array([self.ego[0], self.ego[1], 0.3])
        return {
            **shown(self.rays, view, self.owner, pose),
            "contact": self.hit.copy(),
            "tip": tip,
            "tip_px": optics.project(view, tip).astype(np.float32),
            "ego": np.array([*self.ego, self.speed]),
            "camera_pose": view.pose,
        }

    # What is seen -----------------------------------------------------------------------------------------------------------------

    def camera(self, name: str, size: int) -> Camera:
        if name not in MOUNTS:
            raise BadInput(f"There is no camera {name!r} here; there are {', '.join(MOUNTS)}.")
        if size < 1:
            raise BadInput(f"A picture needs at least 1 pixel a side; got size={size}.")
        bearing, half, (ahead, right, up) = MOUNTS[name]
        x, y, heading = self.ego
        c, s = np.cos(heading), np.sin(heading)
        eye = np.array([x + c * (ahead + WHEELBASE / 2) + s * right, y + s * (ahead + WHEELBASE / 2) - c * right, up])
        look = heading - np.deg2rad(bearing)
        forward = np.array([np.cos(look), np.sin(look), -0.04])
        forward /= np.linalg.norm(forward)
        side = np.array([np.sin(look), -np.cos(look), 0.0])
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = side, np.cross(forward, side), forward, eye
        focal = 0.5 * size / np.tan(np.deg2rad(half))
        return Camera(name, size, size, np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]), pose)


def trajectory(ego: np.ndarray, start: int, points: int = HORIZON) -> np.ndarray:
    """The way taken after frame `start`, as the car saw it there: float32 `points 3` (ahead, to the left, up), one every frame.

    Args:
        ego: `truth["ego"]` over time, `t 4`. Where the drive ends earlier, its last place is repeated.
    """
    x, y, heading = ego[start, :3]
    rows = ego[np.minimum(np.arange(start + 1, start + 1 + points), len(ego) - 1), :2] - (x, y)
    c, s = np.cos(heading), np.sin(heading)
    out = np.zeros((points, 3), np.float32)
    out[:, 0], out[:, 1] = rows @ (c, s), rows @ (-s, c)
    return out


# Ways to drive --------------------------------------------------------------------------------------------------------------------


def _follow(sim: Driving, aside: float, wish: float) -> np.ndarray:
    """The command that keeps the car `aside` metres left of the middle of the street, at `wish` m/s, behind whoever is ahead."""
    reach = 4.0 + 0.55 * sim.speed
    x, y, _ = sim.street.place(sim.along + reach, aside)
    dx, dy = x - sim.ego[0], y - sim.ego[1]
    c, s = np.cos(sim.ego[2]), np.sin(sim.ego[2])
    side = -s * dx + c * dy
    steer = np.arctan2(2.0 * WHEELBASE * side, dx * dx + dy * dy)
    gap = street.gap_ahead(sim.traffic, sim.along, np.sign(aside) or -1.0)
    safe = wish if gap is None else min(wish, max(0.0, (gap[0] - 6.0) / 1.6) + 0.3 * gap[1])
    push = 0.8 * (safe - sim.speed)
    return np.clip([steer / STEER, push / (ACCEL if push > 0 else BRAKE)], -1, 1).astype(np.float32)


def cruise(sim: Driving, rng: np.random.Generator) -> np.ndarray:
    """Keep the lane at changing speeds. float32 `2`."""
    memory = sim.memory.setdefault("cruise", {"left": 0, "wish": sim.wish, "aside": 0.0})
    if memory["left"] <= 0:
        memory.update(left=int(rng.integers(15, 40)), wish=float(rng.uniform(2.0, 15.0)), aside=float(rng.uniform(-0.4, 0.4)))
    memory["left"] -= 1
    return _follow(sim, sim.lane * street.LANE / 2 + memory["aside"], memory["wish"])


def swerve(sim: Driving, rng: np.random.Generator) -> np.ndarray:
    """Drive about the whole width of the street, for data on what steering does. float32 `2`."""
    memory = sim.memory.setdefault("swerve", {"left": 0, "wish": sim.wish, "aside": -1.0})
    if memory["left"] <= 0:
        memory.update(left=int(rng.integers(8, 22)), wish=float(rng.uniform(1.0, 14.0)), aside=float(rng.uniform(-3.2, 1.5)))
    memory["left"] -= 1
    command = _follow(sim, memory["aside"], memory["wish"])
    return np.clip(command + rng.normal(0.0, (0.05, 0.1)), -1, 1).astype(np.float32)


POLICIES: dict[str, Policy] = {"cruise": cruise, "swerve": swerve}
