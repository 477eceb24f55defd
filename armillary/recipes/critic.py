"""The critic that ships as `critic-tabletop`: how many things of each colour and shape a picture shows (`rollout/critic.py`).

    python -m armillary.recipes.critic --out OUT

Pictures are first frames of the tabletop: of every two scenes one has a thing too many of a colour, which no caption describes and which
painters paint. Most are seen as a painter shows them: encoded, noised and decoded by the tokenizer. What it is worth is measured on scenes
that were never seen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from armillary import media
from armillary.errors import BadInput
from armillary.progress import Progress
from armillary.recipes.alone import alone
from armillary.rollout.counter import Counter, CriticConfig
from armillary.rollout.critic import FAMILY
from armillary.sims.tabletop import Tabletop
from armillary.sims.words.facts import Thing
from armillary.store import save_folder
from armillary.tokenizers import load
from armillary.train.ema import Average
from armillary.types import Latents

SEED = 2_000_000  # of the first scene to learn from; every `CriticRecipe.seed` has scenes of its own
HELD_SEED = 900_000  # of the first scene that is measured on
AVERAGED = 0.99  # of the averaged weights is kept a step


@dataclass(frozen=True)
class CriticRecipe:
    """How the critic is trained.

    Args:
        scenes: to learn from; held: to measure on.
        tokenizer: that worlds paint with. noise: least and greatest standard deviation of what is added to its latents, in their own.
        plain: share of the pictures that are seen without it.
        batch: pictures a step. steps; rate: peak of the learning rate.
    """

    scenes: int = 24_000
    held: int = 600
    tokenizer: str = "frame-c8-tabletop"
    noise: tuple[float, float] = (0.05, 0.7)
    plain: float = 0.33
    batch: int = 64
    steps: int = 5000
    rate: float = 3e-3
    seed: int = 0
    network: CriticConfig = field(default_factory=CriticConfig)


def scenes(count: int, first: int, config: CriticConfig) -> tuple[Tensor, Tensor]:
    """Pictures uint8 `n h w 3`, and what they show of each thing in `config.counted`: `n k`, 0 to 2."""
    sims = [Tabletop(fewest=1), Tabletop(fewest=1, twin=True)]
    pictures, counts = [], []
    with Progress("scenes", count) as bar:
        for i in range(count):
            sim = sims[i % 2]
            sim.reset(first + i)
            picture = sim.render(("front",), 2 * config.size)["front"]
            pictures.append(media.fit(picture[None], (config.size, config.size))[0])
            counts.append(config.counts([Thing(o.colour, o.shape) for o in sim.objects]))
            bar.advance()
    return torch.from_numpy(np.stack(pictures)), torch.tensor(counts)


@torch.no_grad()
def repainted(pictures: Tensor, c: CriticRecipe, generator: torch.Generator) -> Tensor:
    """The same pictures as they come out of the tokenizer when their latents are a little wrong, each by a level of its own."""
    tokenizer = load(c.tokenizer)
    low, high = np.log(c.noise)
    spread: Tensor | None = None
    made = []
    with Progress("repaint", len(pictures)) as bar:
        for part in pictures.split(64):
            coded = tokenizer.encode(rearrange(media.to_tensor(part.numpy()), "1 c b h w -> b c 1 h w"))
            if not isinstance(coded, Latents):
                raise BadInput(f"A critic sees pictures through a continuous tokenizer; {c.tokenizer!r} is discrete.")
            latents = coded.values
            if spread is None:
                spread = latents.std((0, 2, 3, 4), keepdim=True)
            level = torch.empty(len(part)).uniform_(low, high, generator=generator).exp()
            noise = torch.empty(latents.shape).normal_(generator=generator)
            back = tokenizer.decode(latents + level[:, None, None, None, None] * spread * noise)
            made.append(torch.from_numpy(media.to_frames(rearrange(back, "b c 1 h w -> c b h w"))))
            bar.advance(len(part))
    return torch.cat(made)


def fit(pictures: Tensor, painted: Tensor, counts: Tensor, c: CriticRecipe) -> Counter:
    """Train; what comes back are averaged weights. Every random number comes from `c.seed`."""
    torch.manual_seed(c.seed)
    generator = torch.Generator().manual_seed(c.seed)
    network = Counter(c.network)
    average = Average(network, AVERAGED)
    optim = torch.optim.AdamW(network.parameters(), lr=c.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, c.rate, total_steps=c.steps, pct_start=0.05)
    right = 0.0
    with Progress("critic", c.steps) as bar:
        for step in range(c.steps):
            chosen = torch.randint(len(pictures), (c.batch,), generator=generator)
            plain = torch.rand(c.batch, generator=generator) < c.plain
            mirrored = torch.rand(c.batch, generator=generator) < 0.5
            frames = torch.where(plain[:, None, None, None], pictures[chosen], painted[chosen])
            frames = torch.where(mirrored[:, None, None, None], frames.flip(2), frames)
            said = network(frames)
            loss = functional.cross_entropy(said.flatten(0, 1), counts[chosen].flatten())
            optim.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optim.step()
            schedule.step()
            average.update(network, step)
            right += 0.02 * (float((said.argmax(-1) == counts[chosen]).all(1).float().mean()) - right)
            bar.advance(loss=f"{loss.item():.3f}", right=f"{right:.2f}")
    network.load_state_dict(average.tensors)
    return network.eval()


@torch.no_grad()
def share_right(network: Counter, pictures: Tensor, counts: Tensor) -> dict[str, float]:
    """Share of pictures of which every count of a colour is right, and every count of all."""
    said = torch.cat([network(part).argmax(-1) for part in pictures.split(100)]) == counts
    colours = len(network.config.colours)
    return {"colours": float(said[:, :colours].all(1).float().mean()), "all": float(said.all(1).float().mean())}


def run(out: str | Path, config: CriticRecipe | None = None) -> dict[str, Any]:
    """Train, measure on scenes that were held out, write the folder; gives the figures."""
    c, began = config or CriticRecipe(), time.process_time()
    generator = torch.Generator().manual_seed(c.seed + 1)
    pictures, counts = scenes(c.scenes, SEED + c.seed * c.scenes, c.network)
    network = fit(pictures, repainted(pictures, c, generator), counts, c)
    spent = round(time.process_time() - began)
    small = {k: v.half() for k, v in network.state_dict().items()}
    network.load_state_dict(small)
    pictures, counts = scenes(c.held, HELD_SEED, c.network)
    figures = {
        "pictures": share_right(network, pictures, counts),
        "repainted": share_right(network, repainted(pictures, c, generator), counts),
    }
    extra = {"recipe": c, "held_out": figures, "cpu_s": spent, "parameters": sum(p.numel() for p in network.parameters())}
    save_folder(out, family=FAMILY, config=network.config, tensors=small, extra=extra)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    alone(__doc__, run, CriticRecipe(), arguments)


if __name__ == "__main__":
    main()
