"""One token at a time through a small network, with as few kernel calls as it takes.

At a width of 192 a token's arithmetic takes a fraction of a millisecond and the rest is the price of calling kernels: the plain
network makes many hundred calls a token. Here queries, keys and values come from one product, gate and up from another, and a group's
query heads are the rows of one small attention. The joined weights are a copy, made anew for every decoding, so they cannot go stale;
networks above `LIMIT` parameters, where the products themselves take the time, keep the plain path.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from armillary.worlds.autoregressive.transformer import Block, Cache, Transformer

LIMIT = 200_000_000


class _Layer:
    """A block's weights, joined."""

    def __init__(self, block: Block) -> None:
        a, m = block.attention, block.mlp
        self.norm_attention, self.norm_mlp = block.norm_attention.weight, block.norm_mlp.weight
        self.qkv = torch.cat([a.to_q.weight, a.to_k.weight, a.to_v.weight])
        wide, narrow = a.config.heads, a.config.kv_heads
        gains = (a.norm_q.weight, a.norm_k.weight)
        assert gains[0] is not None and gains[1] is not None
        self.gain = torch.cat([gains[0].expand(wide, -1), gains[1].expand(narrow, -1)])  # m+g d
        self.out = a.to_out.weight
        self.gate_up = torch.cat([m.gate.weight, m.up.weight])
        self.down = m.down.weight
        self.text = block.text if block.has_text else None
        self.norm_text = block.norm_text.weight if block.has_text else None


def _normed(x: Tensor, gain: Tensor | None, eps: Tensor) -> Tensor:
    """`RMSNorm` in five small kernels instead of nine: the norm of the vector is one of them."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    x = x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt_()
    return x if gain is None else x * gain


class Stepper:
    """Reads one token for each row after what `cache` holds; equals `network(ids, cache=cache)` up to rounding.

    Float32 only; other widths of numbers keep the plain path too.

    Args:
        cache: filled by the network itself (the text included).
        mask: bool `b s`, as given to the network.
    """

    def __init__(self, network: Transformer, cache: Cache, mask: Tensor | None) -> None:
        self.network, self.cache, self.config = network, cache, network.config
        self.layers = [_Layer(block) for block in network.blocks]  # type: ignore[arg-type]
        self.mask = None if mask is None else mask[:, None, None, :]
        self.cos, self.sin, self.absolute = network.tables(network.embed.weight.device)
        half = self.config.head // 2
        # A turn pairs channel i with i + half, the first with a minus sign: fold the sign into the sines.
        self.sin = torch.cat([-self.sin[:, :half], self.sin[:, half:]], dim=-1)
        self.half = half
        self.eps = self.cos.new_tensor(self.config.eps)

    def __call__(self, ids: Tensor, extra: Tensor | None) -> Tensor:
        """Logits `b vocab` after `ids` (`b 1`); `extra` is `b 1 dim`."""
        config, cache, place = self.config, self.cache, self.cache.filled
        rows, heads, groups, width = len(ids), config.heads, config.kv_heads, config.head
        eps = self.eps
        cos, sin = self.cos[place], self.sin[place]
        x = F.embedding(ids[:, 0], self.network.embed.weight)
        if extra is not None:
            x = x + extra[:, 0]
        for i, layer in enumerate(self.layers):
            if self.absolute is not None:
                x = x + self.absolute[place]
            qkv = F.linear(_normed(x, layer.norm_attention, eps), layer.qkv).view(rows, heads + 2 * groups, width)
            qk = _normed(qkv[:, : heads + groups], layer.gain, eps)
            qk = qk * cos + qk.roll(self.half, -1) * sin
            k, v = cache.push(i, qk[:, heads:, None], qkv[:, heads + groups :, None])
            seen = F.scaled_dot_product_attention(qk[:, :heads].reshape(rows, groups, heads // groups, width), k, v)
            x = torch.addmm(x, seen.reshape(rows, heads * width), layer.out.t())
            known = cache.context.get(i)
            if layer.text is not None and known is not None:
                q = F.linear(_normed(x, layer.norm_text, eps), layer.text.to_q.weight).view(rows, groups, -1, width)
                q = _normed(q, layer.text.norm_q.weight, eps)
                seen = F.scaled_dot_product_attention(q, *known, attn_mask=self.mask)
                x = torch.addmm(x, seen.reshape(rows, heads * width), layer.text.to_out.weight.t())
            gate, up = F.linear(_normed(x, layer.norm_mlp, eps), layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, F.silu(gate) * up, layer.down.t())
        cache.filled += 1
        return F.linear(_normed(x, self.network.norm.weight, eps), self.network.head.weight)
