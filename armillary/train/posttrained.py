"""Post-training: a finished world, a task, and data that show it. No world is forked; what a task adds is a line of `TASKS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from armillary import worlds
from armillary.conditioning import (
    ActionCondition,
    CameraCondition,
    Condition,
    RaysCondition,
    TextCondition,
    TrajectoryCondition,
    ViewsCondition,
)
from armillary.conditioning.action import embodiments
from armillary.conditioning.camera import check_rigid, motions
from armillary.conditioning.rays import ego_motions
from armillary.data.base import Dataset, Encoded
from armillary.errors import BadInput, lookup
from armillary.nn.lora import Base
from armillary.progress import say
from armillary.rollout.posttrained import Posttrained, adapt, is_posttrained, save, with_actions, with_text
from armillary.train.models import relative_name
from armillary.types import ActionSpec, Batch, Camera
from armillary.worlds import World
from armillary.worlds.autoregressive.world import AutoregressiveWorld
from armillary.worlds.diffusion.actor import ActorConfig
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.stepping import SteppingWorld

SAME_RATE = 0.01  # relative difference of frame rates that is none
SILENT = 0.1
SAME_RIG = 0.02  # metres, entries of a rotation, shares of a lens: cameras of drives that differ by less are mounted alike
SAMPLED = 256  # windows that a camera's usual motion is taken from


class Added(NamedTuple):
    """What a task adds: the world (an autoregressive one may have grown), conditions by name, names of new parameters, a hand."""

    world: World
    conditions: dict[str, Condition]
    grown: tuple[str, ...] = ()
    acts: ActorConfig | None = None


@dataclass(frozen=True)
class PosttrainRun:
    """A world trained on for a task. Its tokenizer and text encoder are those of the base.

    Args:
        task: a line of `TASKS`. start: the base, a shipped name or a checkpoint folder.
        lora: rank of the adapters that are trained, with what is attached, instead of all weights; 0 trains those.
        unroll_prob, unroll_from: as in `WorldRun`; of a base that cannot push forward they count nothing.
    """

    task: str = "action"
    start: str = ""
    lora: int = 0
    unroll_prob: float = 0.5
    unroll_from: float = 0.3

    def build(self, data: Dataset) -> nn.Module:
        """Raises BadInput: the data are no latents, or do not fit the base or the task; both are named."""
        if not isinstance(data, Encoded):
            raise BadInput("A world learns from latents or tokens; wrap the data in LatentsConfig(source, tokenizer).")
        world = open_base(self.start)
        if world.tokenizer.sha256 != data.ref.sha256:
            raise BadInput(
                f"World {self.start!r} was trained on tokenizer {world.tokenizer.name!r} ({world.tokenizer.sha256[:12]}); the data are "
                f"encoded with {data.ref.name!r} ({data.ref.sha256[:12]})."
            )
        check_fit(world, self.start, data)
        added = lookup(TASKS, self.task, "task")(world, data)
        added.world.setting = dataclasses.replace(added.world.setting, tokenizer=data.ref)
        return Posttraining(adapt(added.world, self.lora, added.conditions, added.grown, added.acts), world.sha256)

    def at(self, model: nn.Module, done: float) -> None:
        """Raise the share of pushed-forward steps, as `WorldRun` does."""
        assert isinstance(model, Posttraining)
        world = model.pair.world
        if hasattr(world, "unroll_prob"):
            world.unroll_prob = self.unroll_prob * min(1.0, max(0.0, (done - self.unroll_from) / 0.1))

    def save(
        self, model: nn.Module, folder: Path, extra: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """A world of which nothing was attached and all trained is an ordinary one again; any other a post-trained one.

        Tokenizer and base are named relative to `folder` where they are folders.
        """
        assert isinstance(model, Posttraining)
        pair, start = model.pair, Path(self.start)
        own = None if tensors is None else {name.removeprefix("pair."): value for name, value in tensors.items()}
        base = Base(relative_name(str(start.resolve()) if start.is_dir() else self.start, folder), model.base_sha256)
        facts, before = {"task": self.task, **extra}, pair.world.setting
        ref = before.tokenizer
        try:
            pair.world.setting = dataclasses.replace(
                before, tokenizer=dataclasses.replace(ref, name=relative_name(ref.name, folder))
            )
            if pair.whole and not pair.configs and pair.hand is None:
                plain = None if own is None else {name.removeprefix("world."): value for name, value in own.items()}
                worlds.save(pair.world, folder, plain, {"base": base, **facts})
            else:
                save(pair, folder, base, facts, own)
        finally:
            pair.world.setting = before


class Posttraining(nn.Module):
    """The trainable: its state is what is trained, so that a checkpoint of adapters holds no base."""

    def __init__(self, pair: Posttrained, base_sha256: str) -> None:
        super().__init__()
        self.pair, self.base_sha256 = pair, base_sha256

    @property
    def blocks(self) -> nn.ModuleList:
        """What parallelism walks."""
        return self.pair.world.blocks

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss. Of text that is attached a share of the rows is withheld, so that silence means something too."""
        if batch.context is not None and any(isinstance(c, TextCondition) for c in self.pair.configs.values()):
            heard = torch.rand(len(batch.context), 1, generator=rng, device=rng.device).to(batch.context.device) >= SILENT
            mask = batch.context_mask if batch.context_mask is not None else heard.new_ones(batch.context.shape[:2])
            batch = dataclasses.replace(batch, context_mask=mask & heard)
        return self.pair(batch, rng)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return {f"pair.{name}": value for name, value in self.pair.trained().items()}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Strict always."""
        own = self.state_dict()
        if own.keys() != state_dict.keys():
            wrong = sorted(own.keys() ^ state_dict.keys())
            raise BadInput(
                f"This is no state of the same post-training: {len(wrong)} tensors differ, the first is {wrong[0]!r}."
            )
        for name, value in own.items():
            value.copy_(state_dict[name])


# The base and the data ------------------------------------------------------------------------------------------------------------


def open_base(name: str) -> World:
    """The world to go on from.

    Raises:
        BadInput: none is named, there is no such one, or it is post-trained or wears adapters itself.
    """
    if not name:
        raise BadInput(
            "Post-training goes on from a finished world; name one with --base (`armillary info` lists those shipped)."
        )
    if is_posttrained(name):
        raise BadInput(f"{name} is post-trained itself; go on from the world that it began from.")
    world = worlds.load(name)
    if world.adapters:
        raise BadInput(f"{name} is an adapter. `armillary convert {name} --out MERGED` makes weights of it to go on from.")
    return world


def check_fit(world: World, name: str, data: Any) -> None:
    """Raises BadInput: rate or (unless several can be attached) number of views differ; both sides are named."""
    own, theirs = world.setting.fps, data.fps
    if abs(own - theirs) > SAME_RATE * own:
        raise BadInput(
            f"World {name!r} dreams {own:g} frames a second; the data have {theirs:g}. A base of that rate, or data resampled to the "
            "base's, would work."
        )
    views = getattr(world.config, "views", 1)
    if data.views != views and not getattr(getattr(world, "ports", None), "views", False):
        raise BadInput(f"World {name!r} takes {views} camera(s) at once; the data show {data.views}.")


def check_actions(world: World, name: str, spec: ActionSpec | None) -> None:
    """Raises BadInput: no actions, or others than the base's; both sides are named."""
    if spec is None or not spec.dim:
        raise BadInput("The data hold no actions; one for every frame is wanted.")
    own = world.action_spec
    if own is None:
        if abs(spec.rate - world.setting.fps) > SAME_RATE * world.setting.fps:
            raise BadInput(
                f"The data's actions come {spec.rate:g} a second; world {name!r} dreams {world.setting.fps:g} frames a second, and wants "
                "one action for each."
            )
        return
    differing = [d for d in own.differences(spec) if not d.startswith(("mean:", "std:"))]
    if not differing:
        return
    said = "; ".join(differing)
    if own.dim != spec.dim:
        who = [f" ({w})" if (w := embodiments(s.dim)) else "" for s in (own, spec)]
        said = f"width {own.dim}{who[0]} != {spec.dim}{who[1]}; {said}"
    raise BadInput(f"The actions of world {name!r} differ from the data's (world's != data's): {said}.")


