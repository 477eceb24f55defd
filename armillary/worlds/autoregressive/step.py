"""A few tokens at a time through a small network, with as few kernel calls as it takes; in whole numbers of eight bits if wanted.

At a width of 192 a token's arithmetic takes a fraction of a millisecond and the rest is the price of calling kernels: the plain
network makes many hundred calls a token. Here queries, keys and values come from one product, gate and up from another, and a group's
query heads are the rows of one small attention. The joined weights are a copy, made anew for every dream, so they cannot go stale;
networks above `LIMIT` parameters, where the products themselves take the time, keep the plain path.

With `int8` every product of the step reads weights of eight bits, one scale for each output, and each input row is scaled by its own
largest value and rounded to seven bits (with eight, pairs of products overflow on a CPU without VNNI). What is said differs from float32
a little; it does not depend on what else is in the batch.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.nn.norm import RMSNorm
from armillary.worlds.autoregressive.transformer import Block, Cache, Transformer, sight

LIMIT = 200_000_000
EDGE = 4  # columns added to an int8 product's input, with weights of zero: 1, -1 and two of no meaning


class Product:
    """`x W^T` of a fixed weight `o i`, for rows `r i`.

    A row's product is as fast as the weight is read, and that as its rows in memory are long: one with more outputs than inputs is kept
    turned, which reads twice as fast with one row or two and is no different with many.
    """

    def __init__(self, weight: Tensor, int8: bool) -> None:
        self.packed, self.width = None, weight.shape[1]
        turn = not int8 and len(weight) >= self.width
        self.weight = weight.detach().t().contiguous().t() if turn else weight  # `o i` either way; its strides tell the kernel
        if int8:
            self.packed = _packed(F.pad(weight.detach(), (0, EDGE)))
            self.weight = weight[:0]
            self.rooms: dict[int, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """`r i` -> `r o`."""
        if self.packed is None:
            return F.linear(x, self.weight)
        top = torch.linalg.vector_norm(x, ord=float("inf"), dim=-1, keepdim=True).clamp_(min=1e-20)
        room = self.rooms.get(len(x))
        if room is None:
            # The kernel takes one range for all rows. With 1 and -1 in every row that range is always the same, whoever is beside whom.
            room = self.rooms[len(x)] = x.new_zeros(len(x), self.width + EDGE)
            room[:, self.width], room[:, self.width + 1] = 1.0, -1.0
        torch.div(x, top, out=room[:, : self.width])
        return torch.ops.quantized.linear_dynamic(room, self.packed, True).mul_(top)

    def onto(self, rest: Tensor, x: Tensor) -> Tensor:
        """`rest + x W^T`."""
        return torch.addmm(rest, x, self.weight.t()) if self.packed is None else rest + self(x)


def _packed(weight: Tensor) -> object:
    """Eight bits and a scale for each row, laid out for the kernel."""
    scale = (weight.abs().amax(1) / 127).clamp(min=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tensor type is on its way out; the kernel has no other door
        whole = torch.quantize_per_channel(
            weight, scale.double(), torch.zeros(len(scale), dtype=torch.long), axis=0, dtype=torch.qint8
        )
        return torch.ops.quantized.linear_prepack(whole, None)


def _gain(norm: nn.Module) -> Tensor:
    assert isinstance(norm, RMSNorm) and norm.weight is not None
    return norm.weight


class _Layer:
    """A block's weights, joined."""

    def __init__(self, block: Block, int8: bool) -> None:
        a, m = block.attention, block.mlp
        self.norm_attention, self.norm_mlp = block.norm_attention.weight, block.norm_mlp.weight
        self.qkv = Product(torch.cat([a.to_q.weight, a.to_k.weight, a.to_v.weight]), int8)
        wide, narrow = a.config.heads, a.config.kv_heads
        self.gain = None  # m+g d
        if a.config.qk_norm:
            self.gain = torch.cat([_gain(a.norm_q).expand(wide, -1), _gain(a.norm_k).expand(narrow, -1)])
        self.out = Product(a.to_out.weight, int8)
        self.gate_up = Product(torch.cat([m.gate.weight, m.up.weight]), int8)
        self.down = Product(m.down.weight, int8)
        self.text = block.text if block.has_text else None
        if block.has_text:
            self.norm_text = block.norm_text.weight
            self.text_gain = _gain(block.text.norm_q) if a.config.qk_norm else None
            self.text_q, self.text_out = Product(block.text.to_q.weight, int8), Product(block.text.to_out.weight, int8)


