"""VGG-19 (arXiv 1409.1556) up to its last convolution: the maps of the published perceptual and Gram losses.

Architecture and key names as torchvision stores them (`features.<i>.weight`), so that its ImageNet weights load as they are.
"""

from __future__ import annotations

from torch import Tensor, nn

from armillary.features.base import Maps

# Channels of each convolution, stage by stage; a 2x2 maximum parts the stages. A map is taken after each stage's last ReLU.
STAGES = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for colours in [0, 1]
UNUSED = r"^classifier\."


class Vgg19(Maps):
    """Maps `relu1_2, relu2_2, relu3_4, relu4_4, relu5_4`, with 64, 128, 256, 512, 512 channels at 1, 1/2, ... 1/16 of the size."""

    smallest = 16
    weights = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)  # published with the Cosmos tokenizers' losses

    def __init__(self, name: str = "vgg19") -> None:
        super().__init__(name)
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, frames: Tensor) -> list[Tensor]:
        """See `Features.forward`."""
        x = self.check(frames)
        x = ((x + 1) / 2 - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return [*maps, x]
