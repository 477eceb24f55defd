"""Several datasets as one, and single frames among windows.

Each row of a batch comes from a member drawn by weight, so a batch stays a function of (seed, step, row) and several ranks share the rows
that one process would take. What members disagree about is an error where it changes what a network is told (frames, size, rate, views,
tokenizer, the meaning of actions); a condition that only some of them know is left out, which is said once.

With `buckets` all rows of a step come from one member, drawn by (seed, step), and members may differ in size: clips of one shape each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armillary.data.base import Dataset, Encoded, Split, TooFew
from armillary.data.clips import ClipsConfig
from armillary.data.driving.dataset import DrivingConfig
from armillary.data.episodes import EpisodesConfig
from armillary.data.latents import LatentsConfig
from armillary.data.posed.dataset import PosedConfig
from armillary.data.synthetic import SyntheticConfig
from armillary.errors import BadInput
from armillary.progress import say
from armillary.types import ActionSpec, Batch

STREAM = 0x317  # sets the draw of a member apart from what the member draws
SEEN = ("video", "latents", "tokens")


@dataclass(frozen=True)
class MixtureConfig:
    """Datasets in shares.

    Args:
        sources: pixels all of them, or all as one tokenizer sees them (`LatentsConfig`, each with its own cache).
        weights: of the rows, one a source, in any unit; empty for as many rows as each has windows.
        images: share of the training steps whose batch holds single frames, evenly spread: for tokenizers and for worlds that take
            clips whole. The held-out split keeps to windows.
        image_rows: times as many rows in such a batch.
        buckets: all rows of a step come from one source, and sources may differ in size. One that has nothing is left out and named.
        rates: whether pixels may come at several frame rates: a tokenizer is told none, a world is. The mixture's is the first member's.
    """

    sources: tuple[EpisodesConfig | ClipsConfig | PosedConfig | DrivingConfig | LatentsConfig | SyntheticConfig, ...] = ()
    weights: tuple[float, ...] = ()
    images: float = 0.0
    image_rows: int = 1
    rates: bool = False
    buckets: bool = False

    def build(self, split: Split = "train") -> Mixture:
        """Raises BadInput: shares that make no sense, or members that do not fit together."""
        if not self.sources:
            raise BadInput("A mixture wants at least one source.")
        if self.weights and len(self.weights) != len(self.sources):
            raise BadInput(f"A mixture wants one weight a source; got {len(self.weights)} for {len(self.sources)} sources.")
        if not all(0 < w < math.inf for w in self.weights):
            raise BadInput(f"Weights are positive numbers; got {list(self.weights)}. Leave out a source that is not wanted.")
        if not 0 <= self.images <= 1 or self.image_rows < 1:
            raise BadInput(f"images is a share in [0, 1] and image_rows at least 1; got {self.images}, {self.image_rows}.")
        config, members = self._filled(split) if self.buckets else (self, [source.build(split) for source in self.sources])
        kinds = {name for m in members for name in m.fields if name in SEEN}
        if len(kinds) > 1:
            raise BadInput(f"A mixture holds one kind of data; its members give {' and '.join(sorted(kinds))}.")
        return Mixture(config, members, split) if kinds == {"video"} else EncodedMixture(config, members, split)

    def _filled(self, split: Split) -> tuple[MixtureConfig, list[Dataset]]:
        """The sources that have something, and this config of them alone."""
        members: list[Dataset] = []
        kept, empty = [], []
        for i, source in enumerate(self.sources):
            try:
                members.append(source.build(split))
                kept.append(i)
            except TooFew as error:
                empty.append(str(error))
        if not members:
            raise TooFew(f"No bucket of the mixture has anything: {' '.join(empty)}")
        for said in empty:
            say(f"note: a bucket is left out ({split}): {said}")
        weights = tuple(self.weights[i] for i in kept) if self.weights else ()
        return dataclasses.replace(self, sources=tuple(self.sources[i] for i in kept), weights=weights), members


class Mixture:
    """See the module. A `Dataset`; `members` are those of the config, `shares` their part of the rows (sum 1). `hash` is theirs, with
    buckets of those that the split has.
    """

    def __init__(self, config: MixtureConfig, members: Sequence[Dataset], split: Split) -> None:
        self.config, self.members = config, list(members)
        self.split: Split = split
        free = {"size"} if config.buckets else set()
        free |= {"fps"} if config.rates and "video" in members[0].fields else set()
        for name in ("frames", "size", "fps", "views"):
            if name in free:
                continue
            values = [getattr(m, name) for m in members]
            if any(v != values[0] for v in values):
                raise BadInput(f"The members of a mixture differ in {name}: {', '.join(map(str, values))}. Give them one.")
        first = members[0]
        self.frames, self.size, self.fps, self.views = first.frames, first.size, first.fps, first.views
        weights = np.array(config.weights or [len(m) for m in members], np.float64)
        self.shares = weights / weights.sum()
        self.spec = joint_spec([m.spec for m in members], self.shares)
        # What was filled up is known of all: nothing, where nobody says.
        union = frozenset.union(*(m.fields for m in members))
        self.fields = frozenset.intersection(*(m.fields for m in members)) | (union & {"padding"})
        some = sorted(union - self.fields)
        if "view_text" in some and "context" in self.fields:
            raise BadInput(
                "Only some members of the mixture have sentences of their own for each view; their text does not fit together."
            )
        if some:
            say(f"note: {', '.join(some)} {'is' if len(some) == 1 else 'are'} left out: only some members of the mixture know.")
        told = [f"{m.hash}*{w!r}" for m, w in zip(members, config.weights or ["windows"] * len(members))]
        told.append(f"{config.images!r}*{config.image_rows}" + ("*buckets" if config.buckets else ""))
        self.hash = hashlib.sha256("/".join(told).encode()).hexdigest()

    def __len__(self) -> int:
        return sum(len(m) for m in self.members)

    def is_images(self, step: int) -> bool:
        """Whether the batch of that step holds single frames: after any number of steps as near to the share as can be."""
        share = self.config.images if self.split == "train" else 0.0
        return math.floor((step + 1) * share) > math.floor(step * share)

    def member(self, step: int, row: int, seed: int) -> int:
        """The number of the member that a row comes from."""
        return int(np.random.default_rng([seed, step, row, STREAM]).choice(len(self.members), p=self.shares))

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """As `Dataset.batch`; keys begin with the number of the member."""
        images = self.is_images(step)
        size *= self.config.image_rows if images else 1
        parts = []
        for row in range(rank * size, (rank + 1) * size):
            m = self.member(step, 0 if self.config.buckets else row, seed)
            one = self.members[m].batch(step, 1, seed, row, world * size)
            parts.append(dataclasses.replace(one, keys=(f"{m}/{one.keys[0]}",)))
        joint = self._joined(parts, self.members[m].size)
        return first_frames(joint, self.frames) if images else joint

    def _joined(self, parts: Sequence[Batch], size: tuple[int, int]) -> Batch:
        out = {}
        for f in dataclasses.fields(Batch):
            values = [getattr(p, f.name) for p in parts]
            if f.name == "view_text" and "view_text" not in self.fields:
                continue
            if f.name in ("text", "keys", "view_text"):
                out[f.name] = tuple(x for v in values for x in v)
            elif f.name == "views":
                out[f.name] = self.views
            elif f.name == "padding" and all(v is None for v in values):
                continue
            elif f.name == "padding":
                out[f.name] = torch.from_numpy(np.concatenate([_padding(v, p, size) for v, p in zip(values, parts)]))
            elif f.name in self.fields or f.name == "fps" or _follows(f.name, self.fields):
                # In NumPy: a thread that works ahead must not start a second set of torch's threads.
                out[f.name] = torch.from_numpy(np.concatenate([v.numpy() for v in values]))
        return Batch(**out)


class EncodedMixture(Mixture):
    """A mixture of what one tokenizer says. `Encoded`."""

    def __init__(self, config: MixtureConfig, members: Sequence[Dataset], split: Split) -> None:
        encoded = [m for m in members if isinstance(m, Encoded)]
        assert len(encoded) == len(members)
        for name, values in (
            ("the tokenizer", [(m.ref.name, m.ref.sha256[:12]) for m in encoded]),
            ("the text encoder", [m.text for m in encoded]),
        ):
            if any(v != values[0] for v in values):
                raise BadInput(f"The members of a mixture differ in {name}: {', '.join(map(str, values))}. Give them one.")
        super().__init__(config, members, split)
        self.encoded = encoded
        self.ref, self.text, self.text_dim = encoded[0].ref, encoded[0].text, encoded[0].text_dim

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Windows for fitting a normaliser, of each member in its share: `n c t h w` or `n t h w`."""
        counts = np.bincount([self.member(2**31, row, seed) for row in range(n)], minlength=len(self.encoded))
        parts = [m.sample(int(c), seed) for m, c in zip(self.encoded, counts) if c]
        h, w = (min(p.shape[axis] for p in parts) for axis in (-2, -1))  # of several sizes the part that all have
        return torch.cat([p[..., :h, :w] for p in parts])