class Joined:
    """A network's weights as a step wants them.

    Args:
        int8: products in whole numbers of eight bits.

    Raises:
        BadInput: int8 for a network that is not in float32 on a CPU, or on a machine whose torch lacks the kernel.
    """

    def __init__(self, network: Transformer, int8: bool = False) -> None:
        weight = network.embed.weight
        if int8 and (weight.dtype != torch.float32 or weight.device.type != "cpu"):
            raise BadInput(f"int8 decoding is for float32 networks on a CPU; this one is {weight.dtype} on {weight.device}.")
        if int8 and torch.backends.quantized.engine == "none":
            raise BadInput("int8 decoding wants a torch with quantized kernels (fbgemm or x86); this one has none.")
        self.network, self.int8 = network, int8
        with torch.inference_mode():
            self.layers = [_Layer(block, int8) for block in network.blocks]  # type: ignore[arg-type]
            self.head = Product(network.head.weight, int8)
        cos, sin, self.absolute = network.tables(weight.device)
        self.half = network.config.head // 2
        # A turn pairs channel i with i + half, the first with a minus sign: fold the sign into the sines.
        self.cos, self.sin = cos, torch.cat([-sin[:, : self.half], sin[:, self.half :]], dim=-1)
        self.eps = cos.new_tensor(network.config.eps)


def suits(network: Transformer) -> bool:
    """Whether joining pays: float32, and small enough for kernel calls to matter."""
    return network.embed.weight.dtype == torch.float32 and sum(p.numel() for p in network.parameters()) <= LIMIT


def _normed(x: Tensor, gain: Tensor | None, eps: Tensor) -> Tensor:
    """`RMSNorm` in five small kernels instead of nine: the norm of the vector is one of them."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    x = x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt_()
    return x if gain is None else x * gain


class Stepper:
    """Reads a few tokens for each row after what `cache` holds; equals `network.hidden(ids, cache=cache)` up to rounding (or int8).

    Float32 only; other widths of numbers keep the plain path.

    Args:
        joined: the network's weights.
        cache: filled by the network itself (the text included).
        mask: bool `b s`, as given to the network.
    """

    def __init__(self, joined: Joined, cache: Cache, mask: Tensor | None) -> None:
        self.joined, self.cache = joined, cache
        self.mask = None if mask is None else mask[:, None, None, :]

    def __call__(self, ids: Tensor, extra: Tensor | None) -> Tensor:
        """Normed states `b n d` of `ids` (`b n`); `extra` is `b n d`."""
        joined, cache = self.joined, self.cache
        network, config, eps = joined.network, joined.network.config, joined.eps
        rows, n = ids.shape
        heads, groups, width = config.heads, config.kv_heads, config.head
        start, end = cache.filled, cache.filled + n
        cos, sin = joined.cos[start:end, None], joined.sin[start:end, None]  # n 1 d
        seen = sight(start, n, config.block, ids.device)
        if seen is not None:  # the query heads of a group lie one after another, each with all its places
            seen = seen.repeat(heads // groups, 1)
        x = F.embedding(ids.flatten(), network.embed.weight)  # (b n) d
        if extra is not None:
            x = x + extra.flatten(0, 1)
        for i, layer in enumerate(joined.layers):
            if joined.absolute is not None:
                x = (x.view(rows, n, -1) + joined.absolute[start:end]).flatten(0, 1)
            qkv = layer.qkv(_normed(x, layer.norm_attention, eps)).view(rows, n, heads + 2 * groups, width)
            qk = qkv[:, :, : heads + groups]
            qk = qk if layer.gain is None else _normed(qk, layer.gain, eps)
            qk = qk * cos + qk.roll(joined.half, -1) * sin
            k, v = cache.push(i, qk[:, :, heads:].transpose(1, 2), qkv[:, :, heads + groups :].transpose(1, 2))
            q = qk[:, :, :heads].transpose(1, 2).reshape(rows, groups, -1, width)  # b g (m/g n) d
            x = layer.out.onto(x, _closed(F.scaled_dot_product_attention(q, k, v, attn_mask=seen), heads))
            known = cache.context.get(i)
            if layer.text is not None and known is not None:
                q = layer.text_q(_normed(x, layer.norm_text, eps)).view(rows, n, heads, width).transpose(1, 2)
                q = (q if layer.text_gain is None else _normed(q, layer.text_gain, eps)).reshape(rows, groups, -1, width)
                x = layer.text_out.onto(x, _closed(F.scaled_dot_product_attention(q, *known, attn_mask=self.mask), heads))
            gate, up = layer.gate_up(_normed(x, layer.norm_mlp, eps)).chunk(2, -1)
            x = layer.down.onto(x, F.silu(gate) * up)
        cache.filled = end
        return _normed(x, network.norm.weight, eps).view(rows, n, -1)

    def say(self, states: Tensor) -> Tensor:
        """Logits of normed states `... d`."""
        return self.joined.head(states.flatten(0, -2)).unflatten(0, states.shape[:-1])


def _closed(x: Tensor, heads: int) -> Tensor:
    """`b g (m/g n) d` -> `(b n) (m d)`."""
    rows, _, _, width = x.shape
    return x.reshape(rows, heads, -1, width).transpose(1, 2).reshape(-1, heads * width)
