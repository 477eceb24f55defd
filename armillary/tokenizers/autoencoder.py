"""The autoencoder of every tokenizer: continuous or FSQ, image or causal video, tiny or published size.

    video ─ Haar ─ conv ─ [blocks, down]* ─ blocks ─ mid ─ norm, conv ─ 1x1 ─┐   encoder
                                                                            (FSQ)
    video ─ Haar⁻¹ ─ conv, norm ─ [up, blocks]* ─ mid ─ conv ─ 1x1 ──────────┘   decoder, read from the right

What is unusual in it:
  * Work is done on wavelet bands, not on pixels; the wavelet supplies part of the compression.
  * Convolutions are factorised, 3 x 3 in space and then 3 causal frames in time; down- and up-sampling add a plain mean or repeat to a
    learned convolution. Norms see one frame at a time. Attention exists at the waist only: over space in each frame, then
    causally over time. So nothing looks ahead: the first 1 + temporal·k frames fix the first 1 + k latents whatever follows, and the first
    latent is the first frame's.
  * An autoencoder without a KL term; the discrete one rounds (FSQ) and has no codebook to learn.
  * Frames are folded into the batch and memory is channels last (see `nn.conv`); a `Reel` lets a clip be run through in pieces.

Sources: «Cosmos World Foundation Model Platform for Physical AI» section 4; spec section 2.2. Attribute names follow the published
state dict, so that its keys map by dropping wrappers (see `published`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.nn import conv, wavelet
from armillary.nn.attention import History
from armillary.nn.conv import Reel
from armillary.nn.fsq import FSQ
from armillary.nn.wavelet import PATCHERS
from armillary.tokenizers.shortcut import Shortcut


@dataclass(frozen=True)
class TokenizerConfig:
    """A size.

    Args:
        temporal, spatial: compression, powers of two; `temporal` is 1 for an image tokenizer.
        video: causal video layers; without them each frame stands alone.
        channels: of a latent; for a discrete one the number of `levels`.
        levels: FSQ levels of each channel; empty for a continuous tokenizer.
        patch: of the wavelet, a part of `spatial` (and of `temporal`).
        patcher: `haar` as published; `unit-haar`, orthonormal, which small sizes learn faster from; `shuffle` for plain pixels.
        width, mult: channels of level `i` are `width * mult[i]`. `decoder_mult`: when the decoder's differ; empty for the same.
        blocks: residual blocks a level in the encoder; the decoder has `decoder_blocks`, or one more than the encoder when that is 0.
        z: channels on the network's side of the 1 x 1 convolutions at the waist.
        groups: of every norm (1: one mean and variance a frame).
        attention: with attention at the waist.
        shortcut: a linear autoencoder beside the network (see `shortcut`); for small sizes whose patch does all compression of time.
        legacy: temporal up-sampling at the decoder's first levels, as weights from before September 2024 want it.
    """

    temporal: int = 8
    spatial: int = 8
    video: bool = True
    channels: int = 16
    levels: tuple[int, ...] = ()
    patch: int = 4
    patcher: Literal["haar", "unit-haar", "shuffle"] = "haar"
    width: int = 128
    mult: tuple[int, ...] = (2, 4, 4)
    decoder_mult: tuple[int, ...] = ()
    blocks: int = 2
    decoder_blocks: int = 0
    z: int = 16
    groups: int = 1
    attention: bool = True
    shortcut: bool = False
    legacy: bool = False

    def __post_init__(self) -> None:
        levels = wavelet.levels_of(self.patch)
        space, time = wavelet.levels_of(self.spatial) - levels, wavelet.levels_of(self.temporal) - levels
        if not self.video:
            time = 0
            if self.temporal != 1:
                raise BadInput(
                    f"An image tokenizer has temporal compression 1; got {self.temporal}. Set video=True to compress time."
                )
        if space < 0 or time < 0:
            raise BadInput(
                f"A patch of {self.patch} compresses more than spatial={self.spatial}, temporal={self.temporal} allow."
            )
        if self.levels and self.channels != len(self.levels):
            raise BadInput(
                f"A discrete tokenizer has one channel for each level: levels={self.levels}, channels={self.channels}."
            )
        if self.shortcut and time:
            raise BadInput(
                f"A shortcut wants a patch that does all compression of time: patch={self.patch}, temporal={self.temporal}."
            )
        for which, plan in (("encoder", self.downs()), ("decoder", self.ups())):
            if (sum(s for s, _ in plan), sum(t for _, t in plan)) != (space, time):
                mult = self.mult if which == "encoder" or not self.decoder_mult else self.decoder_mult
                raise BadInput(
                    f"{len(mult)} levels of the {which} cannot compress {self.spatial} in space and {self.temporal} in time "
                    f"after a patch of {self.patch}. Give mult more entries or a larger patch."
                )

    @property
    def vocab(self) -> int:
        """Number of codes; 0 for a continuous tokenizer."""
        return math.prod(self.levels) if self.levels else 0

    def _halvings(self) -> tuple[int, int]:
        patch = wavelet.levels_of(self.patch)
        space = wavelet.levels_of(self.spatial) - patch
        return space, wavelet.levels_of(self.temporal) - patch if self.video else 0

    def downs(self) -> list[tuple[bool, bool]]:
        """(space, time) halved after each level of the encoder."""
        space, time = self._halvings()
        last = len(self.mult) - 1
        return [(i < space, i < time) if i < last or not self.video else (False, False) for i in range(len(self.mult))]

    def ups(self) -> list[tuple[bool, bool]]:
        """(space, time) doubled after each level of the decoder, innermost first."""
        space, time = self._halvings()
        plan = []
        num = len(self.decoder_mult or self.mult)
        for i in range(num):
            if not self.video:
                plan.append((i < space, False))
            elif i == num - 1:
                plan.append((False, False))
            elif self.legacy:
                plan.append((i < space, i < time))
            else:
                # Time is doubled one level later than it could be: cheaper, and what the published weights expect.
                late = 0 < i < time + 1
                plan.append((late or (i < space and space > time), late))
        return plan


def norm(width: int, config: TokenizerConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups, width, eps=1e-6)


def conv3(width_in: int, width_out: int, config: TokenizerConfig) -> conv.FactorizedConv | conv.Conv:
    return (conv.FactorizedConv if config.video else conv.Conv)(width_in, width_out)


class Block(nn.Module):
    """Residual block: (norm, SiLU, convolution) twice; a 1 x 1 shortcut where the width changes."""

    def __init__(self, width_in: int, width_out: int, config: TokenizerConfig) -> None:
        super().__init__()
        self.norm1 = norm(width_in, config)
        self.conv1 = conv3(width_in, width_out, config)
        self.norm2 = norm(width_out, config)
        self.conv2 = conv3(width_out, width_out, config)
        self.nin_shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)), reel)
        y = self.conv2(F.silu(self.norm2(y)), reel)
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class Attention(nn.Module):
    """One head with 1 x 1 projections and a residual: over the cells of a frame, or causally over the frames of a cell."""

    def __init__(self, width: int, config: TokenizerConfig, time: bool) -> None:
        super().__init__()
        self.time = time
        self.norm = norm(width, config)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        y = self.norm(x)
        q, k, v = self.q(y), self.k(y), self.v(y)
        return x + self.proj_out(self._over_time(q, k, v, reel) if self.time else self._over_space(q, k, v))

    @staticmethod
    def _over_space(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        height = q.shape[2]
        q, k, v = (rearrange(a, "bt d h w -> bt 1 (h w) d") for a in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return rearrange(out, "bt 1 (h w) d -> bt d h w", h=height)

    def _over_time(self, q: Tensor, k: Tensor, v: Tensor, reel: Reel) -> Tensor:
        height = q.shape[2]
        q, k, v = (rearrange(a, "(b t) d h w -> (b h w) t d", b=reel.batch) for a in (q, k, v))
        if reel.keep:
            past = reel.memory.setdefault(self, History(reel.limit))
            out = torch.cat([past.attend(*(a[:, t : t + 1] for a in (q, k, v))) for t in range(q.shape[1])], 1)
        else:
            q, k, v = (a[:, None] for a in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
        return rearrange(out, "(b h w) t d -> (b t) d h w", b=reel.batch, h=height)

    def extra_repr(self) -> str:
        return "time" if self.time else "space"


class Mid(nn.Module):
    """The waist of encoder and decoder: block, attention over space (and time), block."""

    def __init__(self, width: int, config: TokenizerConfig) -> None:
        super().__init__()
        self.block_1 = Block(width, width, config)
        kinds = ((False, True) if config.video else (False,)) if config.attention else ()
        self.attn_1 = nn.ModuleList(Attention(width, config, time) for time in kinds)
        self.block_2 = Block(width, width, config)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        x = self.block_1(x, reel)
        for attention in self.attn_1:
            x = attention(x, reel)
        return self.block_2(x, reel)


class Level(nn.Module):
    """Blocks of one resolution, then perhaps a change of it."""

    def __init__(self, width_in: int, width_out: int, blocks: int, config: TokenizerConfig) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(width_in if i == 0 else width_out, width_out, config) for i in range(blocks))
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        for block in self.block:
            x = block(x, reel)
        for change in (self.downsample, self.upsample):
            x = x if change is None else change(x, reel)
        return x


class Encoder(nn.Module):
    """Bands `b c t h w` -> `(b t) z h w`, ready for the 1 x 1 convolution at the waist."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in config.mult]
        self.conv_in = conv3(3 * config.patch ** (3 if config.video else 2), config.width, config)
        self.down = nn.ModuleList()
        before = config.width
        for width, (space, time) in zip(widths, config.downs()):
            level = Level(before, width, config.blocks, config)
            if space or time:
                level.downsample = conv.Downsample(width, space, time) if config.video else conv.ImageDownsample(width)
            self.down.append(level)
            before = width
        self.mid = Mid(before, config)
        self.norm_out = norm(before, config)
        self.conv_out = conv3(before, config.z, config)

    def forward(self, bands: Tensor, reel: Reel) -> Tensor:
        x = self.conv_in(conv.fold(bands), reel)
        for level in self.down:
            x = level(x, reel)
        return self.conv_out(F.silu(self.norm_out(self.mid(x, reel))), reel)


