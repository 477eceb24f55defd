"""Eight experiments whose outcome mechanics decides: things fall, slide, roll, stand, topple, knock each other over, and spin.

The paper's section 5.3.2 judges worlds on such scenes; these are the exact twins to judge against. There is nothing to steer: the one
number of an action is ignored. Measured beside the poses is what conservation laws speak of: velocities and energies.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from armillary.errors import BadInput, lookup, require
from armillary.sims import optics
from armillary.sims.base import Policy, SceneObject
from armillary.sims.experiments import EXPERIMENTS, Experiment
from armillary.sims.facts import shown
from armillary.sims.light import Light, Material
from armillary.sims.mjcf import look, text
from armillary.sims.pictures import Pictured
from armillary.sims.raycast import Raycaster
from armillary.sims.words.facts import Fact, Facts, Thing
from armillary.sims.words.tell import tell
from armillary.types import ActionSpec

FPS = 30.0
TIMESTEP = 1.0 / 1500.0
CAMERAS = ("front", "left", "right", "high")
# Where each camera stands, in units of the scene's reach: right, away, up of the scene's middle.
STANDS = {"front": (0.0, -2.45, 0.6), "left": (-1.8, -1.6, 0.75), "right": (1.8, -1.6, 0.75), "high": (0.3, -1.6, 2.0)}

SPEC = ActionSpec(
    names=("none",), units=("1",), frame="world", rate=FPS, mode="absolute", low=(0.0,), high=(0.0,), mean=(0.0,), std=(1.0,)
)


def watch(sim: Any, rng: np.random.Generator) -> np.ndarray:
    """The policy of a world in which there is nothing to do: float32 `1`, zero."""
    return np.zeros(1, np.float32)


class Physics(Pictured):
    """See the module. A `Sim`; call `reset` before anything else.

    Args:
        experiment: a name of `EXPERIMENTS`; empty: each seed draws one.
        smooth: soften outlines and shadow edges.
    """

    name = "physics"
    spec = SPEC
    fps = FPS
    cameras: tuple[str, ...] = CAMERAS
    state_names: tuple[str, ...] = ("seconds",)
    policies: Mapping[str, Policy] = {"watch": watch}

    def __init__(self, experiment: str = "", smooth: bool = True) -> None:
        if experiment:
            lookup(EXPERIMENTS, experiment, "experiment")
        self.mj = require("mujoco", "simulating")
        self.only, self.smooth = experiment, smooth
        self.objects: tuple[SceneObject, ...] = ()
        self.memory: dict[str, Any] = {}
        self.steps = 0

    def reset(self, seed: int) -> None:
        """Draw the experiment, its things, surfaces, light and cameras from `seed`."""
        rng = np.random.default_rng([0x9B1C5, int(seed)])
        kinds = list(EXPERIMENTS)
        drawn = kinds[int(rng.integers(len(kinds)))]
        self.experiment = self.only or drawn
        self.scene: Experiment = EXPERIMENTS[self.experiment](rng)
        self.objects = tuple(self.scene.things)
        self.surface, looks, light, xml = _world(self.scene, rng)
        self.model = self.mj.MjModel.from_xml_string(xml)
        self.data = self.mj.MjData(self.model)
        if self.scene.start is not None:
            self.scene.start(self.model, self.data)
        self.bodies = np.array([self.model.body(f"object{k}").id for k in range(len(self.objects))])
        self.owner = np.full(self.model.ngeom + 1, -1)  # the last entry answers for geom -1
        for k, body in enumerate(self.bodies):
            self.owner[:-1][self.model.geom_bodyid == body] = k
        self.mj.mj_forward(self.model, self.data)
        self.rays = Raycaster(self.model, self.data, looks, light, self.smooth)
        self.substeps = round(1.0 / (FPS * TIMESTEP))
        self.begin = self.data.xpos[self.bodies].copy()
        self.turned = self.data.xquat[self.bodies].copy()
        self.seed, self.steps, self.memory = int(seed), 0, {}

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Let 1/30 s pass. There is no task: the reward is 0 and nothing is ever solved.

        Raises:
            BadInput: for an action that is not one finite number.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (1,) or not np.isfinite(action).all():
            raise BadInput(f"Physics takes 1 finite number, which it ignores; got {action!r}.")
        self.mj.mj_step(self.model, self.data, self.substeps)
        self.mj.mj_forward(self.model, self.data)
        self.steps += 1
        return 0.0, False

    # What is so -------------------------------------------------------------------------------------------------------------------

    @property
    def instruction(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        """There is nothing to do but to see what happens; said in several ways."""
        what = self.experiment
        return (
            f"watch the {what} experiment",
            f"see what happens in the {what}",
            f"let the {what} run its course",
            f"do nothing and observe the {what}",
            f"film the {what} from beginning to end",
        )

    @property
    def facts(self) -> Facts:
        """What has been set up and what it comes to by the laws of mechanics; the camera is left open."""
        things = [Thing(o.colour, o.shape) for o in self.objects]
        told = [Fact("there", thing) for thing in things]
        if "stack" in self.experiment:
            told += [Fact("on", upper, lower) for lower, upper in pairwise(things)]
        if self.experiment == "dominoes":
            told.append(Fact("strike", things[-1], things[0]))
        if self.experiment == "seesaw":
            told.append(Fact("throw", things[2], things[1]))
        x = self.rays.light.position[0]
        light = "left" if x < -0.6 else "right" if x > 0.6 else "above"
        floor = next(name for name, (said, _, _) in FLOORS.items() if said == self.surface)
        told += [Fact("experiment", way=self.experiment), Fact("floor", way=floor), Fact("light", way=light)]
        return Facts("physics", tuple(told))

    @property
    def caption(self) -> str:
        return tell(self.facts, "long", self.seed)

    def state(self) -> np.ndarray:
        return np.array([self.steps / FPS], np.float32)

    def energy(self) -> np.ndarray:
        """Kinetic and potential energy of every object, joules, float64 `k 2`; the potential is zero on the floor."""
        out = np.zeros((len(self.bodies), 2))
        gravity = float(np.linalg.norm(self.model.opt.gravity))
        for k, body in enumerate(self.bodies):
            velocity = np.zeros(6)
            self.mj.mj_objectVelocity(self.model, self.data, self.mj.mjtObj.mjOBJ_BODY, body, velocity, 0)
            turn = self.data.ximat[body].reshape(3, 3)
            spin = turn.T @ velocity[:3]
            move = velocity[3:] + np.cross(velocity[:3], self.data.xipos[body] - self.data.xpos[body])
            mass = float(self.model.body_mass[body])
            out[k, 0] = 0.5 * mass * float(move @ move) + 0.5 * float(self.model.body_inertia[body] @ (spin * spin))
            out[k, 1] = mass * gravity * float(self.data.xipos[body][2])
        return out

    def truth(self, camera: str = "front", size: int = 64) -> dict[str, np.ndarray]:
        """See `Sim.truth`; and `object_velocity` float64 `k 6` (linear, angular, in the world) and `object_energy` float64 `k 2`."""
        view = self.camera(camera, size)
        count = len(self.objects)
        pose = np.concatenate([self.data.xpos[self.bodies], self.data.xquat[self.bodies]], 1)
        velocity = np.zeros((count, 6))
        for k, body in enumerate(self.bodies):
            both = np.zeros(6)
            self.mj.mj_objectVelocity(self.model, self.data, self.mj.mjtObj.mjOBJ_BODY, body, both, 0)
            velocity[k] = np.r_[both[3:], both[:3]]
        touched = np.zeros(count, bool)
        owners = self.owner[self.data.contact.geom].reshape(-1, 2)
        touched[owners[(owners >= 0) & (owners[:, ::-1] >= 0)]] = True
        middle = np.asarray(self.scene.middle, np.float64)
        return {
            **shown(self.rays, view, self.owner, pose),
            "contact": touched,
            "tip": middle,
            "tip_px": optics.project(view, middle).astype(np.float32),
            "object_velocity": velocity,
            "object_energy": self.energy(),
        }


# Floor -> how a caption says it, its colour and look.
FLOORS: dict[str, tuple[str, tuple[float, float, float], Material]] = {
    "wood": ("on a wooden floor", (0.58, 0.44, 0.31), Material("wood", scale=0.9, strength=0.25, gloss=0.06)),
    "tiles": ("on a tiled floor", (0.62, 0.62, 0.60), Material("checker", scale=1.6, strength=0.12, gloss=0.05)),
    "stone": ("on a stone floor", (0.50, 0.50, 0.52), Material("speckle", scale=1.1, strength=0.22, gloss=0.03)),
    "plain": ("on a plain floor", (0.68, 0.69, 0.71), Material("speckle", scale=0.5, strength=0.05, gloss=0.03)),
    "carpet": ("on a carpet", (0.42, 0.30, 0.34), Material("speckle", scale=0.35, strength=0.35, gloss=0.0)),
}
LOOKS = ("plain", "speckle", "wood", "checker")


def _world(e: Experiment, rng: np.random.Generator) -> tuple[str, dict[str, Material], Light, str]:
    """(how a caption names the floor, looks by geom, light, MJCF): surfaces, light and cameras drawn around an experiment."""
    floor = FLOORS[str(rng.choice(list(FLOORS)))]
    tone = np.clip(np.array(floor[1]) * rng.uniform(0.8, 1.15) + rng.uniform(-0.03, 0.03, 3), 0.05, 0.95)
    wall = np.clip(rng.uniform(0.35, 0.85) + rng.uniform(-0.12, 0.12, 3), 0.05, 0.95)
    looks = {
        "floor": floor[2],
        "wall": Material(str(rng.choice(LOOKS)), float(rng.uniform(0.6, 2.0)), float(rng.uniform(0.03, 0.2)), 0.0),
    }
    for k in range(len(e.things)):
        looks[f"object{k}"] = Material(
            str(rng.choice(LOOKS)),
            float(rng.uniform(0.1, 0.3)),
            float(rng.uniform(0.0, 0.22)),
            float(rng.uniform(0.02, 0.3)),
            int(rng.integers(3, 6)),
        )
    light = Light(
        position=(float(rng.uniform(-1.8, 1.8)), float(rng.uniform(-2.2, -0.4)), float(rng.uniform(2.4, 3.4))),
        strength=float(rng.uniform(0.7, 1.0)),
        radius=float(rng.uniform(0.03, 0.12)),
        background=(float(wall[0]), float(wall[1]), float(wall[2])),
    )
    middle = np.array(e.middle)
    cameras = "".join(
        f'<camera name="{name}" {look(middle + e.reach * (np.array(at) + rng.uniform(-0.08, 0.08, 3)), middle)} fovy="40"/>'
        for name, at in STANDS.items()
    )
    xml = f"""
<mujoco model="physics">
  <compiler angle="degree"/>
  <option timestep="{TIMESTEP:.12g}" integrator="RK4" iterations="60" cone="elliptic"/>
  <worldbody>
    {cameras}
    <geom name="floor" type="plane" size="20 20 0.1" rgba="{text(tone)} 1" friction="0.6 0.003 0.0002" solref="0.005 1"/>
    <geom name="wall" type="box" size="20 0.05 8" pos="0 {2.2 * max(0.7, e.reach):.9g} 8" rgba="{text(wall)} 1"/>
    {e.fixed}
    {e.moving}
  </worldbody>
</mujoco>"""
    return floor[0], looks, light, xml
