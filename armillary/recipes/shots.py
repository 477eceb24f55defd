"""The shot network that ships as `curate-shots`: made-up joins of real single shots, features, a small network, a folder.

    python -m armillary.recipes.shots --data FOOTAGE --sources weights/curate-shots/sources.json --out OUT

`sources.json` names the stretches that are one shot each, by split: `{"train": [["file.mp4", first, last], ...], "val": ...}`; frames
`first..last` of `FOOTAGE/file.mp4`, `last` excluded. Splits share no file. Beside them come drawn textures and pages of text.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.curate.shots.detect import ShotConfig, read
from armillary.curate.shots.features import REACH, features
from armillary.curate.shots.footage import Source, read_source, slide, texture
from armillary.curate.shots.joins import Join, join
from armillary.curate.shots.network import CLAMP, KINDS, Network, NetworkConfig
from armillary.curate.shots.score import Score
from armillary.curate.shots.types import SmallFrames
from armillary.errors import BadInput, require
from armillary.progress import Progress, say


@dataclass(frozen=True)
class ShotsConfig:
    """How the network is made.

    Args:
        joins: training sequences of about 400 frames; held: validation ones.
        width: channels; dilations: of the blocks.
        batch, crop: sequences and frames a step; steps; rate: peak of the learning rate.
        found: weight of the frames that begin a shot against those that do not; decay: of the averaged weights.
        drawn: drawn sources beside the footage (twice as many pages as textures).
    """

    joins: int = 700
    held: int = 30
    width: int = 48
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    batch: int = 24
    crop: int = 192
    steps: int = 1200
    rate: float = 3e-3
    found: float = 3.0
    decay: float = 0.995
    drawn: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Sequences end to end.

    Args:
        x: float16 `n f`. cut, gradual: 0 or 1; kind: 0 (none) to 3; sure: 0 or 1; all float32 `n`.
        starts: where each sequence starts, and where the last one ends. truth: of each, frames a second and its transitions.
    """

    x: np.ndarray
    cut: np.ndarray
    gradual: np.ndarray
    kind: np.ndarray
    sure: np.ndarray
    starts: np.ndarray
    truth: list[tuple[Any, ...]]


def sources(listing: str | Path, folder: str | Path, split: str, drawn: int) -> list[Source]:
    """The shots of a split, footage first. Clips of one room (named alike up to their last word) count together like two."""
    try:
        named = json.loads(Path(listing).read_text())[split]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{listing} is no list of sources with a split {split!r}: {error!r}.") from error
    out: list[Source] = []
    for name, first, last in named:
        s = read_source(Path(folder) / name, last)
        out.append(Source(s.name, s.y[first:last], s.u[first:last], s.v[first:last]))
    base = {"train": 0, "val": 1000}.get(split, 2000)
    out += [texture(base + k) for k in range(drawn)] + [slide(base + k) for k in range(2 * drawn)]
    groups: dict[str, int] = {}
    for s in out:
        groups[_group(s)] = groups.get(_group(s), 0) + 1
    return [s for s in out for _ in range(max(1, round(10 * min(1.0, 2 / groups[_group(s)]))))]


def _group(s: Source) -> str:
    return s.name.rsplit("_gestures_", 1)[0] if "_gestures_" in s.name else "slide" if s.name.startswith("slide-") else s.name


_POOL: list[Source] = []


def _made(task: tuple[int, int]) -> tuple[Join, np.ndarray]:
    made = join(_POOL, np.random.default_rng(task))
    rows = features(made.small).astype(np.float16)
    nothing = SmallFrames(*(np.zeros((0, 1, 1), np.uint8) for _ in range(3)))  # pictures would be most of the memory
    return dataclasses.replace(made, small=nothing), rows


def prepare(pool: list[Source], count: int, seed: int, processes: int = 1) -> Rows:
    """`count` joins and their features. The same for any number of processes."""
    _POOL[:] = pool
    parts: list[tuple[Join, np.ndarray]] = []
    tasks = [(seed, k) for k in range(count)]
    with Progress("joins", count) as bar:
        if processes > 1:
            with multiprocessing.get_context("fork").Pool(processes) as workers:
                for part in workers.imap(_made, tasks, chunksize=8):
                    parts.append(part)
                    bar.advance()
        else:
            for task in tasks:
                parts.append(_made(task))
                bar.advance()
    lengths = [len(x) for _, x in parts]
    cut, gradual, kind = (np.zeros(sum(lengths), np.float32) for _ in range(3))
    starts = np.cumsum([0, *lengths])
    for (made, _), s in zip(parts, starts):
        for t in made.truth:
            if t.kind == "cut":
                cut[s + t.start] = 1
            else:
                gradual[s + t.start : s + t.end + 1] = 1
                kind[s + t.start : s + t.end + 1] = 1 + KINDS.index(t.kind)
    sure = np.concatenate([made.sure for made, _ in parts]).astype(np.float32)
    truth = [(made.fps, made.truth) for made, _ in parts]
    return Rows(np.concatenate([x for _, x in parts]), cut, gradual, kind, sure, starts, truth)


