"""The published network as it samples: the same numbers to float32 rounding, in fewer passes over memory.

What does not change between the steps of a sample is worked out once: keys and values of the text, the angles of the rotary positions, the
learned positions. The rest is folded: queries, keys and values leave one product; the channels of a head are reordered so that the two that
turn together lie side by side, and turning is one complex product; where all frames stand at one noise level its shift and scale go into
the norm. Reordering does not change a score, for queries and keys are reordered alike. The weights of every block are laid out as the
kernel reads them (`nn/packed.py`).

A snapshot, and a copy of the weights: those that change later are not seen. `Kept` has one that is made anew when they did.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from armillary.nn.attention import attend
from armillary.nn.packed import Packed
from armillary.nn.rope import rope_tables
from armillary.types import Grid
from armillary.worlds.diffusion.dit import AdaLN, Attention, Block, DiT, modulated

EPS = 1e-6
LARGE = 500_000_000  # parameters; twice as many take up memory


@dataclass(frozen=True)
class Read:
    """Text as the blocks read it: keys and values `b m s d` of each; `(b v)` where each view reads its own."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class _Levels:
    """`AdaLN` with its weights packed."""

    def __init__(self, mod: AdaLN) -> None:
        self.parts, self.down, self.up = mod.parts, Packed(mod.down.weight), Packed(mod.up.weight)

    def __call__(self, level: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
        out = self.up(self.down(F.silu(level))) + shared[..., : self.parts * level.shape[-1]]
        return out[:, :, None].chunk(self.parts, dim=-1)


class _Cross:
    """Attention to text, its weights packed."""

    def __init__(self, attn: Attention, mod: AdaLN) -> None:
        self.heads, self.mod, self.norm_k = attn.heads, _Levels(mod), attn.norm_k
        self.q, self.k, self.v, self.out = (Packed(x.weight) for x in (attn.q, attn.k, attn.v, attn.out))
        self.gain = attn.norm_q.weight.detach()  # type: ignore[union-attr]


class _Block:
    """A block's weights, joined and packed; `order` brings the two channels of a head that turn together side by side."""

    def __init__(self, block: Block, order: Tensor) -> None:
        attn = block.attn

        def reordered(weight: Tensor) -> Tensor:
            return rearrange(weight, "(m d) e -> m d e", m=attn.heads)[:, order].flatten(0, 1)

        self.mod, self.mlp_mod = _Levels(block.attn_mod), _Levels(block.mlp_mod)
        self.qkv = Packed(torch.cat([reordered(attn.q.weight), reordered(attn.k.weight), attn.v.weight]))
        self.gain_q, self.gain_k = (n.weight.detach()[order] for n in (attn.norm_q, attn.norm_k))  # type: ignore[union-attr]
        self.out, self.up, self.down = Packed(attn.out.weight), Packed(block.mlp.up.weight), Packed(block.mlp.down.weight)
        self.cross = None if block.cross is None or block.cross_mod is None else _Cross(block.cross, block.cross_mod)


class FastDiT:
    """Args:
    network: whose weights these are; left as it is, and used for what this cannot do faster.
    """

    def __init__(self, network: DiT) -> None:
        self.network = network
        c = network.config
        self.heads, self.width = c.heads, c.dim // c.heads
        # Channel i and i + d/2 of a head turn together.
        order = torch.arange(self.width, device=network.patch.weight.device).view(2, -1).T.flatten()
        with torch.no_grad():
            self.blocks = [_Block(block, order) for block in network.blocks]  # type: ignore[arg-type]
        self._tables: dict[tuple, tuple[Tensor, Tensor | None]] = {}

    @staticmethod
    def serves(network: DiT) -> bool:
        """Whether this says what `network` would.

        Not of one whose layers were hooked (an adapter), wrapped or exchanged, which weights do not show; not of a causal one, whose
        frames do not all see each other; and not where a copy of the weights might not fit, or off the CPU.
        """
        return (
            network.patch.weight.device.type == "cpu"
            and not network.config.causal
            and sum(p.numel() for p in network.parameters()) < LARGE
            and all(type(b) is Block and b.attn.attend is attend for b in network.blocks)
            and not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
        )

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
        for block in self.blocks:
            cross = block.cross
            assert cross is not None
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
        for i, block in enumerate(self.blocks):
            text = None if told is None else (told.keys[i], told.values[i])
            x = self._block(block, x, level, shared, text, turns, position)
        shift, scale = net.final_mod(level, shared)
        x = net.final(_modulated(x, shift, scale))
        return rearrange(x, "b t (h w) (p q c) -> b c t (h p) (w q)", h=grid.h, p=p, q=p)

    def _block(
        self,
        block: _Block,
        x: Tensor,
        level: Tensor,
        shared: Tensor,
        text: tuple[Tensor, Tensor] | None,
        turns: Tensor,
        position: Tensor | None,
    ) -> Tensor:
        t, m = x.shape[1], self.heads
        if position is not None:
            x = x + position
        shift, scale, gate = block.mod(level, shared)
        y = block.qkv(_modulated(x, shift, scale).flatten(1, 2))
        q, k, v = rearrange(y, "b n (s m d) -> s b n m d", s=3, m=m)
        q, k = self._turned(q, block.gain_q, turns), self._turned(k, block.gain_k, turns)
        y = block.out(rearrange(attend(q, k, v.transpose(1, 2)), "b m n d -> b n (m d)"))
        x = torch.addcmul(x, gate, y.unflatten(1, (t, -1)))
        if text is not None:
            cross = block.cross
            assert cross is not None
            shift, scale, gate = cross.mod(level, shared)
            y = cross.q(_modulated(x, shift, scale).flatten(1, 2))
            y = y.reshape(len(text[0]), -1, m, self.width)  # of each view, where it reads its own
            q = F.rms_norm(y, (self.width,), cross.gain, EPS).transpose(1, 2)
            y = cross.out(rearrange(attend(q, *text), "b m n d -> b n (m d)"))
            x = torch.addcmul(x, gate, y.reshape(len(x), t, -1, y.shape[-1]))
        shift, scale, gate = block.mlp_mod(level, shared)
        return torch.addcmul(x, gate, block.down(block.up(_modulated(x, shift, scale), gelu=True)))

    def _turned(self, x: Tensor, gain: Tensor, turns: Tensor) -> Tensor:
        """`b n m d` normed and turned, `b m n d`."""
        y = F.rms_norm(x, (self.width,), gain, EPS).float().unflatten(-1, (-1, 2))
        return torch.view_as_real(torch.view_as_complex(y) * turns[:, None]).flatten(-2).to(x.dtype).transpose(1, 2)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """As in the network; one pass where all of `x` has the same shift and scale."""
    if shift.numel() == shift.shape[-1]:
        return F.layer_norm(x, x.shape[-1:], (1 + scale).flatten(), shift.flatten(), eps=EPS)
    return modulated(x, shift, scale)


class Kept:
    """The fast twin of a network for as long as its weights stay what they are; a copy of this keeps none."""

    def __init__(self) -> None:
        self._twin: tuple[tuple, FastDiT] | None = None

    def of(self, network: DiT) -> FastDiT:
        now = _print(network)
        if self._twin is None or self._twin[0] != now:
            self._twin = None  # before the new one is made: both might not fit
            self._twin = now, FastDiT(network)
        return self._twin[1]

    def __deepcopy__(self, memo: dict) -> Kept:
        return Kept()


def _print(network: DiT) -> tuple:
    """What is another as soon as a weight is: where each lies, how often it was written, and a few of its numbers.

    The numbers are for what torch does not count: writing to `.data`, and tensors made in inference mode.
    """
    own = list(network.parameters())
    few = torch.stack([p.detach().flatten()[:: max(1, p.numel() // 8)][:8].double().sum() for p in own]).tolist()
    return tuple((p.data_ptr(), -1 if p.is_inference() else p._version, x) for p, x in zip(own, few))
