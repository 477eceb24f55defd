"""The published network as it samples: the same numbers to float32 rounding, in fewer passes over memory.

What does not change between the steps of a sample is worked out once: keys and values of the text, the angles of the rotary positions, the
learned positions. The rest is folded: queries, keys and values leave one product; the channels of a head are reordered so that the two that
turn together lie side by side, and turning is one complex product; where all frames stand at one noise level its shift and scale go into
the norm. Reordering does not change a score, for queries and keys are reordered alike. Of few tokens a product is taken as `(W xᵀ)ᵀ`,
which on a CPU reads the weights in the order they lie.

A snapshot: weights that change later are not seen. It holds a copy of the weights that make queries, keys and values of the latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from armillary.nn.attention import attend
from armillary.nn.rope import rope_tables
from armillary.types import Grid
from armillary.worlds.diffusion.dit import AdaLN, Attention, Block, DiT, modulated

EPS = 1e-6
FEW = 128  # tokens
LARGE = 500_000_000  # parameters


@dataclass(frozen=True)
class Read:
    """Text as the blocks read it: keys and values `b m s d` of each; `(b v)` where each view reads its own."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class FastDiT:
    """Args:
    network: whose weights these are; left as it is, and used for what this cannot do faster.
    """

    def __init__(self, network: DiT) -> None:
        self.network = network
        c = network.config
        self.width = c.dim // c.heads
        # Channel i and i + d/2 of a head turn together: bring them side by side.
        self.order = torch.arange(self.width).view(2, -1).T.flatten()
        self.mixed = [self._mixed(block.attn) for block in network.blocks]  # type: ignore[arg-type]
        self._tables: dict[tuple, tuple[Tensor, Tensor | None]] = {}

    @staticmethod
    def serves(network: DiT) -> bool:
        """Whether this says what `network` would.

        Not of one whose layers were hooked (an adapter), wrapped or exchanged, which weights do not show; not of a causal one, whose
        frames do not all see each other; and not where a copy of a sixth of the weights might not fit, or off the CPU.
        """
        return (
            network.patch.weight.device.type == "cpu"
            and not network.config.causal
            and sum(p.numel() for p in network.parameters()) < LARGE
            and all(type(b) is Block and b.attn.attend is attend for b in network.blocks)
            and not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
        )

    def _mixed(self, attn: Attention) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of queries, keys and values in one, and the gains of the two norms, reordered."""
        order = self.order.to(attn.q.weight.device)

        def reordered(weight: Tensor) -> Tensor:
            return rearrange(weight, "(m d) e -> m d e", m=attn.heads)[:, order].flatten(0, 1)

        whole = torch.cat([reordered(attn.q.weight), reordered(attn.k.weight), attn.v.weight]).detach()
        gains = [n.weight.detach()[order] for n in (attn.norm_q, attn.norm_k)]  # type: ignore[union-attr]
        return whole, gains[0], gains[1]

    def read(self, context: Tensor | None, b: int, like: Tensor) -> Read | None:
        """What the blocks take from text `b s e` or `b v s e`; none given is one token of zeros, as in the network."""
        net = self.network
        if not net.text_dim:
            return None
        context = like.new_zeros(b, 1, net.text_dim) if context is None else context
        context = context.flatten(0, 1) if context.ndim == 4 else context
        if net.project is not None:
            context = F.gelu(net.project(context))
        keys, values = [], []
        for block in net.blocks:
            cross: Attention = block.cross  # type: ignore[assignment]
            keys.append(cross.norm_k(rearrange(cross.k(context), "b s (m d) -> b m s d", m=cross.heads)))
            values.append(rearrange(cross.v(context), "b s (m d) -> b m s d", m=cross.heads))
        return Read(tuple(keys), tuple(values))

    def _at(self, grid: Grid, rate: float | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Complex turns `n d/2` and the learned positions `1 t (h w) d` of a grid."""
        key = (grid, rate, like.device, like.dtype)
        if key not in self._tables:
            c = self.network.config
            cos, sin = rope_tables(grid, self.width, ratios=c.ratios, fps=rate, base_fps=c.base_fps, device=like.device)
            half = self.width // 2
            turns = torch.complex(cos[:, :half].contiguous(), sin[:, :half].contiguous())
            position = self.network.position(grid, 0, like.device)
            self._tables = {key: (turns, position)}
        return self._tables[key]

    @torch.no_grad()
    def __call__(
        self,
        noisy: Tensor,
        c_noise: Tensor,
        context: Tensor | Read | None = None,
        given: Tensor | None = None,
        padding: Tensor | None = None,
        actions: Tensor | None = None,
        has_action: Tensor | None = None,
        fps: Tensor | None = None,
        modulation: Tensor | None = None,
        channels: Tensor | None = None,
        views: int = 1,
    ) -> Tensor:
        """See `DiT.forward`; `context` may have been read beforehand."""
        net, c = self.network, self.network.config
        b, _, t, h, w = noisy.shape
        p = c.patch
        grid = net.grid(t, h, w, views=views)
        x = net.embed(noisy, given, padding, channels)
        level, shared = net.levels(x, c_noise, actions, has_action, modulation)
        turns, position = self._at(grid, net.rate(fps), x)
        told = context if isinstance(context, Read) else self.read(context, b, x)
        for i, block in enumerate(net.blocks):
            assert isinstance(block, Block)
            x = self._block(block, i, x, level, shared, told, turns, position)
        shift, scale = net.final_mod(level, shared)
        x = net.final(_modulated(x, shift, scale))
        return rearrange(x, "b t (h w) (p q c) -> b c t (h p) (w q)", h=grid.h, p=p, q=p)

    def _block(
        self,
        block: Block,
        i: int,
        x: Tensor,
        level: Tensor,
        shared: Tensor,
        told: Read | None,
        turns: Tensor,
        position: Tensor | None,
    ) -> Tensor:
        t, m = x.shape[1], block.attn.heads
        if position is not None:
            x = x + position
        shift, scale, gate = _levels(block.attn_mod, level, shared)
        whole, gain_q, gain_k = self.mixed[i]
        y = _product(_modulated(x, shift, scale).flatten(1, 2), whole)
        q, k, v = rearrange(y, "b n (s m d) -> s b n m d", s=3, m=m)
        q, k = self._turned(q, gain_q, turns), self._turned(k, gain_k, turns)
        y = _product(rearrange(attend(q, k, v.transpose(1, 2)), "b m n d -> b n (m d)"), block.attn.out.weight)
        x = torch.addcmul(x, gate, y.unflatten(1, (t, -1)))
        if told is not None:
            cross: Attention = block.cross  # type: ignore[assignment]
            shift, scale, gate = _levels(block.cross_mod, level, shared)  # type: ignore[arg-type]
            y = _product(_modulated(x, shift, scale).flatten(1, 2), cross.q.weight)
            y = y.reshape(len(told.keys[i]), -1, m, self.width)  # of each view, where it reads its own
            q = F.rms_norm(y, (self.width,), cross.norm_q.weight, EPS).transpose(1, 2)
            y = _product(rearrange(attend(q, told.keys[i], told.values[i]), "b m n d -> b n (m d)"), cross.out.weight)
            x = torch.addcmul(x, gate, y.reshape(len(x), t, -1, y.shape[-1]))
        shift, scale, gate = _levels(block.mlp_mod, level, shared)
        y = F.gelu(_product(_modulated(x, shift, scale), block.mlp.up.weight))
        return torch.addcmul(x, gate, _product(y, block.mlp.down.weight))

    def _turned(self, x: Tensor, gain: Tensor, turns: Tensor) -> Tensor:
        """`b n m d` normed and turned, `b m n d`."""
        y = F.rms_norm(x, (self.width,), gain, EPS).float().unflatten(-1, (-1, 2))
        return torch.view_as_real(torch.view_as_complex(y) * turns[:, None]).flatten(-2).to(x.dtype).transpose(1, 2)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """As in the network; one pass where all of `x` has the same shift and scale."""
    if shift.numel() == shift.shape[-1]:
        return F.layer_norm(x, x.shape[-1:], (1 + scale).flatten(), shift.flatten(), eps=EPS)
    return modulated(x, shift, scale)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x wᵀ` over the last axis."""
    rows = x.numel() // x.shape[-1]
    if rows > FEW or x.device.type != "cpu":
        return F.linear(x, weight)
    return torch.mm(weight, x.reshape(rows, -1).t()).t().unflatten(0, x.shape[:-1])


def _levels(mod: AdaLN, level: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
    """`AdaLN.forward`."""
    out = _product(_product(F.silu(level), mod.down.weight), mod.up.weight) + shared[..., : mod.parts * level.shape[-1]]
    return out[:, :, None].chunk(mod.parts, dim=-1)
