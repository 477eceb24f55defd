"""What every dataset is: batches by (seed, step, rank), a content hash, and a split that stays put.

A batch is a pure function of its arguments. Row `g` of the global batch of a step is drawn by its own generator, seeded by
(seed, step, g); rank `r` of `w` takes rows `r*size ... (r+1)*size`. So resuming needs no stored position, and the same rows come
whether one process takes all of them or several share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from armillary.errors import BadInput
from armillary.store import sha256_file
from armillary.types import ActionSpec, Batch, Camera

if TYPE_CHECKING:
    from torch import Tensor

    from armillary.worlds.base import TokenizerRef

Split = Literal["train", "held-out"]


class Dataset(Protocol):
    """What the training loop reads.

    Attributes:
        hash: sha256 of the whole content and of the settings that change it, the same for both splits.
        spec: of the actions, `None` without.
        fps: frames a second of the finest clock.
        size: height and width of a frame in pixels.
        frames: frames in a window on the finest clock; views: how many are seen at once.
        fields: names of the fields of a `Batch` that are filled in, beside `text`, `fps`, `keys` and `views`.
    """

    hash: str
    spec: ActionSpec | None
    fps: float
    size: tuple[int, int]
    frames: int
    split: Split
    views: int
    fields: frozenset[str]

    def __len__(self) -> int:
        """Number of different windows."""
        ...

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """Rows `rank*size ... (rank+1)*size` of the `world*size` rows of a step."""
        ...


@runtime_checkable
class Encoded(Dataset, Protocol):
    """A dataset of what a tokenizer says: what a world is trained on.

    Attributes:
        ref: the tokenizer, as a world's setting names it (an absolute folder, or a shipped name).
        text, text_dim: the text encoder's name and width; empty and 0 without.
    """

    ref: TokenizerRef
    text: str
    text_dim: int

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Windows for fitting a normaliser, `n c t h w` or `n t h w`."""
        ...


@dataclass(frozen=True)
class Entry:
    """One stretch of frames that windows are cut from, known before a pixel is decoded.

    Args:
        key: unique and stable in its dataset.
        group: what must not be torn apart by the split (the source video of several clips); `key` when alone.
        length: number of frames.
        texts: sentences about it, one is drawn for each window; may be empty.
        actions: float32 `length a`.
        contact: float32 `length`, above 0 where something is touched, when the recorder knew.
        cameras: one a view, in pixels of the frames that come out.
        trajectory: float32 `length 64 3`, see `Batch`; ego: where the vehicle is, `length 4 4` (ahead, left, up), in the cameras' world.
        view_texts: a sentence for each view.
        shown: where the picture lies in a frame that it does not fill, as (top, left, height, width); the rest was filled up.
    """

    key: str
    group: str
    length: int
    texts: tuple[str, ...] = ()
    actions: np.ndarray | None = None
    contact: np.ndarray | None = None
    cameras: tuple[Camera, ...] = ()
    trajectory: np.ndarray | None = None
    ego: np.ndarray | None = None
    view_texts: tuple[str, ...] = ()
    shown: tuple[int, int, int, int] | None = None


class TooFew(BadInput):
    """There is a dataset, but nothing in it that would do."""


def row_rng(seed: int, step: int, row: int) -> np.random.Generator:
    """The generator of one row of the global batch of one step."""
    return np.random.default_rng([seed, step, row])