class Decoder(nn.Module):
    """`(b t) z h w` -> bands `b c t h w`. `up` is numbered as published: `up.0` is the outermost level and runs last."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in (config.decoder_mult or config.mult)]
        before = widths[-1]
        self.conv_in = conv3(config.z, before, config)
        self.mid = Mid(before, config)
        levels = []
        for width, (space, time) in zip(reversed(widths), config.ups()):
            level = Level(before, width, config.decoder_blocks or config.blocks + 1, config)
            if space or time:
                level.upsample = conv.Upsample(width, space, time) if config.video else conv.ImageUpsample(width)
            levels.append(level)
            before = width
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = norm(before, config)
        self.conv_out = conv3(before, 3 * config.patch ** (3 if config.video else 2), config)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        x = self.mid(self.conv_in(x, reel), reel)
        for level in reversed(self.up):
            x = level(x, reel)
        return conv.unfold(self.conv_out(F.silu(self.norm_out(x)), reel), reel.batch)


class Autoencoder(nn.Module):
    """The network itself, with gradients and without checks; `Tokenizer` is what others use.

    Shapes: video `b 3 t h w` <-> latents `b c t' h' w'`, where 1 + temporal·k frames make 1 + k latents.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.z, config.channels, 1)
        self.post_quant_conv = nn.Conv2d(config.channels, config.z, 1)
        self.decoder = Decoder(config)
        patchify, ratio = PATCHERS[config.patcher][0], config.spatial // config.patch
        self.shortcut = Shortcut(patchify, config.patch, config.video, ratio, config.channels) if config.shortcut else None
        if self.shortcut is not None:
            # The network adds nothing until it has learned something.
            out = self.decoder.conv_out
            for layer in (self.quant_conv, out.time if isinstance(out, conv.FactorizedConv) else out):
                for value in layer.parameters():
                    nn.init.zeros_(value)
        self.quantizer = FSQ(config.levels) if config.levels else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def embed(self, video: Tensor, reel: Reel | None = None) -> Tensor:
        """Video -> latents before quantisation."""
        reel = reel or Reel(len(video))
        patchify = PATCHERS[self.config.patcher][0]
        bands = patchify(video, self.config.patch, self.config.video, not reel.started)
        latents = self.quant_conv(self.encoder(bands, reel))
        if self.shortcut is not None:
            latents = latents + self.shortcut.analyse(conv.fold(bands))
        return conv.unfold(latents, reel.batch)

    def quantize(self, latents: Tensor) -> Tensor:
        """The codes a discrete tokenizer rounds to (straight-through gradient); a continuous one gives back what it got."""
        return latents if self.quantizer is None else self.quantizer(latents)

    def render(self, latents: Tensor, reel: Reel | None = None) -> Tensor:
        """Latents, or codes, -> video; not clamped."""
        reel = reel or Reel(len(latents))
        frames = conv.fold(latents)
        bands = self.decoder(self.post_quant_conv(frames), reel)
        if self.shortcut is not None:
            bands = bands + conv.unfold(self.shortcut.synthesise(frames), reel.batch)
        unpatchify = PATCHERS[self.config.patcher][1]
        return unpatchify(bands, self.config.patch, self.config.video, not reel.started)
