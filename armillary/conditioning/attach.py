"""A world with conditions attached: trained, extended and stepped like the world itself.

The world's own checkpoint stays as it is; what was attached is saved beside it, with the hash of the world it belongs to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions
from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.store import load_folder, save_folder
from armillary.types import Batch, Conditioning

SAID = (
    "family",
    "config",
    "setting",
    "tokenizer",
    "name",
    "sha256",
    "blocks",
    "fit_normaliser",
    "ports",
    "network",
    "adapters",
)


class Attached(nn.Module):
    """Args:
    world: any world with `ports` whose `forward` takes `ports=` and whose `extend` reads `Conditioning.modulation` and `.channels`.
    conditions: name -> config.
    train_world: also train the world itself; else only what was attached has gradients.

    Raises:
        BadInput: for a world without ports.
    """

    def __init__(self, world: Any, conditions: Mapping[str, Condition], train_world: bool = True) -> None:
        super().__init__()
        if not hasattr(world, "ports") and (conditions or not hasattr(world, "extend")):
            raise BadInput(
                f"A world of family {getattr(world, 'family', type(world).__name__)!r} has no ports to attach a condition to."
            )
        for name, condition in conditions.items():
            if condition.part == "actions" and world.action_spec is not None:
                raise BadInput(
                    f"This world takes actions of its own ({', '.join(world.action_spec.names)}); {name!r} would be a second set."
                )
        self.world = world
        self.configs = dict(conditions)
        self.conditions = nn.ModuleDict({name: config.build(world.ports) for name, config in conditions.items()})
        if not train_world:
            world.requires_grad_(False)

    # What a world says of itself, it says of the pair.
    def __getattr__(self, name: str) -> Any:
        if name in SAID:
            return getattr(self.world, name)
        return super().__getattr__(name)

    @property
    def action_spec(self) -> Any:
        """The attached condition's, or the world's own."""
        for config in self.configs.values():
            if config.part == "actions":
                return getattr(config, "spec")  # noqa: B009
        return self.world.action_spec

    def forward(self, batch: Batch, rng: Generator, maps: Tensor | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss.

        Args:
            maps: `b c t h w`, one for each latent frame, where a condition reads maps.
        """
        if not self.configs:
            return self.world(batch, rng)
        frames = batch.grid.t if batch.latents is not None else 0
        said = Conditions(
            batch.actions,
            batch.context,
            batch.context_mask,
            maps,
            batch.poses,
            batch.intrinsics,
            views=batch.views,
            trajectory=batch.trajectory,
            frames=self._clip(frames),
        )
        ports = self._ports(said, frames, begins=True, rng=rng)
        return self.world(self._without_attached(batch), rng, ports=ports)

    def extend(
        self,
        given: Tensor,
        frames: int,
        conditioning: Conditioning,
        *,
        generator: Generator,
        maps: Tensor | None = None,
        **sampling: Any,
    ) -> Tensor:
        """As the world's own; `conditioning.actions`, `.context` and `.poses` go to the attached conditions (too).

        Args:
            maps: `b c (v frames) h w`, one for each further frame, where a condition reads maps.
        """
        c, have = conditioning, given.shape[2] // conditioning.views
        have = min(have, getattr(self.config, "past", have))
        context, mask = (
            x if x is None or x.ndim < 3 + i else x.flatten(1, 2) for i, x in ((1, c.context), (0, c.context_mask))
        )
        said = Conditions(
            c.actions,
            context,
            mask,
            maps,
            c.poses,
            c.intrinsics,
            views=c.views,
            trajectory=c.trajectory,
            frames=self._clip(have + frames),
        )
        whole = getattr(self.world.ports, "clips", False) if self.configs else False
        if c.trajectory is not None and whole and have + frames > self.config.clip:
            raise BadInput(
                f"A trajectory is told as seen from a clip's first frame, and a clip of this world has {self.config.clip} latent frames; "
                f"{have} are given and {frames} asked for. Go clip by clip, each with what is left of the way (`onward`)."
            )
        if any(c.part == "actions" for c in self.configs.values()):
            wanted = (frames - (given.shape[2] == 0)) * self.tokenizer.temporal
            if said.actions is None or said.actions.shape[1] < wanted:
                have = 0 if said.actions is None else said.actions.shape[1]
                raise BadInput(f"{frames} frames want {wanted} actions; got {have}.")
        ports = self._ports(said, frames, begins=given.shape[2] == 0)
        return self.world.extend(
            given,
            frames,
            dataclasses.replace(
                self._without_attached(conditioning),
                modulation=ports.modulation,
                channels=ports.channels,
                clip_channels=ports.clip_channels,
            ),
            generator=generator,
            **sampling,
        )

    def _clip(self, frames: int) -> int:
        """Frames of which a condition may tell each its own; 0 of a world that takes no several views."""
        return frames if getattr(getattr(self.world, "ports", None), "views", False) else 0

    def _without_attached(self, said: Any) -> Any:
        """A batch or conditioning as the bare world takes it."""
        changes: dict[str, None] = {}
        for config in self.configs.values():
            if config.part == "actions":
                changes["actions"] = None
            if config.part == "context" and self.world.ports.context != getattr(config, "dim", 0):
                changes |= {"context": None, "context_mask": None}
        return dataclasses.replace(said, **changes)

    def _ports(self, said: Conditions, frames: int, begins: bool, rng: Generator | None = None) -> Conditioning:
        """The sum at each port. `begins`: whether the first frame is one that nothing leads to; `rng`: in training, what is withheld."""
        sums: dict[str, Tensor] = {}
        for name, module in self.conditions.items():
            config = self.configs[name]
            assert isinstance(module, ConditionModule)
            out = module(said)
            if out is None:
                continue
            if rng is not None and (share := getattr(config, "dropout", 0.0)):
                keep = torch.rand(len(out), generator=rng, device=rng.device) >= share
                out = out * keep.to(out).view(-1, *(1,) * (out.ndim - 1))
            if config.port == "channels" and not config.per_frame:
                sums["clip"] = sums["clip"] + out if "clip" in sums else out
                continue
            if config.port == "modulation" and not config.per_frame:
                out = out[:, None].expand(-1, max(frames, 1), -1)
            axis = 1 if config.port == "modulation" else 2
            if config.leads and begins and config.per_frame:
                shape = list(out.shape)
                shape[axis] = 1
                out = torch.cat([out.new_zeros(shape), out], dim=axis)
            wanted = frames * said.views if axis == 2 else frames  # channels have the views on their frame axis
            if out.shape[axis] < wanted or (axis == 2 and said.views > 1 and out.shape[axis] != wanted):
                if axis == 2 or not config.leads:
                    raise BadInput(f"Condition {name!r} speaks of {out.shape[axis]} frames; {wanted} are asked for.")
                out = torch.cat([out, torch.zeros_like(out[:, :1]).expand(-1, frames - out.shape[1], -1)], dim=1)
            out = out.narrow(axis, 0, wanted)
            sums[config.port] = sums[config.port] + out if config.port in sums else out
        return Conditioning(modulation=sums.get("modulation"), channels=sums.get("channels"), clip_channels=sums.get("clip"))