# The tasks ------------------------------------------------------------------------------------------------------------------------


def add_action(world: World, data: Any) -> Added:
    """Actions: the base's own where it has the same, else attached (diffusion) or grown (autoregressive)."""
    check_actions(world, world.name, data.spec)
    if world.action_spec is not None:
        return Added(world, {})
    if isinstance(world, AutoregressiveWorld):
        made, grown = with_actions(world, data.spec)
        return Added(made, {}, grown)
    network = world.config.network
    hidden = 4 * network.dim if isinstance(network, DiTConfig) else 256  # published: 4 d
    return Added(world, {"action": ActionCondition(data.spec, world.tokenizer.temporal, hidden)})


def add_camera(world: World, data: Any) -> Added:
    """A camera's path, normalised by the usual motion and with the usual lens of the training data."""
    if not hasattr(world, "ports"):
        raise BadInput(
            f"World {world.name!r} is {world.family} and has no channels port, which a camera's rays enter by; a diffusion world has one."
        )
    if world.action_spec is not None:
        raise BadInput(
            f"World {world.name!r} wants actions ({', '.join(world.action_spec.names)}) for every frame, and a path stands for them; a "
            "base that only watches would work (data.source.actions=false when it is trained)."
        )
    if "poses" not in data.fields:
        raise BadInput("The data do not say where their camera was; camera post-training wants a pose for every frame.")
    check_poses(data)
    batch = data.batch(0, min(SAMPLED, max(8, len(data))), 0)
    rotations, shifts = motions(batch.poses)
    turn = torch.arccos(((rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    usual = [float(x.square().mean().sqrt()) for x in (turn, torch.linalg.vector_norm(shifts, dim=-1))]
    lens = np.median([[k[0, 0], k[1, 1], k[0, 2], k[1, 2]] for k in batch.intrinsics.flatten(0, 1).numpy()], axis=0)
    condition = CameraCondition(
        size=world.tokenizer.size,
        spatial=world.tokenizer.spatial,
        temporal=world.tokenizer.temporal,
        turn=round(max(usual[0], 1e-3), 6),
        shift=round(max(usual[1], 1e-6), 6),
        lens=tuple(round(float(x), 4) for x in lens),  # type: ignore[arg-type]
    )
    return Added(world, {"camera": condition})


def check_poses(data: Any) -> None:
    """Raises BadInput: an entry's path is not rigid; the entry is named."""
    for entry in getattr(data, "source", data).entries:
        for camera in entry.cameras:
            try:
                check_rigid(torch.as_tensor(np.reshape(camera.pose, (1, -1, 4, 4))))
            except BadInput as error:
                raise BadInput(f"The camera of {entry.key} is no rigid body. {error}") from error


def add_instruction(world: World, data: Any) -> Added:
    """Sentences: by the base's cross-attention where it reads the same text, else grown (autoregressive) or pooled (diffusion).

    A live base that takes actions gets a hand that chooses them as the sentence says.
    """
    if world.action_spec is not None:
        if not isinstance(world, SteppingWorld) or not world.setting.text:
            raise BadInput(
                f"World {world.name!r} wants actions ({', '.join(world.action_spec.names)}) for every frame. A live world that reads text "
                "learns to choose them as the sentence says; of others a base that only watches would work (data.source.actions=false "
                "when it is trained)."
            )
        check_actions(world, world.name, data.spec)
    missing = [e.key for e in getattr(data, "source", data).entries if not any(t.strip() for t in e.texts)]
    if missing:
        raise BadInput(
            f"{len(missing)} episodes have no instruction or caption (first: {', '.join(missing[:3])}); every one wants a sentence."
        )
    if world.setting.text:
        if (world.setting.text, world.setting.text_dim) != (data.text, data.text_dim):
            raise BadInput(f"World {world.name!r} reads text encoder {world.setting.text!r}; the data carry {data.text!r}.")
        return Added(world, {}, acts=ActorConfig() if world.action_spec is not None else None)
    if isinstance(world, AutoregressiveWorld):
        made, grown = with_text(world, data.text, data.text_dim)
        return Added(made, {}, grown)
    return Added(world, {"text": TextCondition(data.text_dim, data.text)})


def add_driving(world: World, data: Any) -> Added:
    """All views of a drive at once, and where the car shall go; each latent frame is told its own stretch of the way."""
    if not getattr(getattr(world, "ports", None), "views", False):
        raise BadInput(
            f"World {world.name!r} takes one view at a time. `armillary train unet-driving` makes a live world that takes several, "
            "`dit-driving` one of the published kind."
        )
    if data.views < 2 or "trajectory" not in data.fields:
        raise BadInput(
            f"Driving wants several views and the way that the car took; the data show {data.views} view(s) of "
            f"{', '.join(sorted(data.fields))}. Give drives (`armillary sim record driving --cameras ...`, or folders of `write_drive`)."
        )
    names = tuple(getattr(getattr(getattr(data, "config", None), "source", None), "views", ()))
    pace = world.tokenizer.temporal / data.fps
    return Added(world, {"views": ViewsCondition(data.views, names), "trajectory": way_of(world, data, pace)})


def way_of(world: World, data: Any, pace: float) -> Condition:
    """The vehicle's way as the motion of each camera's rays where all drives have one rig, else as the numbers of the trajectory."""
    entries = getattr(data, "source", data).entries
    plain = TrajectoryCondition(dim=32, hidden=128, scale=10.0, horizon=min(64, round(20 * pace)), pace=pace, dropout=0.2)
    if any(e.ego is None for e in entries):
        return plain
    rigs = np.stack([[np.linalg.inv(e.ego[0]) @ c.pose.reshape(-1, 4, 4)[0] for c in e.cameras] for e in entries])
    lenses = np.stack([[_lens(c) for c in e.cameras] for e in entries])
    if np.abs(rigs - rigs[0]).max() > SAME_RIG or np.abs(lenses / lenses[0] - 1).max() > SAME_RIG:
        say("The cameras of these drives differ in where they are mounted or in their lenses: the way is told as numbers.")
        return plain
    batch = data.batch(0, min(SAMPLED, max(8, len(data))), 0)
    motion = ego_motions(batch.trajectory, pace, 8)[:, 1:]
    turn = torch.atan2(motion[..., 1, 0], motion[..., 0, 0])
    usual = [float(x.square().mean().sqrt()) for x in (turn, torch.linalg.vector_norm(motion[..., :3, 3], dim=-1))]
    return RaysCondition(
        rig=tuple(tuple(round(float(x), 6) for x in rig[:3].flat) for rig in rigs[0]),
        lens=tuple(tuple(round(float(x), 4) for x in lens) for lens in lenses[0]),
        size=world.tokenizer.size,
        spatial=world.tokenizer.spatial,
        pace=pace,
        turn=round(max(usual[0], 1e-3), 6),
        shift=round(max(usual[1], 1e-3), 6),
        dropout=0.2,
    )


def _lens(camera: Camera) -> tuple[float, ...]:
    k = camera.intrinsics.reshape(-1, 3, 3)[0]
    return k[0, 0], k[1, 1], k[0, 2], k[1, 2]


TASKS: dict[str, Callable[[World, Any], Added]] = {
    "camera": add_camera,
    "action": add_action,
    "instruction": add_instruction,
    "driving": add_driving,
}
