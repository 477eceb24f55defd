"""The embedded feature extractor that ships as `features-small`: pictures are as far apart to it as what was done to them is bad.

    python -m armillary.recipes.features --out OUT

Pictures come from every simulator and from `recipes/drawn.py`. Three things are asked of the network at once: a stronger distortion is
farther away than a weaker one of its kind; at equal mean squared error, lost structure is farther away than grain, and grain than a
change of light or a shift by part of a pixel; and a picture is still itself (InfoNCE, arXiv 1807.03748) under the last. Whether that holds
is then measured in scenes that were never seen, also for kinds of distortion that were never trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary import features
from armillary.features.base import maps_apart
from armillary.features.small_network import FAMILY, Small, SmallConfig
from armillary.progress import Progress
from armillary.recipes.alone import alone
from armillary.recipes.distort import DISTORTIONS, distort, matched
from armillary.recipes.drawn import DRAWN
from armillary.sims import SIMS, make
from armillary.store import save_folder

HELD_SEED = 900_000  # the first simulator seed of scenes that are measured on
TWINS = ("tabletop-gripper-joints", "tabletop-few")  # look like another simulator
LEVELS = (0.15, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class FeaturesConfig:
    """How the extractor is trained.

    Args:
        scenes: of each simulator, `views` pictures of each; drawn: pictures of `recipes/drawn.py`.
        size: pixels a side that are rendered; crop: of the parts that are trained on.
        batch: pictures a step, each with four spoilt ones. steps; rate: peak of the learning rate.
        heat: temperature of the contrast; same: its weight.
    """

    scenes: int = 120
    views: int = 3
    drawn: int = 240
    size: int = 96
    crop: int = 64
    batch: int = 10
    steps: int = 700
    rate: float = 2e-3
    heat: float = 0.1
    same: float = 0.1
    seed: int = 0
    network: SmallConfig = field(default_factory=SmallConfig)


def pictures(scenes: int, views: int, drawn: int, size: int, first: int = 0) -> Tensor:
    """Frames of scripted episodes of every simulator from seed `first` on, and drawn ones: uint8 `n 3 h w`."""
    out: list[np.ndarray] = []
    for name in (n for n in SIMS if n not in TWINS):
        sim = make(name)
        policies = list(sim.policies.values())
        for seed in range(first, first + scenes):
            sim.reset(seed)
            rng = np.random.default_rng([0xFEA7, seed])
            act = policies[seed % len(policies)]
            for view in range(views):
                camera = sim.cameras[(seed + view) % len(sim.cameras)]
                out.append(sim.render((camera,), size)[camera])
                for _ in range(int(rng.integers(2, 9)) if view + 1 < views else 0):
                    sim.step(act(sim, rng))
    made = list(DRAWN.values())
    for i in range(drawn):
        rng = np.random.default_rng([0xD4A3, first + i])
        out.append(made[i % len(made)][1](rng, size, size, 1)[0])
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).contiguous()


def _cropped(x: Tensor, crop: int, rng: np.random.Generator) -> Tensor:
    top, left = (int(rng.integers(s - crop + 1)) for s in x.shape[1:])
    x = x[:, top : top + crop, left : left + crop].float() / 255
    return x.flip(2) if rng.random() < 0.5 else x


def _quintet(x: Tensor, rng: np.random.Generator) -> list[Tensor]:
    """A picture; a weak and a strong distortion of one kind; two of other ranks at equal error, the milder one first."""
    trained = {k: v for k, v in DISTORTIONS.items() if not v.held}
    names = list(trained)
    kind, seed = names[int(rng.integers(len(names)))], int(rng.integers(1 << 30))
    strong = rng.uniform(0.2, 1.0)
    weak = strong * rng.uniform(0.3, 0.8)
    low, high = (int(v) for v in ((0, 1), (0, 2), (0, 2), (1, 2))[int(rng.integers(4))])
    mild, bad = (
        names_of[int(rng.integers(len(names_of)))]
        for names_of in ([k for k in names if trained[k].rank == r] for r in (low, high))
    )
    pair = matched(x, *(distort(x, k, rng.uniform(0.25, 1.0), int(rng.integers(1 << 30))) for k in (mild, bad)))
    return [x, distort(x, kind, weak, seed), distort(x, kind, strong, seed), *pair]


class Trained(nn.Module):
    """`Small` with batch normalisation after each convolution, which keeps the maps alike in size; folded away in the end."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            for into in (channels, width):
                layers.append(nn.Sequential(nn.Conv2d(into, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)))
            channels = width
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i and i % 2 == 0:
                x = functional.avg_pool2d(x, 2)
            x = functional.relu(layer(x))
            if i % 2:
                maps.append(x)
        return maps

    @torch.no_grad()
    def folded(self, sample: Tensor) -> Small:
        """The same network without normalisation, its maps scaled to mean 1 over `sample` (frames `n 3 h w` in [-1, 1])."""
        out = Small(self.config)
        convs = [m for m in out.modules() if isinstance(m, nn.Conv2d)]
        for conv, layer in zip(convs, self.layers):
            source, norm = layer  # type: ignore[misc]
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.copy_(source.weight * gain[:, None, None, None])
            conv.bias.copy_(norm.bias - norm.running_mean * gain)  # type: ignore[union-attr]
        return levelled(out, sample)


@torch.no_grad()
def levelled(network: Small, sample: Tensor) -> Small:
    """Scales each stage so that its map has mean 1 over `sample`; what a ReLU network says is otherwise unchanged."""
    sizes = [float(m.mean()) for m in network(sample)]
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    before = 1.0
    for i, size in enumerate(sizes):
        first, last = convs[2 * i], convs[2 * i + 1]
        first.weight.mul_(before)
        last.weight.div_(size)
        last.bias.div_(size)  # type: ignore[union-attr]
        before = size
    return network.eval().requires_grad_(False)


