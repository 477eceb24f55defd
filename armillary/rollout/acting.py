"""A world that acts: a hand (`worlds.diffusion.actor`) reads frames and a sentence, and the world dreams what its actions lead to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.diffusion.actor import Actor, ActorConfig, drawn, surprise
from armillary.worlds.diffusion.stepping import SteppingWorld, Window

MORE = 3  # windows that only the hand learns from, for each that the world learns from: they cost little


def hand_for(config: ActorConfig, world: SteppingWorld) -> Actor:
    """A hand that sees the newest frame and commands what the world takes.

    The newest alone: from more it may read where it was going and go on there, whatever it is told (the copycat problem, Wen et al. 2020).
    """
    return Actor(config, world.tokenizer.channels, world.action_width, world.setting.text_dim)


def learn(world: SteppingWorld, hand: Actor, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
    """One training step's loss: the world's own, and how little likely the hand found the actions that were taken.

    Both learn from the same windows, some of them dreamed, so that the hand knows what dreams look like.
    """
    asked = world.ask(batch, rng)
    loss, metrics = world.graded(asked)
    windows = [asked.told] + [world.ask(batch, rng, unroll_prob=0.0).told for _ in range(MORE)]
    cost = torch.cat([surprise(_answer(hand, w), w.action) for w in windows])
    there = torch.cat([w.has_action for w in windows])
    surprised = (cost * there).sum() / there.sum().clamp(min=1)
    return loss + surprised, {**metrics, "hand": surprised.detach()}


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


def _answer(hand: Actor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    return hand(window.past[:, -1], window.level, window.context, window.context_mask)


def _look(world: SteppingWorld, hand: Actor, latents: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor, Tensor]:
    """What the hand answers after `latents`, `b c t h w` of the tokenizer, at least one of them."""
    frame = world.normalise(latents[:, :, -1])
    return hand(frame, frame.new_zeros(len(frame)), conditioning.context, conditioning.context_mask)
