"""How many things of each colour and shape a picture shows, by a small convolutional network.

b picture   k what is counted (`CriticConfig.counted`)   3 none, one, more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.sims.words.facts import Thing

LEVELS = 3  # none, one, more


@dataclass(frozen=True)
class CriticConfig:
    """Args:
    world: in whose vocabulary prompts are read.
    colours, shapes: what is told apart.
    size: pixels a side that pictures are brought to.
    widths: channels of each stage, each at half the size of the one before; blocks: residual blocks in each.
    """

    world: str = "tabletop"
    colours: tuple[str, ...] = ("red", "green", "blue", "yellow")
    shapes: tuple[str, ...] = ("block", "cylinder", "bar", "tee")
    size: int = 64
    widths: tuple[int, ...] = (24, 48, 80)
    blocks: tuple[int, ...] = (0, 1, 3)

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or any(w % 8 for w in self.widths):
            raise BadInput(f"A critic's widths are multiples of 8, with as many blocks; got {self.widths} and {self.blocks}.")

    @property
    def counted(self) -> tuple[Thing, ...]:
        """What is counted, in order: each colour, each shape, each pair of them."""
        pairs = [Thing(c, s) for c, s in product(self.colours, self.shapes)]
        return (*(Thing(c) for c in self.colours), *(Thing("", s) for s in self.shapes), *pairs)

    def counts(self, things: Sequence[Thing]) -> list[int]:
        """How many of `things` each of `counted` is, at most 2. What is not known of a thing is no colour and no shape."""
        each = (sum(k.colour in ("", t.colour) and k.shape in ("", t.shape) for t in things) for k in self.counted)
        return [min(n, LEVELS - 1) for n in each]


class Block(nn.Module):
    """Two convolutions around a shortcut; the second starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_1(F.silu(self.norm_1(x)))
        return x + self.conv_2(F.silu(self.norm_2(y)))


class Counter(nn.Module):
    """What a picture shows of each thing in `config.counted`: logits of none, one, more."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width, blocks in zip(config.widths, config.blocks):
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), *(Block(width) for _ in range(blocks))]
            layers += [nn.GroupNorm(8, width), nn.SiLU()]
            channels = width
        self.look = nn.Sequential(*layers)
        self.tell = nn.Sequential(nn.Linear(2 * channels, 128), nn.SiLU(), nn.Linear(128, LEVELS * len(config.counted)))

    def forward(self, frames: Tensor) -> Tensor:
        """frames uint8 `b h w 3` -> `b k 3`."""
        maps = self.look(rearrange(frames.float() / 127.5 - 1, "b h w c -> b c h w"))
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return rearrange(self.tell(pooled), "b (k n) -> b k n", n=LEVELS)
