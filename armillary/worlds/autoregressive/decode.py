"""Sampling tokens one after another with a key-value cache (paper section 4.3).

A token is chosen by inverting the distribution's cumulative sum at a uniform number drawn beforehand, one per row and token. So one
generator decides everything, and a row with a seed of its own gets the same tokens whatever else is in the batch.

For the same reason speculative heads change nothing but the number of passes: a guess at a place is drawn with that place's number and kept
when the network, at that number, says the same. That holds at every temperature, not for the likeliest token alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.worlds.autoregressive.heads import Heads
from armillary.worlds.autoregressive.step import Joined, Stepper, suits
from armillary.worlds.autoregressive.transformer import Cache, Transformer


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Args:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: only the `k` likeliest; 0 for all.
        top_p: only the fewest likeliest tokens that hold this much probability together; 1 for all.

    Raises:
        BadInput: outside those ranges.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature is 0 or more; got {self.temperature}.")
        if self.top_k < 0:
            raise BadInput(f"top_k is 0 (all) or more; got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise BadInput(f"top_p lies in (0, 1]; got {self.top_p}.")


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token for each row.

    Args:
        logits: `b vocab`.
        uniform: `b`, numbers in [0, 1); not looked at when the temperature is 0.

    Returns:
        int64 `b`.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / sampling.temperature
    order = None
    if 0 < sampling.top_k < logits.shape[-1]:
        logits, order = logits.topk(sampling.top_k, dim=-1)
    elif sampling.top_p < 1:
        logits, order = logits.sort(dim=-1, descending=True)
    share = torch.softmax(logits, -1, dtype=torch.float64).cumsum(-1)
    if sampling.top_p < 1:
        # The last token kept is the first at which the sum reaches top_p.
        kept = (share < sampling.top_p).sum(-1, keepdim=True).clamp(max=share.shape[-1] - 1)
    else:
        kept = torch.full_like(share[:, :1], share.shape[-1] - 1, dtype=torch.long)
    place = torch.searchsorted(share, uniform.to(share).unsqueeze(-1) * share.gather(-1, kept), right=True)
    place = torch.minimum(place, kept)
    return (place if order is None else order.gather(-1, place)).squeeze(-1)


def draw(generator: Generator, batch: int, count: int, seeds: Sequence[int] | None = None) -> Tensor:
    """Uniform numbers float64 `b n`; with `seeds`, row `i` depends on `seeds[i]` alone."""
    if seeds is None:
        return torch.rand(batch, count, dtype=torch.float64, generator=generator, device=generator.device)
    if len(seeds) != batch:
        raise BadInput(f"{batch} rows want {batch} seeds; got {len(seeds)}.")
    return torch.stack([torch.rand(count, dtype=torch.float64, generator=Generator().manual_seed(int(s))) for s in seeds])


@torch.inference_mode()
def decode(
    network: Transformer,
    prompt: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    *,
    context: Tensor | None = None,
    context_mask: Tensor | None = None,
    extra: Callable[[int, int], Tensor] | None = None,
    guidance: float = 0.0,
    cached: bool = True,
    heads: Heads | None = None,
    joined: Joined | None = None,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Continue `prompt`.

    Args:
        prompt: int64 `b n`, at least one token; for a network that says blocks, whole blocks.
        uniform: `b count`, see `choose`; its width says how many tokens are made.
        context, context_mask: text. With `guidance` both hold twice the rows: first the rows with the wanted text, then the same rows
            with the text to move away from.
        extra: from a start and an end to what is added to those inputs, `b (end - start) dim`.
        guidance: logits become `wanted + guidance * (wanted - other)`.
        cached: False reads everything anew for each token; slower, the same result up to rounding.
        heads: guess further tokens, which are checked; the same tokens in fewer passes. Rows wait for each other: of a batch as many are
            kept as in its most surprising row.
        joined: the network's weights, when they are at hand or are to be int8; made here by default where that pays.
        progress: called after each pass with the number of tokens that came of it.

    Returns:
        int64 `b count`.
    """
    rows, known = prompt.shape
    twice = 2 if guidance else 1
    count, block = uniform.shape[1], network.config.block
    if known % block or count % block:
        raise BadInput(f"This network says blocks of {block} tokens; {known} given and {count} wanted are not whole blocks.")
    if heads is not None and (block > 1 or not cached):
        raise BadInput("Speculative heads want a cache, and a network that says one token at a time.")
    uniform = uniform.to(prompt.device)
    cache = Cache(network.config, rows * twice, known + count - block, network.embed.weight) if cached and count else None
    if joined is None and cache is not None and suits(network):
        joined = Joined(network)
    step: Stepper | None = None
    tokens = torch.cat([prompt, prompt.new_zeros(rows, count)], dim=1)
    made, guessed = 0, 0  # tokens said, and tokens guessed after them
    while made < count:
        # Read what was said since, and the guesses; then say what follows each of the last places.
        start, end = (cache.filled if cache is not None else 0), known + made
        fresh = block + guessed
        added = None if extra is None else extra(start, end + guessed).repeat(twice, 1, 1)
        inputs = tokens[:, start : end + guessed].repeat(twice, 1)
        if step is not None:
            states = step(inputs, added)
            logits = step.say(states[:, -fresh:])
        else:
            given = {"context": context, "context_mask": context_mask, "extra": added, "cache": cache}
            states = network.hidden(inputs, last=fresh, **given)
            logits = network.head(states)
            if cache is not None and joined is not None:
                step = Stepper(
                    joined, cache, context_mask
                )  # what came before is read; from here on it is a few tokens at a time
        if guidance:
            wanted, other = logits.float().chunk(2)
            logits = wanted + guidance * (wanted - other)
        said = _choose_each(logits, uniform[:, made : made + fresh], sampling)
        kept = fresh
        if guessed:
            right = (said[:, :-1] == tokens[:, end : end + guessed]).cumprod(1).sum(1)
            kept = 1 + int(right.min())
        tokens[:, end : end + kept] = said[:, :kept]
        made += kept
        if heads is not None:
            assert cache is not None
            cache.filled = known + made - 1  # guesses that were wrong are forgotten; their places are written again
            guessed = min(heads.config.count, count - made - 1)
            if guessed > 0:
                say = step.say if step is not None else network.head
                at = states[:rows, states.shape[1] - fresh + kept - 1]
                guesses = _choose_each(heads(at, say, guessed), uniform[:, made : made + guessed], sampling)
                tokens[:, known + made : known + made + guessed] = guesses
            guessed = max(0, guessed)
        if progress is not None:
            progress(kept)
    return tokens[:, known:]


def _choose_each(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """`choose` at every place: `b n vocab` and `b n` -> `b n`."""
    return choose(logits.flatten(0, 1), uniform.flatten(), sampling).view(uniform.shape)