class Trainable(nn.Module):
    """The network of `curate.shots.network` with gradients: the same names, the same sums."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(config.features, config.width)
        self.blocks = nn.ModuleList(nn.Conv1d(config.width, config.width, 3, dilation=d) for d in config.dilations)
        self.leave = nn.Linear(config.width, 2 + len(KINDS))

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """`b t f` normalised and clamped -> `b t 5`: logits of cut, gradual, kinds.

        With `rng` a tenth of the features and of the channels drop out.
        """
        if rng is not None:
            x = x * (torch.rand(x.shape, generator=rng) > 0.1) / 0.9
        x = functional.relu(self.enter(x)).transpose(1, 2)
        if rng is not None:
            x = x * (torch.rand(x.shape, generator=rng) > 0.1) / 0.9
        for block, d in zip(self.blocks, self.config.dilations):
            x = x + functional.relu(block(functional.pad(x, (d, d), mode="replicate")))
        return self.leave(x.transpose(1, 2))


def fit(rows: Rows, c: ShotsConfig) -> Network:
    """Train on `rows`."""
    wide = rows.x.astype(np.float32)
    mean, scale = wide.mean(0), (1 / (wide.std(0) + 1e-3)).astype(np.float32)
    shape = NetworkConfig(rows.x.shape[1], c.width, c.dilations)
    rng, noise = np.random.default_rng(c.seed), torch.Generator().manual_seed(c.seed)
    torch.manual_seed(c.seed)
    net = Trainable(shape)
    optim = torch.optim.AdamW(net.parameters(), lr=c.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, c.rate, total_steps=c.steps, pct_start=0.1)
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    # Beside a cut, and at the ends of a gradual transition, a frame more or less is no error worth the same.
    beside = np.convolve(rows.cut, [1, 0, 1], "same") > 0
    weight_cut = np.where(rows.cut > 0, c.found, np.where(beside, 0.5, 1.0)) * rows.sure
    edge = np.abs(np.diff(rows.gradual, prepend=0)) + np.abs(np.diff(rows.gradual, append=0)) > 0
    weight_gradual = np.where(edge, 0.4, 1.0) * rows.sure
    starts, ends = rows.starts[:-1], rows.starts[1:]
    reach = shape.reach
    with Progress("shot network", c.steps) as bar:
        for _ in range(c.steps):
            pick = rng.integers(len(starts), size=c.batch)
            low, high = starts[pick], np.maximum(starts[pick] + 1, ends[pick] - c.crop + 1)
            # a little beyond both ends, so that the ends of sequences are seen as often as their middles
            first = np.clip(rng.integers(low - 40, high + 40), low, high - 1)
            at = np.minimum(first[:, None] + np.arange(c.crop), (ends[pick] - 1)[:, None])
            inner = np.ones(at.shape, np.float32)
            inner[:, :reach] = (first == low)[:, None]
            inner[:, -reach:] = (first == high - 1)[:, None]
            inner[:, 1:] *= at[:, 1:] != at[:, :-1]
            x = torch.from_numpy(np.clip((wide[at] - mean) * scale, -CLAMP, CLAMP))
            x = x + 0.05 * torch.randn(x.shape, generator=noise)
            out = net(x, noise)
            cut, gradual, kind, wc, wg = (
                torch.from_numpy(np.asarray(a, np.float32))
                for a in (rows.cut[at], rows.gradual[at], rows.kind[at], weight_cut[at] * inner, weight_gradual[at] * inner)
            )
            each = functional.binary_cross_entropy_with_logits
            loss = 10 * (each(out[..., 0], cut, reduction="none") * wc).mean()
            loss = loss + 2 * (each(out[..., 1], gradual, reduction="none") * wg).mean()
            if (kind > 0).any():
                loss = loss + 0.2 * functional.cross_entropy(out[..., 2:][kind > 0], (kind[kind > 0] - 1).long())
            optim.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optim.step()
            schedule.step()
            for k, v in net.state_dict().items():
                average[k].lerp_(v, 1 - c.decay)
            bar.advance(loss=f"{loss.item():.3f}")
    tensors = {k: v.numpy() for k, v in average.items()} | {"mean": mean, "scale": scale}
    return Network(shape, {k: v.astype(np.float16).astype(np.float32) for k, v in tensors.items()})


def measure(network: Network, rows: Rows, config: ShotConfig | None = None) -> dict[str, Any]:
    """Precision, recall and F1 over sequences, each by `score.Score`; findings where nobody could tell do not count."""
    total = Score()
    for k, (_, truth) in enumerate(rows.truth):
        part = slice(rows.starts[k], rows.starts[k + 1])
        found = read(network(rows.x[part].astype(np.float32)), config or ShotConfig())
        total.add(found, truth, rows.sure[part] > 0)
    return total.figures()


def save(network: Network, out: str | Path, facts: dict[str, Any]) -> Path:
    """A checkpoint folder, tensors in half precision."""
    from armillary.store import save_folder

    tensors = {k: torch.from_numpy(v).half() for k, v in network.tensors.items()}
    return save_folder(out, family="shots", config=network.config, tensors=tensors, extra=facts)


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of the footage")
    parser.add_argument("--sources", required=True, help="which stretches of which files are one shot")
    parser.add_argument("--out", required=True, help="checkpoint folder to write")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of ShotsConfig")
    given = parser.parse_args()
    from armillary.presets import override

    c = override(ShotsConfig(), given.set)
    require("cv2", "curation").setNumThreads(1)  # its threads do not survive the fork of the workers
    rows = prepare(sources(given.sources, given.data, "train", c.drawn), c.joins, c.seed, given.processes)
    held = prepare(sources(given.sources, given.data, "val", 3), c.held, c.seed + 1)
    network = fit(rows, c)
    figures = measure(network, held)
    say(json.dumps(figures))
    say(f"{save(network, given.out, {'recipe': c, 'held_out': figures, 'reach': REACH + network.config.reach})}")


if __name__ == "__main__":
    main()
