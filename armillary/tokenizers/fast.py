"""The same network, arranged for inference: what is linear in a row becomes one convolution, wide convolutions need fewer products.

`folded` makes a network of the same weights that shares every tensor it does not change. It computes what the plain one does, up to
rounding, and knows no gradients.

  * Up-sampling repeats pixels and convolves the copies: products are made once a pixel, before it is repeated. Residual and 1 x 1
    convolution are folded in.
  * Down-sampling adds a mean to a strided convolution: one kernel. The 1 x 1 convolution behind it is folded in too.
  * Other convolutions of three taps go the way of `nn.winograd` where they are wide enough, or are plain matrix products of frames.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armillary.nn import conv, winograd
from armillary.nn.conv import Reel, TemporalConv, columns, uncolumns

M = TypeVar("M", bound=nn.Module)


class Spatial(nn.Module):
    """A 3 x 3 convolution."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.filters = winograd.plane_filters(layer.weight) if winograd.pays(layer.weight) else None

    def forward(self, x: Tensor, reel: Reel | None = None) -> Tensor:
        assert self.bias is not None
        if self.filters is None:
            return F.conv2d(x, self.weight, self.bias, padding=1)
        return winograd.conv_plane(x, self.weight, self.bias, self.filters)


class Pointwise(nn.Module):
    """A 1 x 1 convolution as the matrix product it is."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight.flatten(1), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class Temporal(nn.Module):
    """A causal convolution of three frames, unstrided."""

    def __init__(self, layer: TemporalConv) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.filters = winograd.time_filters(layer.weight) if winograd.pays(layer.weight) else None

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:
        assert self.bias is not None
        if self.filters is None:
            whole = before(self, columns(frames, reel.batch), reel, padding=2, history=2)
            made = F.conv2d(whole.contiguous(memory_format=torch.channels_last), self.weight, self.bias)
            return uncolumns(made, frames.shape[2])
        height = frames.shape[2]
        x, past = as_frames(frames, reel.batch), reel.recall(self)
        remember(self, x, reel, 2)
        out = x.new_empty(*x.shape[:3], self.weight.shape[0])
        for i in range(len(x)):
            self._clip(list(x[i]), None if past is None else list(past[i]), out[i])
        return from_frames(out, height)

    def _clip(self, x: list[Tensor], past: list[Tensor] | None, out: Tensor) -> None:
        """Frames `s c` of one clip, after the two `past` ones, into `out` `t s c`."""
        assert self.bias is not None and self.filters is not None
        taps = [self.weight[:, :, k, 0].T for k in range(3)]  # channels last: a view that BLAS takes as it is
        first = 0
        if past is None:  # copies of the first frame stand before it: one product with the sum of the taps
            torch.addmm(self.bias, x[0], taps[0] + taps[1] + taps[2], out=out[0])
            first, past = 1, [x[0], x[0]]
        row = [*past, *x][first:]
        pairs = (len(x) - first) // 2 * 2 if len(x[0]) >= winograd.LEAST_TILES else 0
        if pairs:
            out[first : first + pairs] = winograd.time(row[: pairs + 2], self.filters, self.bias)
        for i in range(pairs, len(x) - first):
            y = torch.addmm(self.bias, row[i], taps[0], out=out[first + i])
            y.addmm_(row[i + 1], taps[1]).addmm_(row[i + 2], taps[2])


def as_frames(x: Tensor, batch: int) -> Tensor:
    """`(b t) c h w` -> `b t (h w) c`, a view."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (batch, -1))


def from_frames(x: Tensor, height: int) -> Tensor:
    """The inverse of `as_frames`."""
    return x.flatten(0, 1).unflatten(1, (height, -1)).permute(0, 3, 1, 2)


def remember(layer: nn.Module, x: Tensor, reel: Reel, count: int) -> None:
    """Keep the last `count` frames of `b t s c`, those remembered before among them."""
    if not reel.keep:
        return
    if x.shape[1] < count:
        past = reel.recall(layer)
        lead = x[:, :1].expand(-1, count, -1, -1) if past is None else past
        x = torch.cat((lead, x), 1)
    # A view of little more than itself costs nothing to keep.
    reel.remember(layer, x[:, -count:] if x.shape[1] <= count + 1 else x[:, -count:].clone())


def before(layer: nn.Module, x: Tensor, reel: Reel, padding: int, history: int) -> Tensor:
    """`b c t s` with the frames before it in front: the remembered ones, or `padding` copies of the first."""
    past = reel.recall(layer)
    whole = torch.cat((x[:, :, :1].expand(-1, -1, padding, -1) if past is None else past, x), dim=2)
    if reel.keep:
        reel.remember(layer, whole[:, :, whole.shape[2] - history :].clone())
    return whole


class Factorized(nn.Module):
    def __init__(self, layer: conv.FactorizedConv) -> None:
        super().__init__()
        space = layer[0]
        assert isinstance(space, nn.Conv2d)
        self.space, self.time = Spatial(space), Temporal(layer.time)

    def forward(self, frames: Tensor, reel: Reel) -> Tensor:
        return self.time(self.space(frames), reel)


