"""Sampling tokens one after another with a key-value cache (paper section 4.3).

A token is chosen by inverting the distribution's cumulative sum at a uniform number drawn beforehand, one per row and token. So one
generator decides everything, and a row with a seed of its own gets the same tokens whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from armillary.errors import BadInput
from armillary.worlds.autoregressive.step import LIMIT, Stepper
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
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Continue `prompt`.

    Args:
        prompt: int64 `b n`, at least one token.
        uniform: `b count`, see `choose`; its width says how many tokens are made.
        context, context_mask: text. With `guidance` both hold twice the rows: first the rows with the wanted text, then the same rows
            with the text to move away from.
        extra: from a start and an end to what is added to those inputs, `b (end - start) dim`.
        guidance: logits become `wanted + guidance * (wanted - other)`.
        cached: False reads everything anew for each token; slower, the same result up to rounding.
        progress: called with 1 after each token.

    Returns:
        int64 `b count`.
    """
    rows, known = prompt.shape
    twice = 2 if guidance else 1
    count = uniform.shape[1]
    uniform = uniform.to(prompt.device)
    cache = Cache(network.config, rows * twice, known + count - 1, network.embed.weight) if cached and count else None
    small = network.embed.weight.dtype == torch.float32 and sum(p.numel() for p in network.parameters()) <= LIMIT
    step: Stepper | None = None
    tokens = torch.cat([prompt, prompt.new_zeros(rows, count)], dim=1)
    for i in range(count):
        start, end = (cache.filled if cache is not None else 0), known + i
        added = None if extra is None else extra(start, end).repeat(twice, 1, 1)
        inputs = tokens[:, start:end].repeat(twice, 1)
        if step is not None:
            logits = step(inputs, added)
        else:
            logits = network(inputs, context=context, context_mask=context_mask, extra=added, cache=cache, last=True)[:, 0]
            if cache is not None and small:
                step = Stepper(network, cache, context_mask)  # what came before is read; from here on it is one token at a time
        if guidance:
            wanted, other = logits.float().chunk(2)
            logits = wanted + guidance * (wanted - other)
        tokens[:, end] = choose(logits, uniform[:, i], sampling)
        if progress is not None:
            progress(1)
    return tokens[:, known:]
