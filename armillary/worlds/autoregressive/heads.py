"""Speculative heads: guesses of the tokens after the next, which the network itself then checks (paper section 4.3).

Medusa (Cai et al. 2024) without its tree, as the paper uses it: head `k` is one layer with a residual, `h + silu(W_k h)`, on the state
from which the next token is read, and says the token `k` places further on; all `W_k` are one matrix. A pass of the network reads
the guesses beside the last token and keeps those it would have said itself, so the tokens are exactly those of decoding without heads.

The paper trains its last two layers and its unembedding too, which makes another world. Here the world stays as it is: heads are
trained on its frozen states and lie in a folder of their own. They read its unembedding, or with `own` a trained copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.store import find_weights, load_folder, save_folder
from armillary.types import Batch

if TYPE_CHECKING:
    from armillary.worlds.autoregressive.world import AutoregressiveWorld


@dataclass(frozen=True)
class HeadsConfig:
    """Args:
    count: heads, so that up to `count + 1` tokens come of one pass; the paper found 9 fastest.
    own: with an unembedding of their own, which starts as the world's.
    decay: how much less each further head counts in training than the one before.
    """

    count: int = 9
    own: bool = False
    decay: float = 0.8

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.decay <= 1:
            raise BadInput(f"Heads want count of 1 or more and a decay in (0, 1]; got {self.count} and {self.decay}.")


class Heads(nn.Module):
    """At first every head says what the network says next; training moves each on to its own place."""

    def __init__(self, config: HeadsConfig, dim: int, vocab: int) -> None:
        super().__init__()
        self.config = config
        self.mix = nn.Linear(dim, config.count * dim, bias=False)
        nn.init.zeros_(self.mix.weight)
        self.head = nn.Linear(dim, vocab, bias=False) if config.own else None

    def forward(self, states: Tensor, say: Callable[[Tensor], Tensor], count: int | None = None) -> Tensor:
        """Logits of the tokens after the next.

        Args:
            states: `... d`, what the network's own logits are read from; say: the network's unembedding.
            count: only the first so many heads.

        Returns:
            `... count vocab`.
        """
        count = self.config.count if count is None else count
        dim = states.shape[-1]
        moved = F.silu(F.linear(states, self.mix.weight[: count * dim])).unflatten(-1, (count, dim)) + states.unsqueeze(-2)
        return say(moved) if self.head is None else self.head(moved)


class HeadsObjective(nn.Module):
    """A trainable: heads learn on the states of a world that stays as it is.

    Args:
        world: frozen here.
    """

    def __init__(self, world: AutoregressiveWorld, config: HeadsConfig) -> None:
        super().__init__()
        if world.config.network.block != 1:
            raise BadInput("Speculative heads are for worlds that say one token at a time; this one says blocks.")
        self.world = world.requires_grad_(False)
        network = world.network
        self.heads = Heads(config, network.config.dim, network.config.vocab).to(network.embed.weight.device)
        if self.heads.head is not None:
            self.heads.head.weight.data.copy_(network.head.weight.data)

    def train(self, mode: bool = True) -> HeadsObjective:
        super().train(mode)
        self.world.eval()  # its text and actions are not withheld: heads serve it as it decodes
        return self

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cross-entropy of every head; metrics: `accuracy` of the first and of the last head."""
        with torch.no_grad():
            lesson = self.world.lesson(batch, rng)
            states = self.world.network.hidden(
                lesson.inputs, context=lesson.context, context_mask=lesson.context_mask, extra=lesson.extra
            )
        n, count = states.shape[1], self.heads.config.count
        if n <= count:
            raise BadInput(f"{count} heads want windows of more than {count + 1} tokens; got {n}.")
        logits = self.heads(states[:, :-count], self.world.network.head).float()  # b n-k k vocab
        targets = lesson.targets.unfold(1, count, 1)[:, 1:]  # place i: the tokens 1 .. count after its own
        losses = F.cross_entropy(logits.flatten(0, 2), targets.reshape(-1), reduction="none").view(-1, count).mean(0)
        weight = self.heads.config.decay ** torch.arange(count, device=losses.device)
        right = (logits.argmax(-1) == targets).float().mean((0, 1)).detach()
        return (losses * weight).sum() / weight.sum(), {"accuracy_1": right[0], f"accuracy_{count}": right[-1]}


def save_heads(
    heads: Heads,
    world: AutoregressiveWorld,
    folder: str | Path,
    tensors: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write heads, and for which world they are, to a checkpoint folder; `tensors` replaces their own."""
    facts = {"world": {"name": world.name, "sha256": world.sha256}} | dict(extra or {})
    return save_folder(folder, family="heads", config=heads.config, tensors=tensors or heads.state_dict(), extra=facts)


def load_heads(folder: str | Path, world: AutoregressiveWorld) -> Heads:
    """Heads from what `save_heads` wrote, for the same world.

    Raises:
        BadInput: they were trained on another world.
    """
    kept = load_folder(find_weights(folder, "heads"), "heads")
    theirs = kept.extra["world"]
    if theirs["sha256"] != world.sha256:
        raise BadInput(
            f"The heads in {kept.path} were trained on world {theirs['name']!r} ({theirs['sha256'][:12]}); "
            f"this one is {world.sha256[:12] or 'unsaved'}."
        )
    network = world.config.network
    heads = Heads(from_json(HeadsConfig, kept.config), network.dim, network.vocab)
    kept.load_into(heads)
    return heads.eval().to(world.network.embed.weight.device)
