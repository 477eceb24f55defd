"""Actions for a world that was trained without: a two-layer network of the action, added to the noise level's vector of its frame.

The paper's action-conditioned diffusion world is made so (section on robotic manipulation); there one vector serves a two-frame clip,
here each frame has its own. On a transformer's port the sum goes into the vector that all its AdaLN layers share, as published (the
published code has a second half that moves the level's sinusoid and is without effect there). An autoregressive world has no such
vector: its actions are added to the inputs that a frame is predicted from (`worlds.autoregressive.world`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports, zeroed
from armillary.errors import BadInput
from armillary.types import ActionSpec

# Numbers in one action of the embodiments that such worlds are trained for: what a width most likely means, for messages and cards.
WIDTHS: dict[str, int] = {
    "camera": 9,
    "driving": 9,
    "single arm": 10,
    "dual arm": 20,
    "humanoid": 29,
    "egocentric": 57,
    "bridge": 7,
}


def embodiments(width: int) -> str:
    """Who has actions of that width, as `camera, driving`; empty where none is known."""
    return ", ".join(name for name, w in WIDTHS.items() if w == width)


@dataclass(frozen=True)
class ActionCondition(Condition):
    """Args:
    spec: what the actions mean; its mean and deviation normalise them, else its bounds do.
    temporal: actions that lead from one latent frame to the next.
    hidden: width of the hidden layer.
    """

    spec: ActionSpec
    temporal: int = 1
    hidden: int = 256

    port: ClassVar[Literal["modulation", "channels"]] = "modulation"
    part: ClassVar[str] = "actions"
    leads: ClassVar[bool] = True

    def build(self, ports: Ports) -> ActionModule:
        return ActionModule(self, ports.modulation)


class ActionModule(ConditionModule):
    centre: Tensor
    spread: Tensor

    def __init__(self, config: ActionCondition, width: int) -> None:
        super().__init__()
        self.config, spec = config, config.spec
        low, high = torch.tensor(spec.low, dtype=torch.float32), torch.tensor(spec.high, dtype=torch.float32)
        if spec.mean and spec.std:
            centre, spread = torch.tensor(spec.mean, dtype=torch.float32), torch.tensor(spec.std, dtype=torch.float32)
        elif bool(torch.isfinite(low).all() and torch.isfinite(high).all() and (high > low).all()):
            centre, spread = (low + high) / 2, (high - low) / 2
        else:
            centre, spread = torch.zeros(spec.dim), torch.ones(spec.dim)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("spread", spread.clamp(min=1e-6), persistent=False)
        self.up = nn.Linear(spec.dim * config.temporal, config.hidden)
        self.down = zeroed(nn.Linear(config.hidden, width))

    def forward(self, said: Conditions) -> Tensor | None:
        """actions `b (t k) a` -> `b t d`; row `i` leads to frame `i + 1`.

        Raises:
            BadInput: for actions of another width.
        """
        if said.actions is None:
            return None
        spec, k = self.config.spec, self.config.temporal
        if said.actions.shape[-1] != spec.dim:
            raise BadInput(
                f"Actions of width {spec.dim} ({', '.join(spec.names)}) are wanted; got width {said.actions.shape[-1]}."
            )
        whole = said.actions.shape[1] // k
        scaled = (said.actions[:, : whole * k] - self.centre) / self.spread
        return self.down(nn.functional.gelu(self.up(scaled.reshape(len(scaled), whole, -1)), approximate="tanh"))
