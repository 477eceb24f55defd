"""The autoregressive network: a decoder that says, for every video token, how likely each next token is.

Legend: `b` row, `m` query head, `g` key head, `n` token, `d` width, `L` places of the cache.

What is unusual in it (paper section 4; the published code decides where the two differ):

* Positions are three-dimensional. A head's channels are shared out to time, height and width (`nn.rope`), and YaRN (Peng et al. 2023)
  stretches time and space separately so that a network made for few frames reads more of them. The published network computes
  YaRN's attention factor and never applies it, and takes the original *height* for both spatial axes; so does this one.
* Queries share key heads (8 for 32); queries and keys are RMS-normalised head by head before they are turned, in cross-attention too.
* With `absolute`, a fixed sine-cosine table in bfloat16 precision is added before *every* block, not only once.
* With `begin`, a begin-of-video token stands in front: angle zero, a zero row of the table, and token `k` at place `k + 1`.
* With `block` above 1 an input says not the next token but the one `block` places on, and the inputs of a block see each other: a whole
  block is read and said at once, its tokens independent of each other given what came before. Not published; `docs/autoregressive.md`.
* Text enters by cross-attention whose output projection starts at zero: attached to a trained network it changes nothing at first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.nn.attention import attend
from armillary.nn.norm import RMSNorm
from armillary.nn.rope import apply_rope, rope_frequencies, rope_split, rope_tables
from armillary.types import Grid

# Embedding rows beyond the vocabulary are added for special tokens and the whole rounded up to this; the published files do so.
ROWS = 64


@dataclass(frozen=True)
class Yarn:
    """How far positions are stretched, and for what grid the network was first trained.

    Args:
        scale: how many times longer the new axis is.
        original: latent frames, height, width of that first training (width is not used, see above).
        fast, slow: turns over the original axis above which a frequency is kept and below which it is divided by `scale`.
    """

    scale: float = 2.0
    original: tuple[int, int, int] = (3, 40, 64)
    fast: float = 4.0
    slow: float = 1.0


@dataclass(frozen=True)
class TransformerConfig:
    """A size.

    Args:
        vocab: tokens the network can say; 0 in a table of sizes means the tokenizer's own number.
        heads, kv_heads: query heads and the key heads they share; `head_dim`: 0 for `dim // heads`.
        hidden: width inside the SwiGLU.
        context_dim: width of the text embeddings, 0 for none.
        begin: whether sequences start with a begin-of-video token.
        absolute: whether the sine-cosine table is added before every block.
        yarn: `None` for plain positions.
        block: how many tokens are said at once; 1 is the published network.
        flat: positions count tokens instead of latent frames, rows and columns; qk_norm: queries and keys are normed. Off and on in
            every published size; the other way round the network is a Llama.
    """

    vocab: int = 64_000
    dim: int = 4096
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 0
    hidden: int = 14_336
    context_dim: int = 0
    begin: bool = True
    absolute: bool = False
    yarn: Yarn | None = None
    theta: float = 500_000.0
    eps: float = 1e-5
    block: int = 1
    flat: bool = False
    qk_norm: bool = True

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"block is the number of tokens said at once, 1 or more; got {self.block}.")
        if self.heads % self.kv_heads or (not self.head_dim and self.dim % self.heads):
            raise BadInput(
                f"{self.heads} heads must divide the width {self.dim} and be a multiple of {self.kv_heads} key heads."
            )

    @property
    def head(self) -> int:
        return self.head_dim or self.dim // self.heads

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        return -(-(self.vocab + max(ROWS, self.block)) // ROWS) * ROWS if self.begin else self.vocab


PUBLISHED_YARN = Yarn()
SIZES: dict[str, TransformerConfig] = {
    "nano": TransformerConfig(vocab=0, dim=192, layers=6, heads=6, kv_heads=2, hidden=512, theta=10_000.0),
    "tiny": TransformerConfig(vocab=0, dim=384, layers=12, heads=6, kv_heads=2, hidden=1024, theta=10_000.0),
    "4b": TransformerConfig(begin=False),
    "5b": TransformerConfig(context_dim=1024, absolute=True),
    "12b": TransformerConfig(dim=5120, layers=40, head_dim=128, begin=False, yarn=PUBLISHED_YARN),
    "13b": TransformerConfig(dim=5120, layers=40, head_dim=128, context_dim=1024, absolute=True, yarn=PUBLISHED_YARN),
}


class Cache:
    """Keys and values of the tokens already read, and of the text.

    The room for `length` tokens is taken once; what attention sees is a slice of the `filled` part, never an empty place.

    Args:
        batch, length: rows and tokens it has room for.
    """

    def __init__(self, config: TransformerConfig, batch: int, length: int, like: Tensor) -> None:
        shape = (config.layers, batch, config.kv_heads, length, config.head)
        self.keys = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.values = torch.empty_like(self.keys)
        self.length, self.filled = length, 0
        self.context: dict[int, tuple[Tensor, Tensor]] = {}

    def push(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write `b g n d` after what is there and return all of it; `filled` moves once the last layer has written."""
        end = self.filled + k.shape[2]
        if end > self.length:
            raise BadInput(f"The cache has room for {self.length} tokens; {end} were read.")
        self.keys[layer, :, :, self.filled : end] = k
        self.values[layer, :, :, self.filled : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys: over the tokens themselves, or over text of width `context_dim`."""

    def __init__(self, config: TransformerConfig, layer: int, context_dim: int = 0) -> None:
        super().__init__()
        self.config, self.layer, self.cross = config, layer, context_dim > 0
        source, wide, narrow = context_dim or config.dim, config.heads * config.head, config.kv_heads * config.head
        self.to_q = nn.Linear(config.dim, wide, bias=False)
        self.to_k = nn.Linear(source, narrow, bias=False)
        self.to_v = nn.Linear(source, narrow, bias=False)
        self.to_out = nn.Linear(wide, config.dim, bias=False)
        self.norm_q, self.norm_k = (RMSNorm(config.head, config.eps) if config.qk_norm else nn.Identity() for _ in range(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.config.head)).transpose(1, 2)  # b n (m d) -> b m n d

    def _close(self, x: Tensor) -> Tensor:
        return self.to_out(x.transpose(1, 2).flatten(2))  # b m n d -> b n (m d)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        q = apply_rope(self.norm_q(self._heads(self.to_q(x))), cos, sin)
        k = apply_rope(self.norm_k(self._heads(self.to_k(x))), cos, sin)
        v = self._heads(self.to_v(x))
        before, n, block = (cache.filled if cache is not None else 0), q.shape[2], self.config.block
        if cache is not None:
            k, v = cache.push(self.layer, k, v)
        if n == 1:
            # One query sees everything: the heads of a group become the rows of one small product, and no key is copied.
            grouped = attend(q.squeeze(2).unflatten(1, (k.shape[1], -1)), k, v)  # b g m/g d
            return self._close(grouped.flatten(1, 2).unsqueeze(2))
        if not before and block == 1:
            return self._close(attend(q, k, v, causal=True))
        return self._close(attend(q, k, v, sight(before, n, block, x.device)))

    def read(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `b g n d` of text `b n d`."""
        return self.norm_k(self._heads(self.to_k(context))), self._heads(self.to_v(context))

    def attend_to(self, x: Tensor, context: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Cross-attention of `x` (`b n d`) to text that was `read`; `mask` is `b n`, true where there is text."""
        q = self.norm_q(self._heads(self.to_q(x)))
        return self._close(attend(q, *context, None if mask is None else mask[:, None, None, :]))


def sight(before: int, n: int, block: int, device: torch.device) -> Tensor | None:
    """Bool `n (before + n)`: which places each of the last `n` looks at, those up to the end of its own block; None for all of them."""
    if before // block == (before + n - 1) // block:
        return None
    place = torch.arange(before + n, device=device) // block
    return place[before:, None] >= place


class FeedForward(nn.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.dim, config.hidden, bias=False)
        self.up = nn.Linear(config.dim, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention, text (when there is any), feed-forward; each on a normed copy, each added."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm_attention = RMSNorm(config.dim, config.eps)
        self.attention = Attention(config, layer)
        if config.context_dim:
            self.norm_text = RMSNorm(config.dim, config.eps)
            self.text = Attention(config, layer, config.context_dim)
        self.norm_mlp = RMSNorm(config.dim, config.eps)
        self.mlp = FeedForward(config)
        self.has_text = config.context_dim > 0

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        x = x + self.attention(self.norm_attention(x), cos, sin, cache)
        if self.has_text and context is not None:
            known = cache.context.get(self.layer) if cache is not None else None
            if known is None:
                known = self.text.read(context)
                if cache is not None:
                    cache.context[self.layer] = known
            x = x + self.text.attend_to(self.norm_text(x), known, context_mask)
        return x + self.mlp(self.norm_mlp(x))


class Transformer(nn.Module):
    """The decoder.

    Args:
        grid: the largest lattice of tokens it reads at once (`v` is 1); it decides the positions.
    """

    def __init__(self, config: TransformerConfig, grid: Grid) -> None:
        super().__init__()
        if grid.h * grid.w % config.block:
            raise BadInput(f"Blocks of {config.block} tokens do not divide a latent frame of {grid.h} x {grid.w}.")
        self.config, self.grid = config, grid
        self.embed = nn.Embedding(config.rows, config.dim)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.layers))
        self.norm = RMSNorm(config.dim, config.eps)
        self.head = nn.Linear(config.dim, config.vocab, bias=False)
        self._tables: dict[torch.device, tuple[Tensor, Tensor, Tensor | None]] = {}
        self.reset()

    @property
    def places(self) -> int:
        """How many inputs there are places for."""
        return self.grid.n + self.config.block * self.config.begin

    def reset(self) -> None:
        """Random weights: normal, 0.02 wide, what writes to the residual stream narrower with depth; text silent at first."""
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                out = name.endswith(("to_out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * self.config.layers) if out else 0.02)
            if name.endswith("text.to_out.weight"):
                nn.init.zeros_(weight)

    def tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
        """Cosines and sines (`places head`) and the absolute table (`places dim` or None), made once for each device.

        They are no buffers: a cast to half precision must not round them, and a network built on the meta device has them too.
        """
        if device not in self._tables:
            with torch.inference_mode(False):  # made while decoding, they must serve training too
                cos, sin = self._turns(device)
                absolute = sine_table(self.grid, self.config.dim).to(device) if self.config.absolute else None
                if absolute is not None and self.config.begin:
                    absolute = F.pad(absolute, (0, 0, self.config.block, 0))
            self._tables[device] = (cos, sin, absolute)
        return self._tables[device]

    def _turns(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines of every place, those of the begin tokens in front."""
        head, block = self.config.head, self.config.block
        if self.config.flat:
            rate = self.config.theta ** -(torch.arange(0, head, 2, dtype=torch.float32, device=device) / head)
            angle = torch.outer(torch.arange(self.places, dtype=torch.float32, device=device), rate).repeat(1, 2)
            return angle.cos(), angle.sin()
        rates = frequencies(self.config)
        tables = rope_tables(self.grid, head, frequencies=rates, device=device)
        if not self.config.begin:
            return tables
        front = (torch.ones_like(tables[0][:1]), torch.zeros_like(tables[1][:1]))
        if block > 1:  # the last cells of a frame before the first
            still = Grid(1, 1, self.grid.h, self.grid.w)
            front = rope_tables(still, head, frequencies=rates, start=-1, device=device)
        return torch.cat([front[0][-block:], tables[0]]), torch.cat([front[1][-block:], tables[1]])

    def forward(
        self,
        ids: Tensor,
        *,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        extra: Tensor | None = None,
        cache: Cache | None = None,
        last: int = 0,
    ) -> Tensor:
        """Logits of what each input is to say, `b n vocab`; arguments and errors as for `hidden`."""
        return self.head(self.hidden(ids, context=context, context_mask=context_mask, extra=extra, cache=cache, last=last))

    def hidden(
        self,
        ids: Tensor,
        *,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        extra: Tensor | None = None,
        cache: Cache | None = None,
        last: int = 0,
    ) -> Tensor:
        """What logits are read from: the normed state of each input.

        Args:
            ids: int64 `b n`, following what the cache holds.
            context, context_mask: text `b s d`, and bool `b s` that is true somewhere in every row. With a cache the text is read
                at the first call and remembered.
            extra: `b n dim`, added to the embeddings.
            last: only that many of the last places; 0 for all.

        Returns:
            `b n dim`, or `b last dim`.

        Raises:
            BadInput: more inputs than places.
        """
        start = cache.filled if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.places:
            raise BadInput(
                f"{end} tokens do not fit into {self.places} places ({self.grid.t} x {self.grid.h} x {self.grid.w})."
            )
        cos, sin, absolute = self.tables(ids.device)
        cos, sin = cos[start:end], sin[start:end]
        x = self.embed(ids)
        if extra is not None:
            x = x + extra
        for block in self.blocks:
            if absolute is not None:
                x = x + absolute[start:end].to(x.dtype)
            x = block(x, cos, sin, context, context_mask, cache)
        if cache is not None:
            cache.filled = end
        return self.norm(x[:, -last:] if last else x)


def frequencies(config: TransformerConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Radians per step along time, height and width, YaRN's stretch included."""
    by_time, by_row, by_column = rope_frequencies(config.head, config.theta)
    if config.yarn is None:
        return by_time, by_row, by_column
    frames, height, _ = config.yarn.original
    return (
        _stretch(by_time, config.yarn, frames),
        _stretch(by_row, config.yarn, height),
        _stretch(by_column, config.yarn, height),
    )


def _stretch(frequency: Tensor, yarn: Yarn, length: int) -> Tensor:
    """Keep what turns often over `length` steps, divide by the scale what turns less than once, blend between."""
    turns = frequency * length / (2 * math.pi)
    keep = ((turns - yarn.slow) / (yarn.fast - yarn.slow)).clamp(0, 1)
    return frequency * (keep + (1 - keep) / yarn.scale)


def sine_table(grid: Grid, dim: int) -> Tensor:
    """The absolute table `n dim`: for each axis its sines then its cosines, computed in float64, of bfloat16 precision, as float32."""

    def axis(length: int, width: int) -> Tensor:
        rate = 10_000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
        angle = torch.outer(torch.arange(length, dtype=torch.float64), rate)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    t, h, w = (axis(length, width) for length, width in zip((grid.t, grid.h, grid.w), rope_split(dim)))
    shape = (grid.t, grid.h, grid.w, -1)
    table = torch.cat([t[:, None, None].expand(shape), h[None, :, None].expand(shape), w[None, None].expand(shape)], dim=-1)
    return table.reshape(grid.n, dim).to(torch.bfloat16).float()