def attach(world: Any, conditions: Mapping[str, Condition], train_world: bool = True) -> Attached:
    """The world with conditions at its ports; until they are trained its output is unchanged.

    >>> attach(world, {"action": ActionCondition(spec)})
    """
    return Attached(world, conditions, train_world)


def save(attached: Attached, folder: str | Path) -> Path:
    """Write what was attached (not the world) to a checkpoint folder."""
    return save_folder(
        folder,
        family="conditions",
        config=attached.configs,
        tensors=attached.conditions.state_dict(),
        extra={"world": {"name": attached.world.name, "sha256": attached.world.sha256}},
    )


def load(folder: str | Path, world: Any, kinds: Mapping[str, type[Condition]] | None = None) -> Attached:
    """Attach what `save` wrote to the same world.

    Args:
        kinds: class name -> config class; the table's by default.

    Raises:
        BadInput: for another world than the one it was saved with, or a kind of condition that is not known.
    """
    if kinds is None:
        from armillary.conditioning import CONDITIONERS

        kinds = {c.__name__: c for c in CONDITIONERS.values()}
    kept = load_folder(folder, "conditions")
    theirs = kept.extra["world"]["sha256"]
    if theirs != world.sha256:
        raise BadInput(
            f"{kept.path} was trained on world {kept.extra['world']['name']!r} ({theirs[:12]}); "
            f"this one is {world.sha256[:12] or 'unsaved'}."
        )
    configs = {}
    for name, data in kept.config.items():
        if data["kind"] not in kinds:
            raise BadInput(
                f"{kept.path} holds a condition of kind {data['kind']!r}, which this version does not know ({', '.join(kinds)})."
            )
        configs[name] = from_json(kinds[data["kind"]], data)
    attached = Attached(world, configs)
    kept.load_into(attached.conditions)
    return attached.eval()
