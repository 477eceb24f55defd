"""Attention, one function over torch's fused kernel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from armillary.errors import BadInput


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """`softmax(q k^T * scale) v` for each head.

    Args:
        q: `b m n d`; k, v: `b g s d`, where the number of key heads `g` divides `m` (grouped queries: query head `i` reads key
            head `i // (m // g)`).
        mask: bool, broadcastable to `b m n s`, true where a query may look; or a float that is added to the scores.
        causal: query `i` sees keys `0..i` (only where `n == s`); not together with `mask`.
        scale: defaults to `d ** -0.5`.

    Returns:
        `b m n d`.

    Raises:
        BadInput: when the heads do not divide.
    """
    heads, groups = q.shape[1], k.shape[1]
    if heads % groups:
        raise BadInput(f"{heads} query heads cannot share {groups} key heads evenly.")
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=heads != groups)


class History:
    """Keys and values of what came before, for attention of one new place at a time; nothing that is kept is ever copied.

    Args:
        limit: so many of the latest places are looked back on, the present one among them; 0 for all. Memory then is bounded, and results
            are those of another network as soon as there are more.
    """

    BLOCK = 16

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._blocks: list[Tensor] = []  # 2 n BLOCK d each
        self._end = 0  # places in use of the last one
        self._start = 0  # places of the first one that are not looked at any more

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`n 1 d` each, of the next place -> `n 1 d`: softmax(q kᵀ / √d) v over all places so far."""
        if not self._blocks or self._end == self.BLOCK:
            self._blocks.append(k.new_empty(2, len(k), self.BLOCK, k.shape[-1]))
            self._end = 0
        self._blocks[-1][0, :, self._end], self._blocks[-1][1, :, self._end] = k[:, 0], v[:, 0]
        self._end += 1
        if self.limit and len(self) > self.limit:
            self._start += 1
            if self._start == self.BLOCK:
                self._start = 0
                del self._blocks[0]
        last = len(self._blocks) - 1
        seen = [b[:, :, self._start * (i == 0) : self._end if i == last else self.BLOCK] for i, b in enumerate(self._blocks)]
        weights = torch.cat([torch.bmm(q, b[0].transpose(1, 2)) for b in seen], 2).mul_(q.shape[-1] ** -0.5).softmax(2)
        out = torch.zeros_like(q)
        for part, b in zip(weights.split([b.shape[2] for b in seen], 2), seen):
            out.baddbmm_(part, b[1])
        return out

    def __len__(self) -> int:
        return (len(self._blocks) - 1) * self.BLOCK + self._end - self._start if self._blocks else 0


def block_causal(frames: int, cells: int, window: int = 0, device: torch.device | str | None = None) -> Tensor:
    """Who may look at whom where a frame sees itself and earlier frames: bool `n n`, `n = frames * cells`.

    Args:
        window: frames looked back on beside one's own; 0 for all.
    """
    frame = torch.arange(frames, device=device).repeat_interleave(cells)
    back = frame[:, None] - frame[None]
    return (back >= 0) & (back <= window) if window else back >= 0


class FrameCache:
    """Keys and values of the frames before, for attention of one new frame of `n` places at a time.

    The present frame is written into its place anew at each `attend` (a sampler looks at it many times) until `keep` makes it past.
    With a window the oldest frame's place is taken: positions are in the keys, so that their order in memory does not matter.

    Args:
        window: frames looked back on beside the present one; 0 for all, and memory then grows.
    """

    def __init__(self, window: int = 0) -> None:
        self.window, self.kept = window, 0
        self._held: Tensor | None = None  # 2 b m s n d: s frames of n places

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`b m n d` each, of the present frame -> `b m n d`; not differentiable."""
        places = self.window + 1 if self.window else self.kept + 1
        slot, seen = self.kept % places, min(self.kept + 1, places)
        held = self._held
        if held is None or held.shape[3] <= slot:
            b, m, n, d = k.shape
            room = places if self.window else max(8, 2 * self.kept)
            grown = k.new_empty(2, b, m, room, n, d)
            if held is not None:
                grown[:, :, :, : held.shape[3]] = held
            held = self._held = grown
        held[0, :, :, slot], held[1, :, :, slot] = k, v
        keys, values = held[:, :, :, :seen].flatten(3, 4)
        return attend(q, keys, values)

    def keep(self) -> None:
        """The present frame becomes past."""
        self.kept += 1