def _padding(told: Tensor | None, part: Batch, size: tuple[int, int]) -> np.ndarray:
    """What a member says was filled up, or that nothing was."""
    return np.zeros((part.size, 1, *size), np.float32) if told is None else told.numpy()


def _follows(name: str, fields: frozenset[str]) -> bool:
    """Fields that come with another one."""
    return {"context_mask": "context", "intrinsics": "poses"}.get(name, "") in fields


def first_frames(batch: Batch, frames: int) -> Batch:
    """The first frame of each window (of each view): what a causal tokenizer says of it is what it says of that frame alone.

    Args:
        frames: in a window on the finest clock.
    """
    views = batch.views
    changes: dict[str, Tensor] = {}
    for name in SEEN:
        if (seen := getattr(batch, name)) is not None:
            first = torch.arange(views) * (seen.shape[-3] // views)
            changes[name] = seen.index_select(seen.ndim - 3, first)
    for name in ("poses", "intrinsics"):
        if (values := getattr(batch, name)) is not None:
            changes[name] = values[:, torch.arange(views) * frames]
    if batch.actions is not None:
        changes["actions"] = batch.actions[:, :1]
    return dataclasses.replace(batch, **changes)


def joint_spec(specs: Sequence[ActionSpec | None], shares: np.ndarray) -> ActionSpec | None:
    """One spec for all: the widest bounds, and the mean and deviation of the mixture.

    Raises:
        BadInput: actions that mean something else, or that only some have.
    """
    if all(s is None for s in specs):
        return None
    known = [s for s in specs if s is not None]
    if len(known) < len(specs):
        without = [str(i) for i, s in enumerate(specs) if s is None]
        raise BadInput(
            f"Only some members of the mixture have actions (none: number {', '.join(without)}). Set actions=false in the others, or mix "
            "datasets with the same actions."
        )
    for i, spec in enumerate(known[1:], 1):
        differing = [d for d in spec.differences(known[0]) if not d.startswith(("low:", "high:", "mean:", "std:"))]
        if bool(spec.mean) != bool(known[0].mean):
            differing.append("only one is normalised")
        if differing:
            raise BadInput(f"The actions of member {i} of the mixture differ from those of member 0: {'; '.join(differing)}.")
    bounds = {
        "low": tuple(np.min([s.low for s in known], 0).tolist()),
        "high": tuple(np.max([s.high for s in known], 0).tolist()),
    }
    if not known[0].mean:
        return dataclasses.replace(known[0], **bounds)
    means, spreads = np.array([s.mean for s in known]), np.array([s.std for s in known])
    mean = shares @ means
    std = np.sqrt(np.maximum(shares @ (spreads**2 + means**2) - mean**2, 0.0))
    return dataclasses.replace(known[0], **bounds, mean=tuple(mean.round(8).tolist()), std=tuple(std.round(8).tolist()))
