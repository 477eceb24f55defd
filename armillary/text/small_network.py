"""The network of the embedded text encoder (`small.py` says what it is for): words to tokens and a sentence vector."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.text.small import SmallConfig


@functools.lru_cache(maxsize=100_000)
def pieces(word: str, buckets: int) -> tuple[int, ...]:
    """Rows of a word's pieces; its own row, which may count more than any piece, first."""
    fenced = f"<{word}>"
    parts = [fenced, *(fenced[i : i + n] for n in (3, 4) for i in range(len(fenced) - n + 1))]
    parts += [f"^{fenced[:n]}" for n in range(4, len(fenced))]
    return tuple(zlib.crc32(p.encode()) % buckets for p in parts)


class Block(nn.Module):
    """Attention over the words, then two layers; both pre-normed, in parallel to the stream."""

    def __init__(self, c: SmallConfig) -> None:
        super().__init__()
        self.heads = c.heads
        self.first, self.second = nn.LayerNorm(c.dim), nn.LayerNorm(c.dim)
        self.qkv, self.out = nn.Linear(c.dim, 3 * c.dim), nn.Linear(c.dim, c.dim)
        self.up, self.down = nn.Linear(c.dim, c.hidden), nn.Linear(c.hidden, c.dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.first(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.out(seen.transpose(1, 2).reshape(b, n, d))
        return x + self.down(functional.gelu(self.up(self.second(x))))


class SmallNetwork(nn.Module):
    """See the module."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embed = nn.Embedding(c.buckets, c.dim)
        self.place = nn.Embedding(c.length, c.dim)
        # Which colour belongs to which shape is a matter of neighbours: told by a convolution it need not be learned by attention.
        self.near = nn.Conv1d(c.dim, c.dim, 5, padding=2)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.dim)
        self.add = nn.Linear(c.dim, 2 * c.dim)
        self.sentence = nn.Linear(2 * c.dim, c.pooled)
        # Small, so that the rows of words never met say little beside those that have learned something.
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, texts: Sequence[Sequence[str]], length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Words of `b` texts, `length` at most -> tokens `b length d`, bool mask `b length`, unit sentence vectors `b p`."""
        device = self.embed.weight.device
        rows = {w: i for i, w in enumerate(dict.fromkeys(w for t in texts for w in t[:length]))}
        mask = torch.zeros(len(texts), length, dtype=torch.bool)
        index = torch.zeros(len(texts), length, dtype=torch.long)
        for i, text in enumerate(texts):
            mask[i, : len(text)] = True
            index[i, : min(len(text), length)] = torch.tensor([rows[w] for w in text[:length]], dtype=torch.long)
        parts = [pieces(w, self.config.buckets) for w in rows] or [(0,)]
        starts = torch.tensor([0, *(len(p) for p in parts[:-1])]).cumsum(0)
        flat = torch.tensor([p for group in parts for p in group])
        table = functional.embedding_bag(flat.to(device), self.embed.weight, starts.to(device), mode="mean")
        table = table + self.embed.weight[torch.tensor([p[0] for p in parts], device=device)]
        mask, index = mask.to(device), index.to(device)
        x = table[index] + self.place.weight[:length]
        x = x * mask.unsqueeze(-1)
        x = x + functional.gelu(self.near(x.transpose(1, 2))).transpose(1, 2)
        # Where there is no text at all, attention looks at the first place rather than at nothing.
        some = mask.clone()
        some[:, 0] |= ~mask.any(1)
        for block in self.blocks:
            x = block(x, some)
        x = self.norm(x)
        added = (functional.relu(self.add(x)) * mask.unsqueeze(-1)).sum(1) / 4
        pooled = functional.normalize(self.sentence(added), dim=-1)
        return x * mask.unsqueeze(-1), mask, pooled * mask.any(1, keepdim=True)
