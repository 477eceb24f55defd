"""A hand for a world that takes actions: what it does next, read off what the world sees and a sentence.

With it such a world carries out an instruction by itself. What is uncertain of the future, when and where the hand moves, is drawn in
the few numbers of an action, and the world dreams what that one action leads to. A world that is asked for the next frame from the
sentence alone has to answer the mean of all that the hand might do, and in a few frames hand and things dissolve in it.

The hand looks through the world's eyes: its input is what the world's network makes of the frame, which knows already what is a thing,
what is the hand and what moves with what. From latents alone it learned more slowly, and its episodes by heart (docs/log.md). Cells,
words and a few tokens to be read out go through one transformer (as in Octo, Octo Model Team 2024); then each of those looks once more
where in the picture something is (spatial softmax, Levine et al. 2016), because what a hand does next is a matter of places. The answer
is a mixture of Gaussians, so that going left or right around a thing does not become going straight at it.

What the sentence is about is learned apart, by contrast: of the sentences in a batch a frame fits its own best. A sentence fits as well as
the cell that it fits best, so words find the cells that they are said of, and no one has to label anything. From actions alone the hand
learned sides and no colours; and it foresees which cells will have changed some frames on, which says more of a sentence than two
numbers do (docs/log.md).

    b batch   c channel   a action (all that lead to one latent frame)   m mode
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from armillary.worlds.diffusion.unet import waves

QUIET, WILD = -4.0, 1.0  # bounds of the natural logarithm of a mode's deviation, in deviations of the training data's actions
PLACES = 16  # numbers that say a cell's row, and as many its column
POINTED = 8.0  # how much better fitting cells count
SAME = 0.9999  # cosine from which on two sentences are one
LATER = (8, 16, 28)  # latent frames after which a cell is asked for
STIRRED = 0.7  # root mean square change, in a frame's usual ones, from which on a cell has changed


class Answer(NamedTuple):
    """A mixture over normalised actions, and the log odds that a cell will have changed after each of `LATER` frames."""

    weights: Tensor  # b m, logs
    mean: Tensor  # b m a
    deviation: Tensor  # b m a, logs
    stirred: Tensor  # b n h w


@dataclass(frozen=True)
class ActorConfig:
    """Args:
    width, depth, heads: of the transformer. reads: tokens that are read out. modes: of the mixture.
    meaning: width of the space where words and cells meet.
    """

    width: int = 64
    depth: int = 4
    heads: int = 4
    reads: int = 4
    modes: int = 8
    meaning: int = 48


class Pointer(nn.Module):
    """Which cells a sentence is about.

    Args:
        channels: of a cell; text_dim: of a text token; width: of the space where both meet.
    """

    def __init__(self, channels: int, text_dim: int, width: int) -> None:
        super().__init__()
        self.cell = nn.Sequential(nn.Linear(channels, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.word = nn.Sequential(nn.Linear(text_dim, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.weight = nn.Linear(text_dim, 1)
        self.sharp = nn.Parameter(torch.tensor(2.0))

    def cells(self, cells: Tensor) -> Tensor:
        """`b c h w` -> `b (h w) width`, each of length one."""
        return F.normalize(self.cell(cells.flatten(2).transpose(1, 2)), dim=-1)

    def sentences(self, context: Tensor, there: Tensor) -> Tensor:
        """`b n text_dim` -> `b width`, of length one; zero for no words."""
        share = self.weight(context)[..., 0].masked_fill(~there, -1e4).softmax(-1) * there
        return F.normalize((self.word(context) * share[..., None]).sum(1), dim=-1)

    def mismatch(self, cells: Tensor, sentences: Tensor, same: Tensor) -> Tensor:
        """How hard it is to tell which of the sentences (`b width`) each frame (`b (h w) width`) goes with, and the other way round.

        Args:
            same: `b b`, true where frame and sentence go together; each frame has one such at least.
        """
        fit = self.sharp.exp() / POINTED * (POINTED * torch.einsum("bnd,kd->bkn", cells, sentences)).logsumexp(-1)
        wanted = same.to(fit.dtype)
        rows = -(wanted / wanted.sum(1, keepdim=True) * fit.log_softmax(1)).sum(1)
        columns = -(wanted / wanted.sum(0) * fit.log_softmax(0)).sum(0)
        return 0.5 * (rows.mean() + columns.mean())


class Actor(nn.Module):
    """Args:
    channels: of a cell; action_dim: numbers that lead to one latent frame; text_dim: of a text token.
    """

    def __init__(self, config: ActorConfig, channels: int, action_dim: int, text_dim: int) -> None:
        super().__init__()
        c = config
        self.config, self.action_dim = config, action_dim
        self.enter = nn.Linear(channels, c.width)
        self.place = nn.Linear(2 * PLACES, c.width)
        self.word = nn.Linear(text_dim, c.width)
        self.pointer = Pointer(channels, text_dim, c.meaning)
        self.meant = nn.Linear(1, c.width)
        self.read = nn.Parameter(0.3 * torch.randn(c.reads, c.width))
        layer = nn.TransformerEncoderLayer(c.width, c.heads, 3 * c.width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, c.depth, nn.LayerNorm(c.width), enable_nested_tensor=False)
        self.sought, self.found = nn.Linear(c.width, c.width), nn.Linear(c.width, c.width)
        self.hidden = nn.Linear(c.reads * (c.width + 2 * c.heads) + 2, 2 * c.width)
        self.leave = nn.Linear(2 * c.width, c.modes * (1 + 2 * action_dim))
        self.stirred = nn.Linear(c.width, len(LATER))
        # Modes that begin in one place part slowly: the first thousand steps would go to that.
        with torch.no_grad():
            means = slice(c.modes, c.modes * (1 + action_dim))
            self.leave.bias[means].normal_()
            self.leave.bias[means.stop :].fill_(-1.0)

    def forward(self, cells: Tensor, context: Tensor | None, context_mask: Tensor | None = None) -> Answer:
        """What may be done next, and what comes of it.

        Args:
            cells: `b c h w`, what the world makes of the newest frame.
            context, context_mask: `b n text_dim` and `b n`, true where there is text.
        """
        b, _, height, width = cells.shape
        seen = self.enter(cells.flatten(2).transpose(1, 2)) + self.place(_places(height, width, cells))
        absent = cells.new_zeros(b, self.config.reads + height * width, dtype=torch.bool)
        words, fit = [], cells.new_zeros(b, height * width)
        if context is not None:
            there = _there(context, context_mask)
            longest = _longest(there)
            words = [self.word(context[:, :longest])]
            absent = torch.cat([absent, ~there[:, :longest]], dim=1)
            fit = torch.einsum("bnd,bd->bn", self.pointer.cells(cells), self.pointer.sentences(context, there))
        tokens = [self.read.expand(b, -1, -1), seen + self.meant(POINTED * fit[..., None]), *words]
        x = self.layers(torch.cat(tokens, dim=1), src_key_padding_mask=absent)
        read, seen = x[:, : self.config.reads], x[:, self.config.reads : self.config.reads + height * width]
        sought, found = (y.unflatten(2, (self.config.heads, -1)) for y in (self.sought(read), self.found(seen)))
        heat = (torch.einsum("brmd,bnmd->brmn", sought, found) / math.sqrt(sought.shape[-1])).softmax(-1)
        middles = _middles(height, width, cells)
        where, named = (heat @ middles).flatten(1), (2 * POINTED * fit).softmax(-1) @ middles
        y = self.leave(F.silu(self.hidden(torch.cat([read.flatten(1), where, named], dim=1))))
        weights, mean, deviation = y.split([self.config.modes, *[self.config.modes * self.action_dim] * 2], dim=1)
        shape = (b, self.config.modes, self.action_dim)
        stirred = self.stirred(seen).transpose(1, 2).unflatten(2, (height, width))
        return Answer(weights.log_softmax(1), mean.view(shape), deviation.view(shape).clamp(QUIET, WILD), stirred)

    def mismatch(self, cells: Tensor, context: Tensor | None, context_mask: Tensor | None) -> Tensor:
        """See `Pointer.mismatch`, over the rows (of `forward`'s arguments) that are told something; zero where less than two are."""
        if context is None:
            return cells.new_zeros(())
        there = _there(context, context_mask)
        told = there.any(1)
        if int(told.sum()) < 2:
            return cells.new_zeros(())
        sentences = self.pointer.sentences(context[told], there[told])
        return self.pointer.mismatch(self.pointer.cells(cells[told]), sentences, sentences @ sentences.T > SAME)


def _there(context: Tensor, mask: Tensor | None) -> Tensor:
    return context.new_ones(context.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


def _longest(there: Tensor) -> int:
    """Words of the longest sentence: what is empty in all rows need not be looked at."""
    used = there.any(0).nonzero()
    return int(used.max()) + 1 if len(used) else 0


def _middles(height: int, width: int, like: Tensor) -> Tensor:
    """Row and column of each cell from -1 to 1, `(h w) 2`."""
    rows, columns = (torch.linspace(-1, 1, n, device=like.device, dtype=like.dtype) for n in (height, width))
    return torch.cartesian_prod(rows, columns)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """The same as waves, `(h w) 2 PLACES`."""
    middles = _middles(height, width, like)
    return torch.cat([waves(x, PLACES, 16.0) for x in middles.unbind(1)], dim=1).to(like.dtype)


def surprise(answer: Answer, action: Tensor) -> Tensor:
    """How little likely the actions (`b a`) were: minus the log density of each row, `b`."""
    off = (action[:, None] - answer.mean) * torch.exp(-answer.deviation)
    each = answer.weights - (0.5 * off.square() + answer.deviation + 0.5 * math.log(2 * math.pi)).sum(-1)
    return -each.logsumexp(1)


def unforeseen(answer: Answer, change: Tensor) -> Tensor:
    """How little likely it was that these cells changed and those did not, a cell: `b`.

    Args:
        change: `b n c h w`, from the frame that was seen to that after each of `LATER`, in a frame's usual changes.
    """
    moved = (change.square().mean(2).sqrt() > STIRRED).to(answer.stirred.dtype)
    return F.binary_cross_entropy_with_logits(answer.stirred, moved, reduction="none").mean((1, 2, 3))


def drawn(answer: Answer, generator: Generator, spread: float = 1.0) -> Tensor:
    """An action of each row, `b a`: a mode by its weight, and in it a draw whose deviation is `spread` times the mode's own.

    With `spread` 0 it is the middle of the likeliest mode.
    """
    weights, mean, deviation = (x.float() for x in answer[:3])
    # Drawn on the generator's device, so that a seed means the same on every machine.
    chances = torch.rand(weights.shape, generator=generator, device=generator.device).to(weights)
    noise = torch.randn(mean[:, 0].shape, generator=generator, device=generator.device).to(mean)
    gumbel = -torch.log(-torch.log(chances.clamp(1e-9, 1 - 1e-7)))
    mode = (weights + gumbel * (spread > 0)).argmax(1)
    rows = torch.arange(len(mode), device=mode.device)
    return mean[rows, mode] + spread * torch.exp(deviation[rows, mode]) * noise