def fit(pool: Tensor, c: FeaturesConfig) -> Small:
    """Train on pictures. Every random number comes from `c.seed`."""
    torch.manual_seed(c.seed)
    rng = np.random.default_rng([0xFEA7, c.seed])
    net = Trained(c.network)
    head = nn.Linear(c.network.widths[-1], 64, bias=False)  # is left behind
    optim = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=c.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, c.rate, total_steps=c.steps, pct_start=0.1)
    labels, right = torch.arange(c.batch), 0.5
    with Progress("features", c.steps) as bar:
        for _ in range(c.steps):
            chosen = (pool[int(i)] for i in rng.integers(len(pool), size=c.batch))
            rows = [_quintet(_cropped(x, c.crop, rng), rng) for x in chosen]
            frames = torch.stack([row[i] for i in range(5) for row in rows]) * 2 - 1
            maps = net(frames)
            plain = [m[: c.batch].repeat(4, 1, 1, 1) for m in maps]
            apart = maps_apart([m[c.batch :] for m in maps], plain, c.network.weights)
            weak, strong, mild, bad = apart.clamp_min(1e-6).log().chunk(4)
            order = functional.softplus(4 * (weak - strong + 0.3)).mean() + functional.softplus(4 * (mild - bad + 0.3)).mean()
            seen = functional.normalize(head(maps[-1].mean((2, 3))), dim=1)
            near = seen[: c.batch] @ seen[3 * c.batch : 4 * c.batch].T / c.heat
            loss = order + c.same * functional.cross_entropy(near, labels)
            optim.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optim.step()
            schedule.step()
            right += 0.02 * (float((mild < bad).float().mean()) - right)
            bar.advance(loss=f"{loss.item():.2f}", order=f"{right:.2f}")
    return net.eval().folded(pool[:: max(1, len(pool) // 64)].float() / 127.5 - 1)


Distance = Callable[[Tensor, Tensor], Tensor]


def ranked(distance: Distance, held: Tensor, seed: int = 0) -> dict[str, Any]:
    """How a distance orders distortions of pictures it never saw, uint8 `n 3 h w`.

    `monotonic`: by kind, share of neighbouring strengths that are told in order. `order`: share of pairs at equal error whose worse kind
    is farther away, for kinds trained on and for pairs of kinds held out; 0.5 is chance, and what squared error itself can tell.
    """
    rng = np.random.default_rng([0x4A7C, seed])
    scaled = held.float() / 255
    monotonic = {}
    for kind in DISTORTIONS:
        rows = []
        for x in scaled[:40]:
            place = int(rng.integers(1 << 30))
            spoilt = torch.stack([distort(x, kind, s, place) for s in LEVELS])
            rows.append(distance(x.expand_as(spoilt) * 2 - 1, spoilt * 2 - 1))
        steps = torch.stack(rows).diff(dim=1)
        monotonic[kind] = float((steps > 0).float().mean())
    order = {}
    for title, held_out in (("trained kinds", False), ("held-out kinds", True)):
        kinds = [k for k, v in DISTORTIONS.items() if v.held == held_out]
        right = []
        for mild in kinds:
            for bad in (k for k in kinds if DISTORTIONS[k].rank > DISTORTIONS[mild].rank):
                for x in scaled[int(rng.integers(3)) :: 3]:
                    strengths, places = rng.uniform(0.25, 1.0, 2), rng.integers(1 << 30, size=2)
                    spoilt = (distort(x, k, float(s), int(p)) for k, s, p in zip((mild, bad), strengths, places))
                    both = torch.stack(matched(x, *spoilt))
                    near, far = distance(x.expand_as(both) * 2 - 1, both * 2 - 1)
                    right.append(0.5 if torch.isclose(near, far, rtol=1e-4) else float(near < far))
        order[title] = float(np.mean(right))
    return {"monotonic": monotonic, "order": order}


def contenders(network: Small, sample: Tensor) -> dict[str, Distance]:
    """The network, the same one with random weights, and the pixels themselves."""
    blank = levelled(features.untrained("small"), sample)  # type: ignore[arg-type]
    return {
        "trained": lambda a, b: features.apart(network, a, b),
        "random weights": lambda a, b: features.apart(blank, a, b),
        "mean absolute error": lambda a, b: (a - b).abs().mean((1, 2, 3)),
    }


def run(out: str | Path, config: FeaturesConfig | None = None) -> dict[str, Any]:
    """Train, measure on scenes that were held out, write the folder; gives the figures."""
    c, began = config or FeaturesConfig(), time.process_time()
    pool = pictures(c.scenes, c.views, c.drawn, c.size)
    network = fit(pool, c)
    spent = round(time.process_time() - began)
    small = {k: v.half() for k, v in network.state_dict().items()}
    network.load_state_dict(small)
    held = pictures(12, 1, 24, c.size, HELD_SEED)[:, :, 16 : 16 + c.crop, 16 : 16 + c.crop]
    held = held[torch.from_numpy(np.random.default_rng(0).permutation(len(held)))]
    sample = pool[:: max(1, len(pool) // 64)].float() / 127.5 - 1
    figures = {name: ranked(distance, held) for name, distance in contenders(network, sample).items()}
    extra = {"recipe": c, "held_out": figures, "cpu_s": spent, "parameters": sum(p.numel() for p in network.parameters())}
    save_folder(out, family=FAMILY, config=network.config, tensors=small, extra=extra)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    alone(__doc__, run, FeaturesConfig(), arguments)


if __name__ == "__main__":
    main()
