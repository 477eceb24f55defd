"""The embedded extractor: five stages of two 3x3 convolutions, halved in between by averages rather than maxima, so that a shift by part
of a pixel changes a map by part of what a whole pixel does. About 0.9 M parameters; trained by `recipes/features.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from armillary.features.base import Maps

FAMILY = "features"


@dataclass(frozen=True)
class SmallConfig:
    """Args:
    widths: channels of each stage; every stage has half the size of the one before.
    weights: how much each map counts in a distance.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 192)
    weights: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)


class Small(Maps):
    """Maps of `config.widths` channels at 1, 1/2, 1/4, 1/8, 1/16 of the size, each of mean about 1 on what it was trained on."""

    smallest = 16

    def __init__(self, config: SmallConfig, name: str = "small") -> None:
        super().__init__(name)
        self.config, self.weights = config, config.weights
        self.stages = nn.ModuleList()
        channels = 3
        for width in config.widths:
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
                )
            )
            channels = width

    def forward(self, frames: Tensor) -> list[Tensor]:
        """See `Features.forward`."""
        x = self.check(frames)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(nn.functional.avg_pool2d(x, 2) if maps else x)
            maps.append(x)
        return maps
