"""The diffusion decoder: tokens say roughly what is there, a diffusion network draws the latents of a finer tokenizer (paper section 4.4).

A video is read twice: by the discrete tokenizer whose tokens a world speaks, and by a continuous one. Each token is embedded, the map
brought to the latent's rows and columns by bilinear interpolation and added, through a convolution that starts at zero, to what the
diffusion transformer embeds; that is the same as joining it to the latent's channels. In a share of the training rows the tokens
are withheld, which guidance contrasts with. The published code has 32 numbers a token (its paper 16), 57-frame chunks (8 latent frames)
of which 2 overlap and are blended in pixels, 15 steps, and one fixed sentence as text; here no text is read.

Every chunk is drawn as if it began a video: its first latent frame stands for one frame of video. Within the overlap that frame has weight
zero, so that what is said of it by tokens that stand for several frames does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.store import find_weights, load_folder, save_folder
from armillary.types import Batch
from armillary.worlds.autoregressive.stream import STREAMS, StreamConfig, StreamRefiner
from armillary.worlds.base import TokenizerRef
from armillary.worlds.diffusion.dit import DiT, DiTConfig
from armillary.worlds.diffusion.edm import EDM, EDMConfig
from armillary.worlds.diffusion.sampler import guided, karras, sample, to_zero


@dataclass(frozen=True)
class RefinerConfig:
    """A size.

    Args:
        network: reads neither text nor given frames.
        width: numbers a token is embedded in.
        clip: latent frames drawn together; overlap: of those, how many a further chunk shares with the one before.
        dropout: share of training rows whose tokens are withheld.
        corrupt: share of tokens that in training are others, drawn at random: a world's tokens are not a tokenizer's.
        steps: evaluations a chunk; guidance: `y = cond + guidance * (cond - uncond)`.
    """

    network: DiTConfig
    objective: EDMConfig = field(default_factory=lambda: EDMConfig(by_frames=True))
    width: int = 32
    clip: int = 8
    overlap: int = 2
    dropout: float = 0.2
    corrupt: float = 0.0
    steps: int = 15
    guidance: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.overlap < self.clip or self.network.given or self.network.padding:
            raise BadInput(
                f"A refiner wants 1 <= overlap < clip and a network without given and padding planes; got overlap {self.overlap}, "
                f"clip {self.clip}."
            )


class Refiner(nn.Module):
    """Args:
    tokens: the discrete tokenizer whose ids it reads; latents: the continuous one whose latents it draws.

    Raises:
        BadInput: they do not fit each other.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: RefinerConfig, tokens: TokenizerRef, latents: TokenizerRef) -> None:
        super().__init__()
        if not tokens.vocab or latents.vocab:
            raise BadInput(
                f"A refiner turns tokens into latents; got {tokens.name!r} and {latents.name!r} the wrong way round."
            )
        same = tokens.temporal == latents.temporal and tokens.size == latents.size
        if not same or tokens.spatial % latents.spatial:
            raise BadInput(
                f"Tokens and latents must fold the same frames of the same size, tokens no finer: {tokens.name!r} folds "
                f"{tokens.temporal} x {tokens.spatial} of {tokens.size}, {latents.name!r} {latents.temporal} x {latents.spatial} "
                f"of {latents.size}."
            )
        self.config, self.tokens, self.latents = config, tokens, latents
        self.network = DiT(config.network, latents.channels)
        self.objective = EDM(config.objective)
        self.embed = nn.Embedding(tokens.vocab, config.width)
        patch = config.network.patch
        self.join = nn.Conv2d(config.width, config.network.dim, patch, stride=patch, bias=False)
        nn.init.zeros_(self.join.weight)
        self.register_buffer("latent_mean", torch.zeros(latents.channels))
        self.register_buffer("latent_std", torch.ones(latents.channels))
        self.name, self.sha256 = "", ""

    @property
    def blocks(self) -> nn.ModuleList:
        """What parallelism walks."""
        return self.network.blocks

    def fit_normaliser(self, latents: Tensor) -> None:
        """Mean and standard deviation of each channel, from a sample `n c t h w`."""
        self.latent_mean.copy_(latents.float().mean((0, 2, 3, 4)))
        self.latent_std.copy_(latents.float().std((0, 2, 3, 4)).clamp(min=1e-4))

    def denoise(self, x: Tensor, sigma: Tensor, ids: Tensor | None, known: Tensor | None = None) -> Tensor:
        """The clean latents that `x` (`b c t h w`, noised at `sigma`, `b`) most likely were.

        Args:
            ids: tokens `b t h w`, None for none; known: `b`, 0 in rows whose tokens are withheld.
        """
        wide, c = (slice(None),) + (None,) * 4, self.objective.scalings(sigma)
        added = None
        if ids is not None:
            cells = F.interpolate(rearrange(self.embed(ids), "b t h w d -> (b t) d h w"), x.shape[-2:], mode="bilinear")
            added = rearrange(self.join(cells), "(b t) d h w -> b d t h w", b=len(ids))
            added = added if known is None else added * known[wide]
        answer = self.network(x * c.into[wide], c.noise, channels=added)
        return c.skip[wide] * x + c.out[wide] * answer

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss, from `tokens` `b t h w` and `latents` `b c t h w` of the same video.

        Returns:
            loss; `{"error": share of the latents' variance left unexplained, over all noise levels}`.
        """
        if batch.tokens is None or batch.latents is None:
            raise BadInput("A refiner learns from tokens and latents of the same video; this batch lacks one of them.")
        ids, z = batch.tokens, batch.latents
        self._check(ids)
        b, like = len(ids), self.latent_mean
        clean = (z - like[:, None, None, None]) / self.latent_std[:, None, None, None] * self.config.objective.sigma_data
        if self.config.corrupt:
            other = torch.randint(0, self.tokens.vocab, ids.shape, generator=rng, device=rng.device).to(ids.device)
            swap = torch.rand(ids.shape, generator=rng, device=rng.device).to(ids.device) < self.config.corrupt
            ids = torch.where(swap, other, ids)
        known = (torch.rand(b, generator=rng, device=rng.device) >= self.config.dropout).to(like)
        sigma = self.objective.draw(b, rng, frames=ids.shape[1]).to(like)
        noise = torch.randn(clean.shape, generator=rng, device=rng.device).to(like)
        denoised = self.denoise(clean + sigma[:, None, None, None, None] * noise, sigma, ids, known)
        loss, error = self.objective.loss(clean, denoised, sigma)
        return loss, {"error": error.mean()}

    @torch.no_grad()
    def refine(
        self,
        ids: Tensor,
        *,
        generator: Generator,
        steps: int | None = None,
        guidance: float | None = None,
        solver: str = "euler",
    ) -> Tensor:
        """Latents `b c t h w` of tokens `b t h w`, at most `config.clip` frames of them, in the continuous tokenizer's own scale."""
        self._check(ids)
        c, objective = self.config, self.config.objective
        if ids.shape[1] > c.clip:
            raise BadInput(f"A chunk has at most {c.clip} latent frames; got {ids.shape[1]}. `render` goes chunk by chunk.")
        b, like = len(ids), self.latent_mean
        ids = ids.to(like.device)
        height, width = (s // self.latents.spatial for s in self.latents.size)
        shape = (b, self.latents.channels, ids.shape[1], height, width)

        def fresh() -> Tensor:
            return torch.randn(shape, generator=generator, device=generator.device).to(like)

        start = objective.sigma_max * fresh()

        def towards(said: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda x, sigma: self.denoise(x, sigma.expand(b), said)

        levels = to_zero(karras(c.steps if steps is None else steps, objective.sigma_min, objective.sigma_max))
        strength = c.guidance if guidance is None else guidance
        drawn = sample(guided(towards(ids), towards(None), strength), start, levels, solver, fresh=fresh) / objective.sigma_data
        return drawn * self.latent_std[:, None, None, None] + self.latent_mean[:, None, None, None]

    @torch.no_grad()
    def render(self, ids: Tensor, decode: Callable[[Tensor], Tensor], *, generator: Generator, **sampling: Any) -> Tensor:
        """Pixels of tokens `b t h w` of any length, chunk by chunk, blended linearly where chunks overlap.

        Args:
            decode: the continuous tokenizer's, from latents to pixels `b 3 (1 + temporal (t - 1)) h w`.
            sampling: as for `refine`.
        """
        frames, c = ids.shape[1], self.config
        out: Tensor | None = None
        for start in chunk_starts(frames, c.clip, c.overlap):
            part = decode(self.refine(ids[:, start : start + c.clip], generator=generator, **sampling))
            if out is None:
                out = part
                continue
            first = self.tokens.temporal * start  # the frame of video at which latent frame `start` ends
            shared = out.shape[2] - first
            weight = torch.linspace(0, 1, shared, dtype=part.dtype, device=part.device)[:, None, None]
            blend = out[:, :, first:] * (1 - weight) + part[:, :, :shared] * weight
            out = torch.cat([out[:, :, :first], blend, part[:, :, shared:]], dim=2)
        assert out is not None
        return out

    def _check(self, ids: Tensor) -> None:
        height, width = (s // self.tokens.spatial for s in self.tokens.size)
        if ids.ndim != 4 or ids.shape[1] < 1 or tuple(ids.shape[2:]) != (height, width):
            raise BadInput(f"Tokens are b t {height} {width} here, of a frame or more; got {tuple(ids.shape)}.")


def chunk_starts(frames: int, clip: int, overlap: int) -> list[int]:
    """Where chunks of `clip` begin so that they cover `frames`, each sharing `overlap` or more with the one before; the last is whole."""
    last = max(0, frames - clip)
    return [*range(0, last, clip - overlap), last]


# For live sizes half of the training is at pure noise, where one evaluation is the mean of what tokens leave open: the best PSNR.
_LIVE = EDMConfig(sigma_min=0.02, sigma_max=20.0, mean=-0.5, std=1.5, top=0.5, gate=True, clean=True, uncertainty=0)
REFINERS: dict[str, RefinerConfig | StreamConfig] = {
    **STREAMS,
    "refine-nano": RefinerConfig(
        DiTConfig(192, 6, 6, lora=48, given=False, padding=False, patch=1, limit=(64, 32, 32)),
        _LIVE,
        clip=5,
        steps=1,
        guidance=0.0,
    ),
    # The published 7B without its attention to one fixed sentence.
    "refine-6b": RefinerConfig(DiTConfig(4096, 28, 32, given=False, padding=False, ratios=(1.0, 1.5, 1.5))),
}


def build_refiner(config: RefinerConfig | StreamConfig, tokens: TokenizerRef, latents: TokenizerRef) -> Refiner | StreamRefiner:
    """A new one of either kind; raises as they do."""
    return StreamRefiner(config, tokens, latents) if isinstance(config, StreamConfig) else Refiner(config, tokens, latents)


def save_refiner(
    refiner: Refiner | StreamRefiner,
    folder: str | Path,
    tensors: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint folder."""
    facts = {"tokens": refiner.tokens, "latents": refiner.latents} | dict(extra or {})
    return save_folder(folder, family="refiner", config=refiner.config, tensors=tensors or refiner.state_dict(), extra=facts)


def load_refiner(name_or_folder: str | Path) -> Refiner | StreamRefiner:
    """What `save_refiner` wrote, in evaluation mode, on the CPU; raises as `store.load_folder` does."""
    folder = load_folder(find_weights(name_or_folder, "refiner"), "refiner")
    refs = []
    for key in ("tokens", "latents"):
        held = dict(folder.extra[key])
        if held["name"].startswith("."):
            held["name"] = str((folder.path / held["name"]).resolve())
        refs.append(from_json(TokenizerRef, held))
    kind = StreamConfig if folder.config["kind"] == "StreamConfig" else RefinerConfig
    refiner = build_refiner(from_json(kind, folder.config), *refs)
    folder.load_into(refiner)
    refiner.name, refiner.sha256 = folder.path.name, folder.sha256
    return refiner.eval()