def unit(text: str) -> float:
    """A stable number in [0, 1) for a name."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def split_entries(entries: Sequence[Entry], share: float, split: Split, what: str) -> list[Entry]:
    """The entries of one split, in the given order.

    An entry's side follows from its group's name alone, so a dataset that grows never moves an old entry. Only where that rule
    would leave a side empty (very few groups) is one group moved: the one whose hash is nearest the border.

    Args:
        share: fraction of the groups that is held out, in [0, 1).

    Raises:
        BadInput: for another split.
        TooFew: the held-out side of a dataset that cannot have one.
    """
    if split not in ("train", "held-out"):
        raise BadInput(f"A split is 'train' or 'held-out'; got {split!r}.")
    if not 0 <= share < 1:
        raise BadInput(f"held_out is a share in [0, 1), 0.05 for instance; got {share}.")
    groups = {e.group for e in entries}
    if len(groups) < 2:  # one long source: its entries are all there is to divide
        names = {e.key: e.key for e in entries}
    else:
        names = {e.key: e.group for e in entries}
    values = {name: unit(name) for name in names.values()}
    held = {name for name, value in values.items() if value < share} if len(values) > 1 else set()
    if share > 0 and len(values) > 1:
        if not held:
            held = {min(values, key=lambda n: values[n])}
        elif len(held) == len(values):
            held -= {max(values, key=lambda n: values[n])}
    chosen = [e for e in entries if (names[e.key] in held) == (split == "held-out")]
    if not chosen:
        raise TooFew(f"{what} has no {split} part: it holds {len(entries)} stretch(es) and held_out is {share}.")
    return chosen


class Windows:
    """Every window of `frames` frames, and the rule by which one is drawn.

    Args:
        lengths: frames of each entry.
        frames: of a window.
        starts: allowed first frames for each entry; every one that fits when `None`.
        activity: float `length` for each entry, or `None`; with it, `focus` of the draws go to the quarter of the windows in which
            most happens (the summed activity of all frames but the first). Contacts fill a small part of most recordings, and a
            world that rarely sees a push does not learn pushing.
    """

    ACTIVE_SHARE = 0.25

    def __init__(
        self,
        lengths: Sequence[int],
        frames: int,
        starts: Sequence[Sequence[int]] | None = None,
        activity: Sequence[np.ndarray] | None = None,
        focus: float = 0.0,
    ) -> None:
        if not 0 <= focus <= 1:
            raise BadInput(f"focus is a share in [0, 1]; got {focus}.")
        rows: list[tuple[int, int]] = []
        scores: list[float] = []
        for i, length in enumerate(lengths):
            for start in starts[i] if starts is not None else range(length - frames + 1):
                rows.append((i, start))
                if activity is not None:
                    scores.append(float(activity[i][start + 1 : start + frames].sum()))
        self.rows = np.array(rows, dtype=np.int64).reshape(-1, 2)
        self.focus = focus
        self.active = np.zeros(0, dtype=np.int64)
        if focus and scores and max(scores) > 0:
            values = np.array(scores)
            border = max(float(np.quantile(values, 1 - self.ACTIVE_SHARE)), np.finfo(np.float64).tiny)
            self.active = np.nonzero(values >= border)[0]

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """(entry, first frame), with replacement."""
        if len(self.active) and rng.random() < self.focus:
            entry, start = self.rows[self.active[rng.integers(len(self.active))]]
        else:
            entry, start = self.rows[rng.integers(len(self.rows))]
        return int(entry), int(start)


def hash_files(root: Path, files: Iterable[Path], settings: str = "", known: Mapping[Path, str] | None = None) -> str:
    """sha256 over relative names and contents, and over `settings`. `known`: of files whose sha256 was just taken."""
    digest = hashlib.sha256(settings.encode())
    for path in sorted(files):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        digest.update(f"\0{name}\0{(known or {}).get(path) or sha256_file(path)}".encode())
    return digest.hexdigest()


def long_enough(entries: Sequence[Entry], frames: int, what: str) -> list[Entry]:
    """The entries that hold at least one window.

    Raises:
        TooFew: when none does, with the longest length there is.
    """
    if frames < 1:
        raise BadInput(f"A window holds at least 1 frame; got frames={frames}.")
    kept = [e for e in entries if e.length >= frames]
    if not kept:
        longest = max((e.length for e in entries), default=0)
        raise TooFew(f"{what} has no stretch of {frames} frames; the longest of {len(entries)} has {longest}.")
    return kept
