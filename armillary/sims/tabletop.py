"""A tray, three objects, and an arm that pushes them: the exact twin of the small worlds this package trains.

Action: the velocity of the tip in the tray's plane, two numbers in [-1, 1] (x to the right, y away from the viewer), where 1 is
0.28 m/s, that is 2.8 cm in the 0.1 s between frames. The task is one sentence: push a named object to one of the four edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from armillary.errors import BadInput, require
from armillary.sims import language, optics, scene
from armillary.sims.base import Policy, SceneObject
from armillary.sims.facts import shown
from armillary.sims.light import Light
from armillary.sims.pictures import Pictured
from armillary.sims.policies import POLICIES
from armillary.sims.raycast import Raycaster
from armillary.sims.words.facts import Facts
from armillary.sims.words.tell import tell
from armillary.types import ActionSpec

SPEED = 0.28  # m/s of a full command
TICKS, SUBSTEPS = 5, 5  # control ticks a frame, physics steps a tick: 25 x 4 ms = 0.1 s
LEAD = 0.012  # metres that the commanded tip may run ahead of a blocked one
MOST = 3  # objects in a scene
GOAL = 0.09  # metres from the rim to the object's centre that count as arrived

SPEC = ActionSpec(
    names=("ee_vx", "ee_vy"),
    units=(f"{SPEED} m/s", f"{SPEED} m/s"),
    frame="world",
    rate=10.0,
    mode="delta",
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    mean=(0.0, 0.0),
    std=(1.0, 1.0),
)


class Tabletop(Pictured):
    """See the module. A `Sim`; call `reset` before anything else.

    Args:
        renderer: `ray` needs nothing; `gl` draws with OpenGL where it is installed (its pixels differ from `ray`'s).
        smooth: soften outlines and shadow edges (`ray` only).
        fewest: objects in the emptiest scene; below 3 each scene has that many to 3 of them, so that how many is something to be told.
        twin: one object more, of a colour that is there already and in half of the scenes of its shape too: how worlds miscount. Words
            then do not tell the two apart.
    """

    name = "tabletop"
    spec = SPEC
    fps = SPEC.rate
    cameras: tuple[str, ...] = scene.CAMERAS
    state_names: tuple[str, ...] = ("tip_x", "tip_y", "yaw", "shoulder", "elbow", "wrist")
    policies: Mapping[str, Policy] = POLICIES

    def __init__(
        self, renderer: Literal["ray", "gl"] = "ray", smooth: bool = True, fewest: int = MOST, twin: bool = False
    ) -> None:
        if renderer not in ("ray", "gl"):
            raise BadInput(f"A tabletop draws with renderer='ray' or 'gl'; got {renderer!r}.")
        if not 1 <= fewest <= MOST:
            raise BadInput(f"A tabletop holds 1 to {MOST} objects; got fewest={fewest}.")
        self.fewest, self.twin = fewest, twin
        if fewest < MOST:
            self.name = "tabletop-few"
        self.mj = require("mujoco", "simulating")
        self.renderer, self.smooth = renderer, smooth
        self.objects: tuple[SceneObject, ...] = ()
        self.memory: dict[str, Any] = {}
        self.steps = 0

    # The episode ------------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> None:
        """Draw objects, places, task, lamp and table from `seed` and put the arm at rest over a free spot."""
        rng = np.random.default_rng([0x7AB1E, int(seed)])
        # Drawn apart, so that scenes of three are the same whether fewer are possible or not.
        count = MOST if self.fewest == MOST else int(np.random.default_rng([0xFE3, int(seed)]).integers(self.fewest, MOST + 1))
        self.objects = _objects(rng, count)
        if self.twin:
            self.objects += (_twin(seed, self.objects),)
            count += 1
        poses = _places(rng, count + 1)
        poses = np.concatenate([poses, rng.uniform(-np.pi, np.pi, (count + 1, 1))], 1)
        self.table = str(rng.choice(list(scene.TABLES)))
        colour, look = scene.TABLES[self.table]
        shift = rng.uniform(-0.03, 0.03, 3)
        x, y, z = rng.uniform((-0.75, -0.55, 1.3), (0.45, 0.25, 1.7))
        self.light = Light(position=(float(x), float(y), float(z)), strength=float(rng.uniform(0.8, 0.98)))
        table = (float(colour[0] + shift[0]), float(colour[1] + shift[1]), float(colour[2] + shift[2]))
        xml = scene.build(self.objects, table, 0.74 + 0.02 * rng.uniform(-1, 1, 3), self.light, poses)
        self.model = self.mj.MjModel.from_xml_string(xml)
        self.data = self.mj.MjData(self.model)
        self.data.qpos[:4] = self.data.ctrl[:] = scene.joints(*poses[-1, :2])
        self.tip_site = self.model.site("tip").id
        bodies = [self.model.body(f"object{k}").id for k in range(len(self.objects))]
        self.bodies = np.array(bodies)
        # Geom -> object, -1 for none; the last entry answers for geom -1.
        owner = np.full(self.model.ngeom + 1, -1)
        for k, body in enumerate(bodies):
            owner[:-1][self.model.geom_bodyid == body] = k
        self.owner = owner
        self.is_arm = np.isin(np.arange(self.model.ngeom), [self.model.geom("tip").id, self.model.geom("rod").id])
        for _ in range(10):  # let the objects settle
            self.mj.mj_step(self.model, self.data)
        self.mj.mj_forward(self.model, self.data)
        self.rays = Raycaster(self.model, self.data, scene.materials(look), self.light, self.smooth)
        self.gl: Any = None
        self.target = self.tip[:2].copy()
        self.begin = self.places.copy()
        self.goal = self._task(rng)
        self.touched = np.zeros(len(self.objects), bool)
        self.handled = self.touched.copy()  # ever touched by the arm
        self.shoved: dict[int, int] = {}  # object -> what it was touched by when it first began to move
        self.travelled, self.steps = 0.0, 0
        self.seed, self.memory = int(seed), {}

    def _task(self, rng: np.random.Generator) -> tuple[int, str]:
        """An object and a side worth pushing it to: 8 to 24 cm to go, with nothing in the way if that can be had."""
        options = [
            (k, side) for k in range(len(self.objects)) for side in language.SIDES if 0.08 <= self.left_over(k, side) <= 0.24
        ]
        if not options:  # all near a rim and far from the others: then the push nearest to that range
            pairs = [(k, side) for k in range(len(self.objects)) for side in language.SIDES]
            options = [min(pairs, key=lambda o: abs(self.left_over(*o) - 0.16))]
        options = [o for o in options if not self.obstructed(*o)] or options
        return options[int(rng.integers(len(options)))]

    def obstructed(self, k: int, side: str) -> bool:
        """Whether another object lies in the lane from object `k` to `side`."""
        towards = np.array(language.SIDES[side])
        offset = self.places - self.places[k]
        ahead, across = offset @ towards, np.abs(offset @ towards[::-1])
        return bool(((ahead > 0.03) & (across < 0.1)).any())

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Move for 0.1 s. A command beyond [-1, 1] is clipped.

        Returns:
            how many metres nearer the named object came to its goal, and whether it is there.

        Raises:
            BadInput: for an action that is not two finite numbers.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise BadInput(f"The tabletop takes 2 finite numbers ({', '.join(SPEC.names)}); got {action!r}.")
        velocity = SPEED * np.clip(action, -1.0, 1.0)
        before, was, stood = self.left_over(*self.goal), self.tip[:2].copy(), self.places.copy()
        self.touched = np.zeros(len(self.objects), bool)
        reach, lead = np.array(scene.REACH), scene.DAMPING / scene.GAIN
        tick = 1.0 / (self.fps * TICKS)
        for _ in range(TICKS):
            ahead = self.target - self.tip[:2]
            far = float(np.sqrt(ahead @ ahead))
            if far > LEAD:
                self.target = self.tip[:2] + ahead * (LEAD / far)
            goal = np.clip(self.target + velocity * tick, -reach, reach)
            moving = (goal - self.target) / tick
            self.target = goal
            self.data.ctrl[:] = scene.joints(*(goal + moving * lead))
            self.mj.mj_step(self.model, self.data, SUBSTEPS)
            self._note_contacts()
        self.mj.mj_forward(self.model, self.data)
        self.steps += 1
        self._note_shoves(stood)
        now = self.left_over(*self.goal)
        self.travelled += float(np.hypot(*(self.tip[:2] - was)))
        return before - now, now <= 0.0

    def _note_contacts(self) -> None:
        pairs = self.data.contact.geom
        if len(pairs):
            a, b = pairs[:, 0], pairs[:, 1]
            for arm, thing in ((a, b), (b, a)):
                hit = self.owner[thing[self.is_arm[arm]]]
                self.touched[hit[hit >= 0]] = True

    def _note_shoves(self, stood: np.ndarray) -> None:
        """Whom the arm has touched, and who has set whom in motion, given the places `k 2` of a frame ago."""
        self.handled |= self.touched
        moved = np.hypot(*(self.places - stood).T)
        pairs = self.owner[self.data.contact.geom].reshape(-1, 2)
        for a, b in (*pairs, *pairs[:, ::-1]):
            if a >= 0 and b >= 0 and a != b and not self.handled[b] and moved[b] > 1e-3 and moved[a] > 1e-3:
                self.shoved.setdefault(int(b), int(a))

    # What is so -------------------------------------------------------------------------------------------------------------------

    @property
    def tip(self) -> np.ndarray:
        """The tip's middle, float64 `3`, metres."""
        return self.data.site_xpos[self.tip_site]

    @property
    def places(self) -> np.ndarray:
        """The objects' centres in the tray, float64 `k 2`, metres."""
        return self.data.xpos[self.bodies, :2]

    def pose(self, k: int) -> tuple[np.ndarray, float]:
        """Object `k`'s centre in the tray (`2`, metres) and its angle about the vertical (radians)."""
        w, _, _, z = self.data.xquat[self.bodies[k]]
        return self.data.xpos[self.bodies[k], :2].copy(), float(2.0 * np.arctan2(z, w))

    def left_over(self, k: int, side: str) -> float:
        """Metres that object `k` still has to go to the zone at `side`; zero or less inside it."""
        towards = language.SIDES[side]
        edge = scene.TRAY[0] if towards[0] else scene.TRAY[1]
        return edge - GOAL - float(np.dot(self.places[k], towards))

    @property
    def instruction(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        return language.instructions(self.objects[self.goal[0]], self.goal[1])

    @property
    def facts(self) -> Facts:
        """What has been so since the reset; the camera is left open."""
        shoved = {k: by for k, by in self.shoved.items() if not self.handled[k]}
        x = self.light.position[0]
        light = "left" if x < -0.3 else "right" if x > 0.2 else "above"
        return language.facts(self.table, self.objects, self.begin, self.places, self.travelled, shoved, light)

    @property
    def caption(self) -> str:
        return tell(self.facts, "long", self.seed)

    def state(self) -> np.ndarray:
        return np.concatenate([self.tip[:2], self.data.qpos[:4]]).astype(np.float32)

    def truth(self, camera: str = "front", size: int = 64) -> dict[str, np.ndarray]:
        """See `Sim.truth`."""
        view = self.camera(camera, size)
        pose = np.concatenate([self.data.xpos[self.bodies], self.data.xquat[self.bodies]], 1)
        return {
            **shown(self.rays, view, self.owner, pose),
            "contact": self.touched.copy(),
            "tip": self.tip.copy(),
            "tip_px": optics.project(view, self.tip).astype(np.float32),
        }


def _objects(rng: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    """Objects of different colours and shapes, colours and sizes slightly varied."""
    shapes, colours = rng.permutation(list(scene.SHAPES))[:count], rng.permutation(list(scene.COLOURS))[:count]
    out = []
    for shape, colour in zip(shapes, colours):
        size = np.array(scene.SHAPES[shape]) * rng.uniform(0.97, 1.06)
        rgb = np.clip(np.array(scene.COLOURS[colour]) + rng.uniform(-0.03, 0.03, 3), 0.0, 1.0)
        out.append(SceneObject(str(shape), str(colour), tuple(rgb.tolist()), tuple(size.tolist())))
    return tuple(out)


def _twin(seed: int, objects: tuple[SceneObject, ...]) -> SceneObject:
    """Another of one of `objects`, or at least of its colour."""
    rng = np.random.default_rng([0x2717, int(seed)])
    like = objects[int(rng.integers(len(objects)))]
    shape = like.shape if rng.random() < 0.5 else str(rng.choice(list(scene.SHAPES)))
    size = np.array(scene.SHAPES[shape]) * rng.uniform(0.97, 1.06)
    return SceneObject(shape, like.colour, like.rgb, tuple(size.tolist()))


def _places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Spots in the tray, `count 2`: all but the last at least 14 cm apart with room behind them, the last (the tip's) clear of them."""
    while True:
        spots = rng.uniform(-1.0, 1.0, (count, 2)) * (0.165, 0.135)
        spots[-1] = rng.uniform(-1.0, 1.0, 2) * (0.23, 0.20)
        apart = np.sqrt(((spots[:, None] - spots[None]) ** 2).sum(-1)) + np.eye(count)
        if apart[:-1, :-1].min() >= 0.14 and apart[-1].min() >= 0.095:
            return spots
