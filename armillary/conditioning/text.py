"""Text for a world that reads none, or from another encoder than the one it reads: pooled by attention, added to the noise level's vector.

A learned question looks at the text's tokens once; what it finds passes a two-layer network that ends in zeros. A world's own text port
(cross-attention) is not touched, so both may speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from armillary.conditioning.base import Condition, ConditionModule, Conditions, Ports, zeroed
from armillary.errors import BadInput
from armillary.nn.attention import attend


@dataclass(frozen=True)
class TextCondition(Condition):
    """Args:
    dim: width of a text token.
    encoder: name of the encoder that made the tokens, kept for the record.
    hidden: width of question and hidden layer.
    """

    dim: int
    encoder: str = ""
    hidden: int = 256

    port: ClassVar[Literal["modulation", "channels"]] = "modulation"
    part: ClassVar[str] = "context"
    per_frame: ClassVar[bool] = False

    def build(self, ports: Ports) -> TextModule:
        return TextModule(self, ports.modulation)


class TextModule(ConditionModule):
    def __init__(self, config: TextCondition, width: int) -> None:
        super().__init__()
        self.config = config
        self.question = nn.Parameter(torch.randn(1, 1, 1, config.hidden) * config.hidden**-0.5)
        # Stands for no text at all, so that an empty row has something to look at.
        self.empty = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.key = nn.Linear(config.dim, config.hidden, bias=False)
        self.value = nn.Linear(config.dim, config.hidden, bias=False)
        self.up = nn.Linear(config.hidden, config.hidden)
        self.down = zeroed(nn.Linear(config.hidden, width))

    def forward(self, said: Conditions) -> Tensor | None:
        """context `b n e` -> `b d`.

        Raises:
            BadInput: for text of another width.
        """
        if said.context is None:
            return None
        b, n, width = said.context.shape
        if width != self.config.dim:
            raise BadInput(
                f"Text of width {self.config.dim} (encoder {self.config.encoder or '?'}) is wanted; got width {width}."
            )
        mask = (
            said.context_mask
            if said.context_mask is not None
            else torch.ones(b, n, dtype=torch.bool, device=said.context.device)
        )
        tokens = torch.cat([self.empty.expand(b, 1, -1), said.context], dim=1)
        seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        found = attend(
            self.question.expand(b, -1, -1, -1), self.key(tokens)[:, None], self.value(tokens)[:, None], seen[:, None, None]
        )
        return self.down(nn.functional.silu(self.up(found[:, 0, 0])))
