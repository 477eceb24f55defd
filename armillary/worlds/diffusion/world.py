"""The diffusion family's table: a network, its objective, and how it is trained, one line a size."""

from __future__ import annotations

from dataclasses import dataclass, replace

from armillary.errors import BadInput
from armillary.worlds.base import Setting
from armillary.worlds.diffusion.causal import CausalWorld
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.common import DiffusionWorld
from armillary.worlds.diffusion.dit import DiTConfig
from armillary.worlds.diffusion.edm import EDMConfig
from armillary.worlds.diffusion.few import Few
from armillary.worlds.diffusion.stepping import SteppingWorld
from armillary.worlds.diffusion.unet import UNetConfig


@dataclass(frozen=True)
class DiffusionConfig:
    """What a diffusion world is and how it learns.

    Args:
        network: a U-Net makes a world that steps frame by frame, a DiT one that denoises clips, a causal DiT one that does both.
        past: latent frames it looks back on (a DiT: the most that may be given).
        memory: stepping: ages of older frames that it also sees, as (6, 12, 24): what the arm covers meanwhile is remembered from them.
        text_dropout: share of training rows whose text is withheld, which is what guidance contrasts with.
        none_prob, short_prob: stepping: shares of rows that are given no frame, and none or a random number of them.
        noise_prob, noise_max: stepping: share of rows whose given frames are noised, and the largest deviation of that noise.
        change_weight: stepping: how much more a cell counts that changes.
        unroll, unroll_prob: stepping: dream up to so many frames before learning, in that share of the steps.
        clip: clip, causal: latent frames of a training clip (clip: and what is denoised together).
        augment: clip: mean and deviation of `ln sigma` of the noise on given frames in training (a clip world's flow: none).
        given_prob: causal: share of rows whose first frames are nearly clean, as they are in a rollout; in the rest each frame has a noise
            level of its own.
        few: what a world was distilled to (`armillary train distill-...`); `None` for one that learned from data.
        columns: clip: latent frames that have statistics of their own; 0 for the same ones for all.
    """

    network: UNetConfig | DiTConfig
    objective: EDMConfig
    past: int = 4
    memory: tuple[int, ...] = ()
    text_dropout: float = 0.1
    none_prob: float = 0.1
    short_prob: float = 0.3
    noise_prob: float = 0.7
    noise_max: float = 0.2
    change_weight: float = 4.0
    unroll: int = 4
    unroll_prob: float = 0.0
    clip: int = 16
    augment: tuple[float, float] = (-3.0, 2.0)
    columns: int = 0
    given_prob: float = 0.5
    few: Few | None = None

    def __post_init__(self) -> None:
        if list(self.memory) != sorted({*self.memory}) or any(age <= self.past for age in self.memory):
            raise BadInput(f"memory holds ages beyond past={self.past}, in order, (6, 12, 24) for instance; got {self.memory}.")
        if self.memory and not isinstance(self.network, UNetConfig):
            raise BadInput("memory is for worlds that step frame by frame (a U-Net); a DiT looks at all it is given.")

    @property
    def ages(self) -> tuple[int, ...]:
        """How many frames ago each given frame of a stepping world was, oldest first."""
        return (*reversed(self.memory), *range(self.past, 0, -1))

    @property
    def reach(self) -> int:
        """Frames that have to be kept so that the next can be dreamed."""
        return max(self.past, *self.memory, 0)

    def build(self, setting: Setting) -> DiffusionWorld:
        """A new world with random weights."""
        if isinstance(self.network, UNetConfig):
            return SteppingWorld(self, setting)
        return (CausalWorld if self.network.causal else ClipWorld)(self, setting)


# Half of the samples at pure noise: one evaluation is then the conditional mean; the rest lets 4 to 8 of them draw a sample.
LIVE = EDMConfig(sigma_min=0.02, sigma_max=20.0, mean=-0.5, std=1.5, top=0.5, gate=True, clean=True, uncertainty=0)
# What is there at all is decided at high noise, and no frame is known: EDM's own answer, the network's whole input.
PAINTER = EDMConfig(sigma_min=0.02, sigma_max=20.0, mean=-0.6, std=1.3, uncertainty=0)
PUBLISHED = EDMConfig(by_frames=True)
# Each frame has a level of its own, and one frame of small latents hides sooner than a clip of many.
CAUSAL = EDMConfig(sigma_min=0.01, sigma_max=40.0, mean=-0.5, std=1.5, uncertainty=0)
FLOW = EDMConfig(sigma_data=1.0, sigma_min=0.002, by_frames=True, uncertainty=0, flow=True)


def _dit(network: DiTConfig, clip: int = 16, objective: EDMConfig = PUBLISHED) -> DiffusionConfig:
    # No text is withheld: the published worlds contrast with a negative prompt instead.
    return DiffusionConfig(network, objective, past=2, text_dropout=0.0, clip=clip)


def _causal(dim: int, layers: int) -> DiffusionConfig:
    # Positions are relative alone, so that a rollout has no end; clips twice the window, so that frames with a whole past are trained on.
    network = DiTConfig(
        dim, layers, 6, lora=dim // 4, given=False, padding=False, patch=1, absolute=False, base_fps=0.0, causal=True, window=7
    )
    return DiffusionConfig(network, CAUSAL, past=8, clip=16)


DIFFUSION: dict[str, DiffusionConfig] = {
    "unet-nano": DiffusionConfig(UNetConfig(96, 160), LIVE),
    "unet-small": DiffusionConfig(UNetConfig(128, 192), LIVE),
    "unet-live": DiffusionConfig(UNetConfig(128, 192), replace(LIVE, top=0.75), memory=(6, 12, 24), none_prob=0.05),
    "unet-painter": DiffusionConfig(UNetConfig(112, 192, coarse_mixers=3, fine_mixers=1), PAINTER, none_prob=1.0),
    # Small latents are not patched: 64 tokens for 8 by 8 cells. 2b follows Predict2's shape (rotary positions only, no clock) and flow.
    "dit-nano": _dit(DiTConfig(192, 6, 6, lora=48, patch=1, limit=(64, 32, 32)), clip=8),
    "dit-tiny": _dit(DiTConfig(384, 12, 6, lora=96, patch=1, limit=(64, 32, 32)), clip=8),
    "dit-nano-causal": _causal(192, 6),
    "dit-tiny-causal": _causal(384, 12),
    "dit-2b": _dit(DiTConfig(2048, 28, 16, ratios=(1.0, 3.0, 3.0), absolute=False, base_fps=0.0), 24, FLOW),
    "dit-7b": _dit(DiTConfig(4096, 28, 32, ratios=(2.0, 1.0, 1.0))),
    "dit-14b": _dit(DiTConfig(5120, 36, 40, ratios=(2.0, 2.0, 2.0))),
}