def pointwise(weight: Tensor, bias: Tensor, after: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
    """A kernel `out in ...` and its bias, with the 1 x 1 convolution `after` it folded in."""
    if after is None:
        return weight, bias
    assert after.bias is not None
    mix = after.weight.double().flatten(1)
    return torch.einsum("om,mi...->oi...", mix, weight), mix @ bias + after.bias.double()


def parts(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight.double().clone(), layer.bias.double()


def settled(weight: Tensor, bias: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    return weight.to(like).contiguous(memory_format=torch.channels_last), bias.to(like)


class Downsample(nn.Module):
    def __init__(self, layer: conv.Downsample) -> None:
        super().__init__()
        same = torch.eye(layer.conv3.weight.shape[0], dtype=torch.float64, device=layer.conv3.weight.device)[:, :, None, None]
        self.space = self.time = None
        if layer.conv1 is not None:
            weight, bias = parts(layer.conv1)
            weight[:, :, :2, :2] += same / 4
            last = layer.conv3 if layer.conv2 is None else None
            self.space = settled(*pointwise(weight, bias, last), layer.conv3.weight)
        if layer.conv2 is not None:
            weight, bias = parts(layer.conv2)
            weight[:, :, 1:] += same / 2
            self.time = settled(*pointwise(weight, bias, layer.conv3), layer.conv3.weight)

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        if self.space is not None:
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), *self.space, stride=2)
        if self.time is not None:
            whole = before(self, columns(x, reel.batch), reel, padding=2, history=1)
            made = F.conv2d(whole.contiguous(memory_format=torch.channels_last), *self.time, stride=(2, 1))
            x = uncolumns(made, x.shape[2])
        return x


class Upsample(nn.Module):
    """Repeat, convolve the copies, add them; then a 1 x 1 convolution. Of images: no residual and no 1 x 1 convolution.

    With a, b, c a kernel's products with a pixel, the two places that a pixel becomes are `a` of the one before + b + c of its own, and
    a + b of its own + `c` of the one behind: three products for two places, nine for the four of a plane, instead of six and thirty-six.
    """

    def __init__(self, layer: conv.Upsample | conv.ImageUpsample) -> None:
        super().__init__()
        if isinstance(layer, conv.ImageUpsample):
            time, space, last, residual = None, layer.conv, None, 0.0
        else:
            time, space, last, residual = layer.conv1, layer.conv2, layer.conv3, 1.0
        self.time = self.space = None
        like = next(layer.parameters())
        same = residual * torch.eye(like.shape[0], dtype=torch.float64, device=like.device)
        if time is not None:
            weight, bias = parts(time)
            weight[:, :, 2, 0] += same
            weight, bias = pointwise(weight, bias, last if space is None else None)
            taps = weight[..., 0].permute(2, 1, 0).to(like).contiguous()
            self.time = (*taps, taps.sum(0), bias.to(like))
        if space is not None:
            weight, bias = parts(space)
            weight[:, :, 1, 1] += same
            weight, bias = pointwise(weight, bias, last)
            self.space = (weight.permute(2, 3, 0, 1).flatten(0, 2).to(like).contiguous(), bias.to(like))

    def forward(self, x: Tensor, reel: Reel) -> Tensor:
        if self.time is not None:
            x = self._time(x, reel)
        return x if self.space is None else plane(x, *self.space)

    def _time(self, x: Tensor, reel: Reel) -> Tensor:
        assert self.time is not None
        a, b, c, total, bias = self.time
        height, frames, past = x.shape[2], as_frames(x, reel.batch), reel.recall(self)
        n, t, cells, width = frames.shape
        out = frames.new_empty(n, t, 2, cells, width)
        last = frames.new_empty(2, n, cells, width)  # a frame and its middle product, for the next
        for i in range(n):
            known = None if past is None else past[:, i]
            for now, (one, two) in zip(frames[i], out[i]):
                middle = now @ b
                if known is None:  # itself stands before it, and its first copy is not shown
                    torch.addmm(bias, now, total, out=two)
                else:
                    torch.addmm(bias, known[0], a, out=one)
                    one.addmm_(now, c)
                    torch.add(one, middle, out=two)
                    one += known[1]
                known = (now, middle)
            assert known is not None
            last[0, i], last[1, i] = known[0], known[1]
        reel.remember(self, last)
        shown = out.flatten(1, 2)
        return from_frames(shown if past is not None else shown[:, 1:], height)


def plane(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pixels twice as many on both axes and a 3 x 3 convolution of them: `n c h w` -> `n out 2h 2w`. `weight`: `(3 3 out) c`."""
    n, _, h, w = x.shape
    y = x.new_empty(n, h, 2, w, 2, len(bias))
    for i in range(n):
        p = (x[i].permute(1, 2, 0) @ weight.T).view(h, w, 3, 3, -1)
        a, b, c = p.unbind(2)
        rows = b.new_empty(2, h, w, 3, p.shape[-1])
        torch.add(b, c, out=rows[0])
        rows[0, 1:] += a[:-1]
        torch.add(a, b, out=rows[1])
        rows[1, :-1] += c[1:]
        for j, row in enumerate(rows):
            a, b, c = row.unbind(2)
            b += bias
            left, right = y[i, :, j, :, 0], y[i, :, j, :, 1]
            torch.add(b, c, out=left)
            left[:, 1:] += a[:, :-1]
            torch.add(a, b, out=right)
            right[:, :-1] += c[:, 1:]
    return y.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    conv.FactorizedConv: Factorized,
    conv.Conv: Spatial,
    conv.Downsample: Downsample,
    conv.Upsample: Upsample,
    conv.ImageUpsample: Upsample,
}


@torch.no_grad()
def folded(module: M) -> M:
    """A copy for inference, of the same interface; tensors that did not change are shared with `module`."""
    if type(module) in SWAPS:
        return SWAPS[type(module)](module)  # type: ignore[return-value]
    if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.stride == (1, 1):
        return Pointwise(module)  # type: ignore[return-value]
    same = copy.copy(module)
    same._modules = {name: None if child is None else folded(child) for name, child in module._modules.items()}
    return same
