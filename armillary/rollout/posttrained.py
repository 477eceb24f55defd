"""A finished world that was trained on for a task: what was attached to it, adapted in it or changed in it, in one checkpoint folder.

Two kinds of folder. A *whole* one holds every weight and stands alone. One of *adapters* holds what was trained alone (low-rank adapters,
attached conditions, a hand, parts the base did not have) and names the base, which must be there and be the same. Both say what they
were trained for, on which camera, and what the gate found (`card`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from armillary import worlds
from armillary.conditioning import CONDITIONERS, Attached, Condition, TextCondition
from armillary.errors import BadInput
from armillary.nn import lora
from armillary.presets import from_json
from armillary.progress import say
from armillary.rollout import acting
from armillary.store import find_weights, load_folder, read_json, save_folder, write_json
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds import World
from armillary.worlds.adapters import targets_of
from armillary.worlds.autoregressive.world import AutoregressiveWorld
from armillary.worlds.base import Live, Setting
from armillary.worlds.diffusion.actor import ActorConfig
from armillary.worlds.diffusion.stepping import SteppingWorld

FAMILY = "posttrained"
BLIND = "-BLIND"  # how the verdict of a world ends that ignores what it was trained to follow


class Posttrained(Attached):
    """A world with what was added to it; `adapters` and `grown` say what else in it is trained.

    Args:
        world: the base, with adapters on its layers where `adapters` is given.
        grown: names of parameters that the base's weights did not have.
        acts: of a world that takes actions, a hand that chooses them as the sentence says (`acting.py`). To whoever uses the pair it is a
            world without actions. The base stays as it is, but for adapters.

    Attributes:
        whole: all weights are trained and saved; else adapters, conditions, the hand and what has grown.
    """

    def __init__(
        self,
        world: World,
        conditions: Mapping[str, Condition],
        adapters: lora.LoraConfig | None = None,
        grown: Sequence[str] = (),
        acts: ActorConfig | None = None,
    ) -> None:
        super().__init__(world, conditions)
        self.hand = None
        if acts is not None:
            assert isinstance(world, SteppingWorld) and not conditions
            self.hand = acting.hand_for(acts, world)
        self.worn, self.grown, self.whole = adapters, tuple(grown), adapters is None and acts is None
        if not self.whole:
            own = lora.state(world)
            for name, parameter in world.named_parameters():
                parameter.requires_grad_(name in own or name in self.grown)

    @property
    def setting(self) -> Setting:
        """The world's, with the text encoder that an attached condition reads by."""
        own = self.world.setting
        for config in self.configs.values():
            if isinstance(config, TextCondition) and not own.text:
                return dataclasses.replace(own, text=config.encoder, text_dim=config.dim)
        return own if self.hand is None else dataclasses.replace(own, actions=None)

    @property
    def action_spec(self) -> Any:
        """The attached condition's, or the world's own unless a hand of its own chooses."""
        return None if self.hand is not None else super().action_spec

    def forward(self, batch: Batch, rng: Generator, maps: Tensor | None = None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss, the hand's with it."""
        if self.hand is None:
            return super().forward(batch, rng, maps)
        return acting.learn(self.world, self.hand, batch, rng, both=self.worn is not None)

    def extend(self, given: Tensor, frames: int, conditioning: Conditioning, **how: Any) -> Tensor:
        """As `Attached.extend`; with a hand, of the sentence being carried out (`acting.carry_out`)."""
        if self.hand is None:
            return super().extend(given, frames, conditioning, **how)
        return acting.carry_out(self.world, self.hand, given, frames, conditioning, **how)

    def live(self, given: Tensor, conditioning: Conditioning, **sampling: Any) -> Live:
        """As the world's own, with what is attached."""
        if not self.configs and self.hand is None:
            return self.world.live(given, conditioning, **sampling)
        return Live(self, given, **sampling)  # type: ignore[arg-type]

    def trained(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, by name."""
        if self.whole:
            return super().state_dict()
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}


def adapt(
    world: World,
    rank: int,
    conditions: Mapping[str, Condition],
    grown: Sequence[str] = (),
    acts: ActorConfig | None = None,
) -> Posttrained:
    """A world to be trained on: adapters of `rank` on its default layers and what is attached, or with rank 0 all of it."""
    config = lora.attach(world, rank, targets=targets_of(world)) if rank else None
    return Posttrained(world, conditions, config, grown, acts)


def with_actions(world: World, spec: ActionSpec) -> tuple[World, tuple[str, ...]]:
    """An autoregressive world that also takes actions, silent at first, and the names of the parameters that are new in it."""
    assert isinstance(world, AutoregressiveWorld)
    return _grown(world, dataclasses.replace(world.setting, actions=spec))


def with_text(world: World, encoder: str, dim: int) -> tuple[World, tuple[str, ...]]:
    """An autoregressive world that also reads text, silent at first, and the names of the parameters that are new in it."""
    assert isinstance(world, AutoregressiveWorld)
    return _grown(world, dataclasses.replace(world.setting, text=encoder, text_dim=dim))


def _grown(world: AutoregressiveWorld, setting: Setting) -> tuple[World, tuple[str, ...]]:
    had = world.state_dict().keys()
    made = world.grown((), setting)
    return made, tuple(name for name in made.state_dict() if name not in had)


def save(
    pair: Posttrained,
    folder: str | Path,
    base: lora.Base,
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a checkpoint folder.

    Args:
        base: the world this began from, as it will be found from here. tensors: another state of what is trained, an average say.
    """
    config = {
        "world": pair.world.config,
        "conditions": pair.configs,
        "lora": pair.worn,
        "grown": pair.grown,
        "acts": pair.hand and pair.hand.config,
    }
    facts = {"setting": pair.world.setting, "base": base, **dict(extra or {})}
    return save_folder(folder, family=FAMILY, config=config, tensors=tensors or pair.trained(), extra=facts)


def load(folder: str | Path, dtype: torch.dtype | None = torch.float32) -> Posttrained:
    """What `save` wrote, for use: adapters are folded into the weights.

    Raises:
        BadInput: the base is another than it was trained on, or a condition is of a kind that this version does not know.
    """
    kept = load_folder(folder, FAMILY)
    setting = from_json(Setting, kept.extra["setting"])
    setting = dataclasses.replace(
        setting, tokenizer=dataclasses.replace(setting.tokenizer, name=beside(kept.path, setting.tokenizer.name))
    )
    base, told = from_json(lora.Base, kept.extra["base"]), kept.config
    adapters = from_json(lora.LoraConfig, told["lora"]) if told["lora"] else None
    acts = from_json(ActorConfig, told["acts"]) if told.get("acts") else None
    if adapters is None and acts is None:
        kind = told["world"]["kind"]
        if kind not in worlds.CONFIGS:
            raise BadInput(f"{kept.path} holds a world of kind {kind!r}, which this version does not know.")
        world = from_json(worlds.CONFIGS[kind], told["world"]).build(setting)
    else:
        world = worlds.load(beside(kept.path, base.name))
        if world.sha256 != base.sha256:
            raise BadInput(
                f"{kept.path} was trained on world {base.name!r} ({base.sha256[:12]}); the one found there is {world.sha256[:12]}."
            )
        if told["grown"]:
            assert isinstance(world, AutoregressiveWorld)
            world, _ = _grown(world, setting)
        world.setting = setting
        if adapters is not None:
            lora.put(world, adapters)
    pair = Posttrained(world, _conditions(kept.path, told["conditions"]), adapters, told["grown"], acts)
    own = pair.trained()
    wrong = sorted(own.keys() ^ kept.tensors.keys()) + sorted(
        k for k in own.keys() & kept.tensors.keys() if own[k].shape != kept.tensors[k].shape
    )
    if wrong:
        raise BadInput(f"The weights in {kept.path} do not fit their config: {len(wrong)} differ (first: {wrong[0]}).")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(kept.tensors[name])
    if adapters is not None:
        lora.fold(world)
    if dtype is not None and dtype != torch.float32:
        pair.to(dtype)
    world.name, world.sha256 = kept.path.name if kept.path.name != "model" else kept.path.resolve().parent.name, kept.sha256
    if (verdict := str(kept.extra.get("gate", {}).get("verdict", ""))).endswith(BLIND):
        say(f"warning: world {world.name!r} is marked {verdict}: it does not follow what it was post-trained on.")
    return pair.requires_grad_(True).eval()


def _conditions(path: Path, told: Mapping[str, Any]) -> dict[str, Condition]:
    kinds = {c.__name__: c for c in CONDITIONERS.values()}
    for name, data in told.items():
        if data["kind"] not in kinds:
            raise BadInput(f"{path} holds a condition {name!r} of kind {data['kind']!r}, which this version does not know.")
    return {name: from_json(kinds[data["kind"]], data) for name, data in told.items()}


def is_posttrained(name_or_folder: str | Path) -> bool:
    """Whether a name or folder is such a checkpoint; raises as `find_weights`."""
    record = read_json(find_weights(name_or_folder, "world") / "config.json")
    return isinstance(record, dict) and record.get("family") == FAMILY


def open_world(
    name_or_folder: str | Path, dtype: torch.dtype | None = torch.float32, adapters: Sequence[str | Path] = ()
) -> World | Posttrained:
    """A world of any kind: as `worlds.load`, or one that was post-trained.

    Raises:
        BadInput: as those, or adapters for a post-trained world.
    """
    if not is_posttrained(name_or_folder):
        return worlds.load(name_or_folder, dtype, adapters)
    if adapters:
        raise BadInput(f"{name_or_folder} is post-trained; adapters belong to a world as it was before.")
    return load(find_weights(name_or_folder, "world"), dtype)


def write_card(folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Add to what a checkpoint's `config.json` says of it: the gate's verdict, say. Weights and their hash stay."""
    path = Path(folder) / "config.json"
    write_json(path, {**read_json(path), **facts})


def beside(folder: Path, name: str) -> str:
    """A name that begins with a point is that of a neighbour of `folder`; any other stays."""
    return str((folder / name).resolve()) if name.startswith(".") else name
