"""The published network: a diffusion transformer over all latent frames of a clip at once (the paper's section on the diffusion world).

Unusual in it, and kept exactly:

* The noise level acts through AdaLN-LoRA. The *raw* sinusoid of `c_noise`, RMS-normed, goes through a narrow bottleneck of each
  sub-layer; the usual two-layer network of the sinusoid gives one 3D-wide vector which is added to **every** sub-layer's shift, scale
  and gate. That saves a third of the weights a full AdaLN would take.
* Rotary positions in 3-D inside self-attention (time counted in ticks of 24 a second, each axis with its own NTK stretch) **and** a
  learned position for each axis, summed, divided by its RMS, added anew before **every** block.
* Queries and keys are RMS-normed per head; there is no bias anywhere; text is not masked (its padding is zeros).
* Patches are flattened `(c t h w)` on the way in and `(h w t c)` on the way out.

The later generation (Predict2) has no learned positions, counts frames whatever their rate (`base_fps=0`), may tell every frame its own
noise level (`c_noise` of `b t`), and from 2.5 on brings a wide text token down to the width that is read (`project`).

Ours: `causal` lets a frame look at itself and at earlier frames only. A frame's keys and values then do not depend on what comes, so that
they may be kept (`FrameCache`) and one further frame costs one frame. `causal.py` makes a world of it.

Several views ride on the frame axis as `(v t)`. Every token looks at all views; positions are those within a view; text of `b v s e` is
read by each view for itself. Which view a token is of, only a condition at the `channels` port says.

    b batch   c channel   v view   t frame   h w cell, then patch   n token = v t h w   s text token   d width   m head
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from armillary.errors import BadInput
from armillary.nn.attention import FrameCache, attend, block_causal
from armillary.nn.norm import RMSNorm
from armillary.nn.rope import apply_rope, rope_tables
from armillary.types import Grid
from armillary.worlds.diffusion.positions import Absolute, sincos, sinusoid


@dataclass(frozen=True)
class DiTConfig:
    """Args:
    dim, layers, heads: width, blocks, attention heads.
    lora: width of the AdaLN bottleneck.
    given: with a plane that marks the frames that are given (video to world); padding: with a plane that marks padded pixels.
    patch: cells of the latent, along h and w, that make a token.
    ratios: NTK stretch of the rotary positions (t, h, w).
    absolute: with learned positions, for up to `limit` tokens along (t, h, w); sincos: with sines and cosines in their place.
    base_fps: ticks of time a second; 0 counts frames whatever their rate.
    project: width that a text token is brought to, with a GELU, before blocks read it; 0 reads it as it is.
    action_level: an action also moves the sinusoid of the noise level, as in the published action world.
    causal: a frame looks at itself and earlier frames; `window`: so many of them, 0 for all.
    """

    dim: int
    layers: int
    heads: int
    lora: int = 256
    given: bool = True
    padding: bool = True
    patch: int = 2
    ratios: tuple[float, float, float] = (1.0, 1.0, 1.0)
    absolute: bool = True
    sincos: bool = False
    limit: tuple[int, int, int] = (128, 120, 120)
    base_fps: float = 24.0
    project: int = 0
    action_level: bool = False
    causal: bool = False
    window: int = 0

    def __post_init__(self) -> None:
        if self.window < 0 or (self.window and not self.causal):
            raise BadInput(f"A window is a number of frames that a causal network looks back on; got window={self.window}.")
        if self.absolute and self.sincos:
            raise BadInput("Positions are learned or sines and cosines: with sincos=true set absolute=false.")


class AdaLN(nn.Module):
    """The bottleneck that gives `parts` vectors (shift, scale and, in a block, gate); `up` starts at zero."""

    def __init__(self, dim: int, lora: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.down = nn.Linear(dim, lora, bias=False)
        self.up = nn.Linear(lora, parts * dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, level: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
        """level `b 1|t d`, shared `b 1|t 3d` -> `parts` of `b 1|t 1 d`, to broadcast over `b t (h w) d`."""
        out = self.up(self.down(F.silu(level))) + shared[..., : self.parts * level.shape[-1]]
        return out[:, :, None].chunk(self.parts, dim=-1)


class Attention(nn.Module):
    """Queries of `x`, keys and values of `context` (or of `x` itself), normed per head."""

    def __init__(self, dim: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(context_dim, dim, bias=False)
        self.v = nn.Linear(context_dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_q, self.norm_k = RMSNorm(dim // heads), RMSNorm(dim // heads)
        self.attend = attend  # may be exchanged from outside, for one that computes the same

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        rope: tuple[Tensor, Tensor] | None = None,
        look: Tensor | FrameCache | None = None,
    ) -> Tensor:
        """x `b n d`, context `b s e` -> `b n d`; look: a mask `n s`, or the frames before the one that `x` is."""
        other = x if context is None else context
        q = self.norm_q(rearrange(self.q(x), "b n (m d) -> b m n d", m=self.heads))
        k = self.norm_k(rearrange(self.k(other), "b s (m d) -> b m s d", m=self.heads))
        v = rearrange(self.v(other), "b s (m d) -> b m s d", m=self.heads)
        if rope is not None:
            q, k = apply_rope(q, *rope), apply_rope(k, *rope)
        if isinstance(look, FrameCache):
            mixed = look.attend(q, k, v)
        else:
            mixed = self.attend(q, k, v) if look is None else self.attend(q, k, v, look)
        return self.out(rearrange(mixed, "b m n d -> b n (m d)"))


class MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, 4 * dim, bias=False)
        self.down = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Self-attention, cross-attention (where the world reads text), MLP; each `x += gate * f(LN(x) * (1 + scale) + shift)`."""

    def __init__(self, dim: int, heads: int, lora: int, text_dim: int) -> None:
        super().__init__()
        self.attn, self.attn_mod = Attention(dim, heads, dim), AdaLN(dim, lora, 3)
        self.cross = Attention(dim, heads, text_dim) if text_dim else None
        self.cross_mod = AdaLN(dim, lora, 3) if text_dim else None
        self.mlp, self.mlp_mod = MLP(dim), AdaLN(dim, lora, 3)

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        shared: Tensor,
        context: Tensor | None,
        rope: tuple[Tensor, Tensor],
        position: Tensor | None,
        look: Tensor | FrameCache | None = None,
    ) -> Tensor:
        """x `b (v t) (h w) d`; context `b s e`, or `b v s e` where each view reads its own; position, where there is one,
        `1 (v t) (h w) d`; look: of self-attention.
        """
        t = x.shape[1]
        if position is not None:
            x = x + position
        shift, scale, gate = self.attn_mod(level, shared)
        y = rearrange(modulated(x, shift, scale), "b t n d -> b (t n) d")
        x = x + gate * rearrange(self.attn(y, rope=rope, look=look), "b (t n) d -> b t n d", t=t)
        if self.cross is not None and self.cross_mod is not None:
            shift, scale, gate = self.cross_mod(level, shared)
            v = context.shape[1] if context is not None and context.ndim == 4 else 1
            y = rearrange(modulated(x, shift, scale), "b (v t) n d -> (b v) (t n) d", v=v)
            told = context.flatten(0, 1) if context is not None and context.ndim == 4 else context
            x = x + gate * rearrange(self.cross(y, told), "(b v) (t n) d -> b (v t) n d", v=v, t=t // v)
        shift, scale, gate = self.mlp_mod(level, shared)
        return x + gate * self.mlp(modulated(x, shift, scale))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def _acted(action_dim: int, dim: int, out: int) -> nn.Sequential:
    """What an action adds; nothing at first."""
    last = nn.Linear(4 * dim, out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(action_dim, 4 * dim), nn.GELU("tanh"), last)


class DiT(nn.Module):
    """Args:
    channels: of a latent; text_dim: width of a text token, 0 for a world that reads none.
    action_dim: numbers that lead to a latent frame, 0 for none; `Linear(a, 4d), GELU, Linear(4d, 3d)` is added to the shared vector
        of that frame, and with `action_level` another such network, to width d, to its sinusoid.
    """

    def __init__(self, config: DiTConfig, channels: int, text_dim: int = 0, action_dim: int = 0) -> None:
        super().__init__()
        c, dim = config, config.dim
        if dim % (2 * c.heads):
            raise BadInput(f"{c.heads} heads of even width do not fit into a network of width {dim}.")
        self.config, self.channels, self.text_dim = config, channels, text_dim
        into = (channels + c.given + c.padding) * c.patch**2
        self.patch = nn.Linear(into, dim, bias=False)
        self.absolute = Absolute(dim, c.limit) if c.absolute else None
        self.level_norm = RMSNorm(dim)
        self.level_1 = nn.Linear(dim, dim, bias=False)
        self.level_2 = nn.Linear(dim, 3 * dim, bias=False)
        self.action = _acted(action_dim, dim, 3 * dim) if action_dim else None
        self.action_level = _acted(action_dim, dim, dim) if action_dim and c.action_level else None
        self.project = nn.Linear(text_dim, c.project) if text_dim and c.project else None
        read = c.project if self.project is not None else text_dim
        self.blocks = nn.ModuleList(Block(dim, c.heads, c.lora, read) for _ in range(c.layers))
        self.final_mod = AdaLN(dim, c.lora, 2)
        self.final = nn.Linear(dim, channels * c.patch**2, bias=False)
        nn.init.zeros_(self.final.weight)

    def forward(
        self,
        noisy: Tensor,
        c_noise: Tensor,
        context: Tensor | None = None,
        given: Tensor | None = None,
        padding: Tensor | None = None,
        actions: Tensor | None = None,
        has_action: Tensor | None = None,
        fps: Tensor | None = None,
        modulation: Tensor | None = None,
        channels: Tensor | None = None,
        past: Sequence[FrameCache] | None = None,
        views: int = 1,
    ) -> Tensor:
        """One evaluation.

        Args:
            noisy: `b c t h w`, already scaled by `c_in`; c_noise: `b`, or `b t` for frames of different levels.
            context: `b s text_dim`, zeros where there is no text; `b v s text_dim` for a text of each view.
            given: `b 1 t h w`, 1 on frames that are given; padding: `b 1 H W` in pixels or cells, 1 where the picture was padded.
            actions: `b t a`, normalised, the one that leads to each frame; has_action: `b t`, 0 where there is none.
            fps: `b`, one rate for the whole batch; `None` counts frames (a still image).
            modulation: `b 3d` or `b t 3d`, port, added to the shared vector.
            channels: `b d t h/p w/p`, port, added to the embedded latent (what more input channels would add).
            past: of a causal network that is given one frame: what it looks back on, one for each block (`caches`).
            views: how many ride on `t`, here and in every other argument.

        Returns:
            `b c t h w`.

        Raises:
            BadInput: a latent that patches do not tile, one too large for the learned positions, frame rates that differ, or a past that
                does not fit.
        """
        cfg = self.config
        b, _, t, h, w = noisy.shape
        if past is not None and (not cfg.causal or t != 1):
            raise BadInput(f"A past goes with one frame of a causal network; got {t} frames, causal={cfg.causal}.")
        start = past[0].kept if past else 0
        grid = self.grid(t, h, w, start, views)
        x = self.embed(noisy, given, padding, channels)
        level, shared = self.levels(x, c_noise, actions, has_action, modulation)
        rope = rope_tables(
            grid,
            cfg.dim // cfg.heads,
            ratios=cfg.ratios,
            fps=self.rate(fps),
            base_fps=cfg.base_fps,
            start=start,
            device=x.device,
        )
        position = self.position(grid, start, x.device)
        if self.text_dim and context is None:
            context = x.new_zeros(b, 1, self.text_dim)
        if self.project is not None and context is not None:
            context = F.gelu(self.project(context))
        mask = block_causal(t, grid.h * grid.w, cfg.window, x.device) if cfg.causal and t > 1 else None
        for i, block in enumerate(self.blocks):
            x = block(x, level, shared, context, rope, position, mask if past is None else past[i])
        shift, scale = self.final_mod(level, shared)
        x = self.final(modulated(x, shift, scale))
        return rearrange(x, "b t (h w) (p q c) -> b c t (h p) (w q)", h=grid.h, p=cfg.patch, q=cfg.patch)

    def caches(self) -> list[FrameCache]:
        """An empty past, to be filled one frame at a time."""
        return [FrameCache(self.config.window) for _ in self.blocks]

    def position(self, grid: Grid, start: int, device: torch.device) -> Tensor | None:
        """What is added before every block, `1 (v t) (h w) d`."""
        if self.absolute is not None:
            return self.absolute(grid, start)
        return sincos(self.config.dim, grid, start, device) if self.config.sincos else None

    def grid(self, t: int, h: int, w: int, start: int = 0, views: int = 1) -> Grid:
        """The tokens of a latent of that many frames (of `views`, from `start` on), rows and columns of cells; raises as `forward`."""
        cfg, p = self.config, self.config.patch
        if h % p or w % p:
            raise BadInput(f"Latents of {h} by {w} cells are not tiled by patches of {p}.")
        if views < 1 or t % views or (views > 1 and cfg.causal):
            what = "a causal network takes one view" if cfg.causal else "each has as many frames"
            raise BadInput(f"{views} views do not ride on {t} latent frames: {what}.")
        grid = Grid(views, t // views, h // p, w // p)
        if self.absolute is not None and (start + grid.t > cfg.limit[0] or grid.h > cfg.limit[1] or grid.w > cfg.limit[2]):
            raise BadInput(
                f"This network knows positions for {cfg.limit} tokens (t, h, w); got {(start + grid.t, grid.h, grid.w)}."
            )
        return grid

    def embed(self, noisy: Tensor, given: Tensor | None, padding: Tensor | None, channels: Tensor | None) -> Tensor:
        """The latent with its planes as tokens, `b t (h w) d`."""
        cfg, p = self.config, self.config.patch
        b, _, t, h, w = noisy.shape
        x = noisy
        if cfg.given:
            x = torch.cat([x, (noisy.new_zeros(b, 1, t, h, w) if given is None else given.to(noisy.dtype))], dim=1)
        if cfg.padding:
            plane = (
                noisy.new_zeros(b, 1, h, w)
                if padding is None
                else F.interpolate(padding.to(noisy.dtype), (h, w), mode="nearest")
            )
            x = torch.cat([x, repeat(plane, "b 1 h w -> b 1 t h w", t=t)], dim=1)
        x = self.patch(rearrange(x, "b c t (h p) (w q) -> b t (h w) (c p q)", p=p, q=p))
        return x if channels is None else x + rearrange(channels, "b d t h w -> b t (h w) d")

    def levels(
        self, x: Tensor, c_noise: Tensor, actions: Tensor | None, has_action: Tensor | None, modulation: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What AdaLN reads: the normed sinusoid `b 1|t d` and the shared vector `b 1|t 3d`, in `x`'s precision."""
        each = c_noise if c_noise.ndim == 2 else c_noise[:, None]  # b 1|t
        wave = sinusoid(each.flatten(), self.config.dim).to(x.dtype).unflatten(0, each.shape)
        shared = self.level_2(F.silu(self.level_1(wave)))
        if self.action is not None and actions is not None:
            there = 1 if has_action is None else has_action[..., None]
            shared = shared + self.action(actions) * there
            if self.action_level is not None:
                wave = wave + self.action_level(actions) * there
        if modulation is not None:
            shared = shared + (modulation if modulation.ndim == 3 else modulation[:, None])
        return self.level_norm(wave), shared

    def rate(self, fps: Tensor | None) -> float | None:
        """Frames a second that rotary positions count by, `None` where they count frames."""
        if fps is None or not self.config.base_fps:
            return None
        if not bool((fps == fps[0]).all()):
            raise BadInput(f"One batch wants one frame rate; got {sorted(set(fps.tolist()))}.")
        return float(fps[0])
