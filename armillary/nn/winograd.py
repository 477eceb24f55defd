"""Convolutions of three taps by Winograd's minimal filtering: the same sums with fewer multiplications, for wide layers on a CPU.

F(2, 3) gives two neighbouring outputs of a 3-tap filter from four products instead of six; over height and width, four outputs of a
3 x 3 filter from sixteen products for each pair of channels instead of thirty-six. What is left is one batch of matrix products, plus
additions, which pay only where there are many channels. Work goes in blocks whose intermediate values stay in the cache: without that
the additions eat the gain.

The transforms are sums and halves, so that results differ from a direct sum by rounding alone, and no more than it errs itself.
Source: Lavin & Gray 2015, «Fast Algorithms for Convolutional Neural Networks».
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Below these, a direct convolution is as fast: channels in and out, and tiles of a call.
LEAST_CHANNELS, LEAST_TILES = 192, 48
# Bytes of the transformed input of one block.
BLOCK = 8 << 20


def pays(weight: Tensor) -> bool:
    """Whether a layer with this weight `out in ...` is wide enough, on a device and in a type that this is for."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and min(weight.shape[:2]) >= LEAST_CHANNELS


def _filter(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The three taps of a filter -> the four that meet the combinations of `_into`, on a new first axis."""
    ends, middle = (a + c) * 0.5, b * 0.5
    return torch.stack((a, ends + middle, ends - middle, c))


def plane_filters(weight: Tensor) -> Tensor:
    """A filter `out in 3 3` -> `16 in out`, as `plane` wants it."""
    taps = weight.permute(2, 3, 1, 0)
    rows = _filter(*taps)  # 4 3 in out
    return _filter(*rows.transpose(0, 1)).transpose(0, 1).reshape(16, *taps.shape[2:])


def time_filters(weight: Tensor) -> Tensor:
    """A filter `out in 3 1` -> `4 in out`, as `time` wants it."""
    return _filter(*weight[..., 0].permute(2, 1, 0))


def _into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> None:
    """The four combinations of inputs a, b, c, d in a row that meet the transformed filter, into `out[0..3]`."""
    torch.sub(a, c, out=out[0])
    torch.add(b, c, out=out[1])
    torch.sub(c, b, out=out[2])
    torch.sub(b, d, out=out[3])


def _out_of(m: Tensor, first: Tensor, second: Tensor) -> None:
    """Four products `m[0..3]` -> the two outputs they make."""
    torch.add(m[1], m[2], out=first)
    first += m[0]
    torch.sub(m[1], m[2], out=second)
    second -= m[3]


def plane(x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """3 x 3 convolution, padded with zeros to its own size: `n c h w`, channels last in memory, in and out.

    Args:
        filters: what `plane_filters` made. bias: `out`.
    """
    n, c, h, w = x.shape
    high, wide, out = (h + 1) // 2, (w + 1) // 2, filters.shape[2]
    tiles = max(wide, BLOCK // (16 * c * x.element_size()))
    rows = min(high, max(1, tiles // wide))
    frames = min(n, max(1, tiles // (rows * wide)))
    y = x.new_empty(n, 2 * high, 2 * wide, out)
    given = x.permute(0, 2, 3, 1)
    padded = x.new_zeros(frames, 2 * rows + 2, 2 * wide + 2, c)
    half = x.new_empty(4, frames, rows, 2 * wide + 2, c)
    full = x.new_empty(4, 4, frames, rows, wide, c)
    for i in range(0, n, frames):
        f = min(frames, n - i)
        for j in range(0, high, rows):
            r = min(rows, high - j)
            top, end = 2 * j - 1, 2 * (j + r) + 1
            from_, to = max(top, 0), min(end, h)
            p = padded[:f, : 2 * r + 2]
            p[:, : from_ - top].zero_()
            p[:, to - top :].zero_()
            p[:, from_ - top : to - top, 1 : w + 1] = given[i : i + f, from_:to]
            even, odd = p[:, 0::2], p[:, 1::2]
            t, v = half[:, :f, :r], full[:, :, :f, :r]
            _into(t, even[:, :-1], odd[:, :-1], even[:, 1:], odd[:, 1:])
            even, odd = t[:, :, :, 0::2], t[:, :, :, 1::2]
            _into(v.transpose(0, 1), even[..., :-1, :], odd[..., :-1, :], even[..., 1:, :], odd[..., 1:, :])
            m = torch.bmm(v.reshape(16, -1, c), filters).view(4, 4, f, r, wide, out)
            s = m.new_empty(2, 4, f, r, wide, out)
            _out_of(m, s[0], s[1])
            s[:, 1] += bias  # of the four products this one enters both outputs once, unsigned
            to_y = y[i : i + f, 2 * j : 2 * (j + r)].view(f, r, 2, wide, 2, out)
            _out_of(s.transpose(0, 1), to_y[:, :, :, :, 0].permute(2, 0, 1, 3, 4), to_y[:, :, :, :, 1].permute(2, 0, 1, 3, 4))
    return y[:, :h, :w].permute(0, 3, 1, 2)


def time(frames: Sequence[Tensor], filters: Tensor, bias: Tensor) -> Tensor:
    """Convolution of three frames in a row: t + 2 frames `s c`, t even -> `t s out`.

    Args:
        filters: what `time_filters` made. bias: `out`.
    """
    (cells, c), t, out = frames[0].shape, len(frames) - 2, filters.shape[2]
    y = frames[0].new_empty(t, cells, out)
    some = min(cells, max(1, BLOCK // (4 * c * y.element_size())))
    v = y.new_empty(4, some, c)
    for i in range(0, t, 2):
        for j in range(0, cells, some):
            four = [f[j : j + some] for f in frames[i : i + 4]]
            n = len(four[0])
            _into(v[:, :n], *four)
            m = torch.bmm(v[:, :n], filters)
            m[1] += bias
            _out_of(m, y[i, j : j + n], y[i + 1, j : j + n])
    return y


def conv_plane(x: Tensor, weight: Tensor, bias: Tensor, filters: Tensor) -> Tensor:
    """`plane` where there are tiles enough for it, else the direct convolution."""
    n, _, h, w = x.shape
    if n * ((h + 1) // 2) * ((w + 1) // 2) < LEAST_TILES:
        return F.conv2d(x, weight, bias, padding=1)
    return plane(x, filters, bias)
