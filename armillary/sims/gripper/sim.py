"""A tabletop with a gripper: an arm of six joints whose two fingers grasp by contact, three to six things, and places to put them.

Two ways to command it. `ee`: how fast the tip between the fingers moves along x, y and z, turns about the vertical, and how fast the
fingers part, five numbers in [-1, 1]. `joints`: six absolute joint angles and the gap between the fingers. Both go through the same
joint servos: the joint targets that an `ee` episode used (`truth["joint_target"]`), given as `joints` actions, do the same again.

The task is one sentence (see `gripper_tasks.TASKS`): push to a side, push next to another, put in or on a place, stack, lift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from armillary.errors import BadInput, lookup, require
from armillary.sims import optics
from armillary.sims.base import Policy, SceneObject
from armillary.sims.facts import shown
from armillary.sims.gripper import arm as gripper_arm
from armillary.sims.gripper import language as gripper_language
from armillary.sims.gripper import policies as gripper_policies
from armillary.sims.gripper import scene as gripper_scene
from armillary.sims.gripper import tasks as gripper_tasks
from armillary.sims.gripper.actions import EE, FPS, JOINTS, LEAD, PART, REACH, SPEED, TURN
from armillary.sims.gripper.story import Story
from armillary.sims.gripper.things import Target
from armillary.sims.pictures import Pictured
from armillary.sims.raycast import Raycaster
from armillary.sims.words.facts import Facts
from armillary.sims.words.tell import tell

TICKS, SUBSTEPS = 5, 10  # control ticks a frame, physics steps a tick: 50 x 2 ms = 0.1 s
TRIES = 8  # scenes that a seed draws at most


class Gripper(Pictured):
    """See the module. A `Sim`; call `reset` before anything else.

    Args:
        actions: `ee` or `joints`.
        task: a name of `gripper_tasks.TASKS`; empty: each seed draws one.
        renderer: `ray` needs nothing; `gl` draws with OpenGL where it is installed (its pixels differ from `ray`'s).
        smooth: soften outlines and shadow edges (`ray` only).
    """

    fps = FPS
    cameras: tuple[str, ...] = gripper_scene.CAMERAS
    state_names: tuple[str, ...] = ("tip_x", "tip_y", "tip_z", "tip_yaw", *gripper_arm.JOINTS, "gap")

    def __init__(
        self,
        actions: Literal["ee", "joints"] = "ee",
        task: str = "",
        renderer: Literal["ray", "gl"] = "ray",
        smooth: bool = True,
    ) -> None:
        if renderer not in ("ray", "gl"):
            raise BadInput(f"A gripper draws with renderer='ray' or 'gl'; got {renderer!r}.")
        if actions not in ("ee", "joints"):
            raise BadInput(f"A gripper is commanded by actions='ee' or 'joints'; got {actions!r}.")
        if task:
            lookup(gripper_tasks.TASKS, task, "task")
        self.mj = require("mujoco", "simulating")
        self.name = "tabletop-gripper" if actions == "ee" else "tabletop-gripper-joints"
        self.spec = EE if actions == "ee" else JOINTS
        self.actions, self.only, self.renderer, self.smooth = actions, task, renderer, smooth
        self.policies: Mapping[str, Policy] = gripper_policies.POLICIES
        self.objects: tuple[SceneObject, ...] = ()
        self.targets: tuple[Target, ...] = ()
        self.touched: np.ndarray = np.zeros(0, bool)
        self.held: np.ndarray = np.zeros(0, bool)
        self.memory: dict[str, Any] = {}
        self.steps = 0

    # The episode ------------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> None:
        """Draw things, places, task and the look of everything from `seed`, and hold the arm over the table."""
        rng = np.random.default_rng([0x62199E2, int(seed)])
        kinds = list(gripper_tasks.TASKS)
        kind = kinds[int(rng.choice(len(kinds), p=[gripper_tasks.TASKS[k].share for k in kinds]))]
        kind = self.only or kind
        for _ in range(TRIES):  # until there is a scene in which that can be done
            self._build(rng, gripper_tasks.TASKS[kind].shapes(rng))
            if gripper_tasks.TASKS[kind].options(self):
                break
        self.rays = Raycaster(self.model, self.data, self.scene.looks, self.scene.light, self.smooth)
        self.gl: Any = None
        self.story = Story.of(self)
        self.seed, self.steps, self.memory = int(seed), 0, {}
        self.task = gripper_tasks.draw(self, kind, rng)

    def _build(self, rng: np.random.Generator, shapes: tuple[str, ...]) -> None:
        """A scene with those shapes in it, at rest."""
        self.scene = gripper_scene.draw(rng, shapes)
        self.objects, self.targets = self.scene.things, self.scene.targets
        self.model = self.mj.MjModel.from_xml_string(self.scene.xml)
        self.data, self.ghost = self.mj.MjData(self.model), self.mj.MjData(self.model)
        start = rng.uniform((-0.12, -0.02, 0.13, -0.6), (0.12, 0.12, 0.20, 0.6))
        gap = float(rng.choice([0.0, gripper_arm.OPEN, rng.uniform(0.02, 0.09)]))
        self.commanded = np.array([*gripper_arm.joints(self.scene.base, *start), gap])
        self.data.qpos[:8] = [*self.commanded[:6], gap / 2, gap / 2]
        self.data.ctrl[:] = self.commanded
        self._index()
        self.touched, self.held = np.zeros(len(self.objects), bool), np.zeros(len(self.objects), bool)
        for _ in range(40):  # let the things settle
            self.mj.mj_step(self.model, self.data)
        self.mj.mj_forward(self.model, self.data)

    def _index(self) -> None:
        """Which geom belongs to what; entry -1 of `owner` answers for geom -1."""
        names = [self.model.geom(i).name for i in range(self.model.ngeom)]
        self.tip_site, self.hand = self.model.site("tip").id, self.model.body("hand").id
        self.bodies = np.array([self.model.body(f"object{k}").id for k in range(len(self.objects))])
        self.owner = np.full(self.model.ngeom + 1, -1)
        for k, body in enumerate(self.bodies):
            self.owner[:-1][self.model.geom_bodyid == body] = k
        self.is_arm = (self.model.body_weldid[self.model.geom_bodyid] != 0) & (self.owner[:-1] < 0)
        self.pads = [names.index("pad0"), names.index("pad1")]

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Move for 0.1 s. A command beyond the spec's bounds is clipped.

        Returns:
            how much the task's potential rose (`gripper_tasks`; metres and bonuses), and whether the task is solved now.

        Raises:
            BadInput: for an action of the wrong length or with a number that is not finite.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (self.spec.dim,) or not np.isfinite(action).all():
            raise BadInput(f"This gripper takes {self.spec.dim} finite numbers ({', '.join(self.spec.names)}); got {action!r}.")
        action = np.clip(action, self.spec.low, self.spec.high)
        goal = self.joint_goal(action) if self.actions == "ee" else action
        before, was, stood = gripper_tasks.potential(self, self.task), self.tip.copy(), self.places.copy()
        # A joint's target moves no faster than the joint can, so that every command is a motion the servos can follow.
        most = np.array([*gripper_arm.RATE, 10.0]) / FPS
        goal = np.clip(goal, self.commanded - most, self.commanded + most)
        move = goal - self.commanded
        lag = np.array([gripper_arm.DAMPING / gripper_arm.GAIN] * 6 + [0.0])
        self.touched, self.held = np.zeros(len(self.objects), bool), np.zeros(len(self.objects), bool)
        for tick in range(1, TICKS + 1):
            self.data.ctrl[:] = self.commanded + move * (tick / TICKS) + move * FPS * lag
            self.data.ctrl[6] = goal[6]
            self.mj.mj_step(self.model, self.data, SUBSTEPS)
            self._note_contacts()
        self.commanded = goal
        self.mj.mj_forward(self.model, self.data)
        self.steps += 1
        self.story.note(self, was, stood)
        return float(gripper_tasks.potential(self, self.task) - before), gripper_tasks.solved(self, self.task)

    def joint_goal(self, command: np.ndarray) -> np.ndarray:
        """The `joints` action that does what the `ee` command (`5`, in [-1, 1]) asks for now: float64 `7`."""
        vx, vy, vz, turn, part = command
        tip, yaw = self._aim()
        tip = self.tip + np.clip(tip - self.tip, -LEAD, LEAD)
        tip = np.clip(tip + SPEED / FPS * np.array([vx, vy, vz]), *REACH)
        angles = gripper_arm.joints(self.scene.base, tip[0], tip[1], tip[2], yaw + TURN / FPS * turn)
        gap = self.gap + np.clip(self.commanded[6] - self.gap, -LEAD, LEAD) + PART / FPS * part
        return np.array([*angles, np.clip(gap, 0.0, gripper_arm.OPEN)])

    def _aim(self) -> tuple[np.ndarray, float]:
        """Where the commanded joints would hold the tip, and the yaw of the hand there."""
        self.ghost.qpos[:] = self.data.qpos
        self.ghost.qpos[:6] = self.commanded[:6]
        self.mj.mj_kinematics(self.model, self.ghost)
        return self.ghost.site_xpos[self.tip_site].copy(), self._yaw(self.ghost)

    def _yaw(self, data: Any) -> float:
        """The direction along which the fingers part, from +x, in (-pi, pi]."""
        x, y = data.xmat[self.hand].reshape(3, 3)[:2, 1]
        return float(np.arctan2(y, x))

    def _note_contacts(self) -> None:
        pairs = self.data.contact.geom.reshape(-1, 2)
        by = np.zeros((2, len(self.objects)), bool)
        for a, b in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
            of = self.owner[b]
            self.touched[of[self.is_arm[a] & (of >= 0)]] = True
            for k, pad in enumerate(self.pads):
                by[k, of[(a == pad) & (of >= 0)]] = True
        self.held = by[0] & by[1]

    # What is so -------------------------------------------------------------------------------------------------------------------

    @property
    def tip(self) -> np.ndarray:
        """Between the fingers' ends, float64 `3`, metres."""
        return self.data.site_xpos[self.tip_site]

    @property
    def yaw(self) -> float:
        return self._yaw(self.data)

    @property
    def gap(self) -> float:
        """Between the fingers, metres."""
        return float(self.data.qpos[6] + self.data.qpos[7])

    @property
    def places(self) -> np.ndarray:
        """The things' centres, float64 `k 3`, metres."""
        return self.data.xpos[self.bodies]

    def axes(self, k: int) -> np.ndarray:
        """Thing `k`'s own axes in the world, as columns: float64 `3 3`."""
        return self.data.xmat[self.bodies[k]].reshape(3, 3)

    def speed(self, k: int) -> float:
        """m/s of thing `k`'s centre."""
        at = self.model.body_dofadr[self.bodies[k]]
        return float(np.linalg.norm(self.data.qvel[at : at + 3]))

    def touching(self, k: int, other: int) -> bool:
        """Whether two things touch each other now; -1 stands for the table and what is fixed to it."""
        geoms = self.data.contact.geom.reshape(-1, 2)
        geoms = geoms[~self.is_arm[geoms].any(1)]
        pairs = np.sort(self.owner[geoms], axis=1)
        return bool((pairs == sorted((k, other))).all(1).any())

    @property
    def instruction(self) -> str:
        return self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        return gripper_language.instructions(self.task, self.objects, self.targets)

    @property
    def facts(self) -> Facts:
        """What has been so since the reset; the camera is left open."""
        return gripper_language.facts(self)

    @property
    def caption(self) -> str:
        return tell(self.facts, "long", self.seed)

    def state(self) -> np.ndarray:
        return np.array([*self.tip, self.yaw, *self.data.qpos[:6], self.gap], np.float32)

    def truth(self, camera: str = "front", size: int = 64) -> dict[str, np.ndarray]:
        """See `Sim.truth`. And `held` bool `k`, `mask` int8 `h w` (which thing each pixel shows; -1 none, -2 the arm), `camera_pose`
        float64 `4 4`, `joint_position` and `joint_velocity` float64 `7` (six hinges, the gap), `joint_target` float64 `7`: what the
        servos were last asked for, which as a `joints` action does the same again."""
        view = self.camera(camera, size)
        pose = np.concatenate([self.data.xpos[self.bodies], self.data.xquat[self.bodies]], 1)
        seen = self.rays.segment(view)
        mask = self.owner[seen]
        mask[(seen >= 0) & np.append(self.is_arm, False)[seen]] = -2
        speeds = self.data.qvel
        return {
            **shown(self.rays, view, self.owner, pose, seen),
            "contact": self.touched.copy(),
            "held": self.held.copy(),
            "tip": self.tip.copy(),
            "tip_px": optics.project(view, self.tip).astype(np.float32),
            "mask": mask.astype(np.int8),
            "camera_pose": view.pose,
            "joint_position": np.array([*self.data.qpos[:6], self.gap]),
            "joint_velocity": np.array([*speeds[:6], speeds[6] + speeds[7]]),
            "joint_target": self.commanded.copy(),
        }
