"""A world that acts: a hand (`worlds.diffusion.actor`) looks through it at the newest frame and reads a sentence, and the world dreams what
its actions lead to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.diffusion.actor import LATER, Actor, ActorConfig, Answer, drawn, surprise, unforeseen
from armillary.worlds.diffusion.common import integers, normal, uniform
from armillary.worlds.diffusion.stepping import SteppingWorld, Window

LOOKS = 3  # moments of each row of a batch that a training step shows the hand
FORESIGHT = 3.0  # what foreseeing a cell's change counts beside foreseeing an action


def hand_for(config: ActorConfig, world: SteppingWorld) -> Actor:
    """A hand that commands what the world takes."""
    return Actor(config, world.network.config.fine + world.tokenizer.channels, world.action_width, world.setting.text_dim)


def learn(
    world: SteppingWorld, hand: Actor, batch: Batch, rng: Generator, both: bool = False
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """One training step's loss: how little likely the hand found the actions that were taken and what came of them, and how hard it was
    to tell which sentence goes with which frame.

    Args:
        both: the world learns too.

    Returns:
        loss; `hand`: surprise at an action in nats, `foresight`: at a cell's change, `mismatch`: at a sentence.
    """
    z, actions = world.training_parts(batch)
    assert actions is not None
    context, mask = world.text_parts(batch, rng, world.config.text_dropout)
    b, last = len(z), z.shape[2] - 1
    rows = torch.arange(b, device=z.device).repeat(LOOKS)
    if context is not None and mask is not None:
        context, mask = context[rows], mask[rows]
    z = z.transpose(1, 2)

    at = integers(0, last, (LOOKS * b,), rng, z)
    level = world.config.noise_max * uniform(at.shape, rng, z) * (uniform(at.shape, rng, z) < world.config.noise_prob)
    frame = z[rows, at]
    cells = _cells(world, frame + level[:, None, None, None] * normal(frame.shape, rng, frame), level, context, mask)
    answer = hand(cells, context, mask)
    later = torch.stack([z[rows, (at + n).clamp(max=last)] - frame for n in LATER], dim=1)

    surprised = surprise(answer, actions[rows, at]).mean()
    missed = unforeseen(answer, later / world.change_std[:, None, None]).mean()
    mismatch = hand.mismatch(cells, context, mask)
    loss = surprised + FORESIGHT * missed + mismatch
    metrics = {"hand": surprised.detach(), "foresight": missed.detach(), "mismatch": mismatch.detach()}
    if both:
        own, told = world(batch, rng)
        loss, metrics = loss + own, {**told, **metrics}
    return loss, metrics


@torch.no_grad()
def carry_out(
    world: SteppingWorld,
    hand: Actor,
    given: Tensor,
    frames: int,
    conditioning: Conditioning,
    *,
    generator: Generator,
    spread: float = 1.0,
    **sampling: Any,
) -> Tensor:
    """`frames` further latents of the sentence being carried out; arguments as of `SteppingWorld.extend`.

    Args:
        spread: how much the hand's draws vary, as a share of what it learned; 0 for the likeliest.

    Raises:
        BadInput: actions are given, or a spread below 0.
    """
    if conditioning.actions is not None:
        raise BadInput(f"World {world.name!r} moves its hand itself, as its sentence says; it was given actions too.")
    if spread < 0:
        raise BadInput(f"A hand's spread is at least 0; got {spread:g}.")
    reach, window, dreamed = world.config.reach, given, []
    for _ in range(frames):
        action = None
        if window.shape[2]:
            action = world.unfolded_actions(drawn(_look(world, hand, window, conditioning), generator, spread)[:, None])
        else:  # nothing leads to a first frame
            action = window.new_zeros(len(window), 0, world.action_spec.dim)  # type: ignore[union-attr]
        told = dataclasses.replace(conditioning, actions=action)
        frame = world.extend(window, 1, told, generator=generator, **sampling)
        dreamed.append(frame)
        window = torch.cat([window, frame], dim=2)[:, :, -reach:]
    return torch.cat(dreamed, dim=2) if dreamed else given[:, :, :0]


def _cells(world: SteppingWorld, frame: Tensor, level: Tensor, context: Tensor | None, context_mask: Tensor | None) -> Tensor:
    """What the hand sees of one normalised frame, `b c h w` with noise of `level`: it, and what the world makes of it by itself.

    From more frames it may read where it was going and go on there, whatever it is told (the copycat problem, Wen et al. 2020).
    """
    b, reach = len(frame), world.config.reach
    past, given = frame.new_zeros(b, reach, *frame.shape[1:]), frame.new_zeros(b, reach)
    past[:, -1], given[:, -1] = frame, 1.0
    still = frame.new_zeros(b, world.action_width)
    with torch.no_grad():
        made = world.features(Window(past, given, level, still, given[:, -1], context, context_mask))
    return torch.cat([made, frame], dim=1)


def _look(world: SteppingWorld, hand: Actor, latents: Tensor, conditioning: Conditioning) -> Answer:
    """What the hand answers after `latents`, `b c t h w` of the tokenizer, at least one of them."""
    frame = world.normalise(latents[:, :, -1])
    said = conditioning.context, conditioning.context_mask
    return hand(_cells(world, frame, frame.new_zeros(len(frame)), *said), *said)
