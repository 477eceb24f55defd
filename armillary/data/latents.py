"""What a tokenizer says of a dataset, said once, kept on disk, and served as windows with actions and text embeddings.

Two kinds of tokenizer ask for two kinds of cache. One that sees each frame alone is asked once for each entry, and windows are cut from
the answer. One that compresses time (1 + temporal x k frames make 1 + k latent frames, the first standing for one frame alone) is asked for
each window by itself, encoded from the window's own first frame: cutting windows out of a longer encoding would give first latents
that have seen a past, which no rollout ever starts from. Such windows begin every `stride` frames.

The cache is a folder named by what made it (the tokenizer's sha256, the data's hash, the window), one file an entry, each written whole and
carrying a sha256 of its values: a kill loses at most one entry, a damaged file is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from armillary import text as texts
from armillary import tokenizers
from armillary.data import rows
from armillary.data.base import Entry, Split, Windows, row_rng
from armillary.data.clips import ClipsConfig
from armillary.data.driving.dataset import DrivingConfig
from armillary.data.episodes import EpisodesConfig
from armillary.data.posed.dataset import PosedConfig
from armillary.data.synthetic import SyntheticConfig
from armillary.errors import BadInput, Failed
from armillary.progress import Progress, say
from armillary.store import atomic_path, check_writable, find_weights, weights_root, write_json
from armillary.types import Batch, Latents, Tokens
from armillary.worlds.base import TokenizerRef

SENTENCES_KEPT = 100_000


@dataclass(frozen=True)
class LatentsConfig:
    """A pixel dataset as a tokenizer sees it.

    Args:
        source: the pixels; its `frames` are the window, on the finest clock.
        tokenizer: a shipped name or a checkpoint folder.
        text: name of the text encoder in `text.ENCODERS`; empty for a world without text.
        stride: frames between the beginnings of cached windows, for a tokenizer that compresses time; 0 for its `temporal`.
        cache: folder for encoded data; empty for `$ARMILLARY_CACHE`, or else `~/.cache/armillary`.
        focus: as in the source, whose own is not used here.
        memory: GiB of encoded windows to keep.
    """

    source: EpisodesConfig | ClipsConfig | PosedConfig | DrivingConfig | SyntheticConfig
    tokenizer: str = "frame-c8"
    text: str = "hash"
    stride: int = 0
    cache: str = ""
    focus: float = 0.0
    memory: float = 8.0

    def build(self, split: Split = "train") -> LatentsDataset:
        return LatentsDataset(self, split)


class LatentsDataset:
    """Windows of latents or tokens. Built complete: what is missing from the cache is encoded first.

    Attributes:
        ref: the tokenizer, as a world's setting names it (an absolute folder, or a shipped name).
        text, text_dim: the text encoder's name and width; empty and 0 without.
        latent_frames: in a window.
    """

    def __init__(self, config: LatentsConfig, split: Split) -> None:
        if getattr(config.source, "crop", (0, 0)) != (0, 0):
            raise BadInput("A world learns from whole frames; leave data.source.crop at [0, 0] and set size.")
        source = dataclasses.replace(config.source, focus=0.0).build(split)
        tokenizer = tokenizers.load(config.tokenizer)
        self.config, self.source = config, source
        self.split: Split = split
        self.spec, self.fps, self.size, self.frames, self.views = (
            source.spec,
            source.fps,
            source.size,
            source.frames,
            source.views,
        )
        self.ref = _reference(config.tokenizer, tokenizer, source.size)
        if (self.frames - 1) % self.ref.temporal:
            near = 1 + round((self.frames - 1) / self.ref.temporal) * self.ref.temporal
            raise BadInput(
                f"Tokenizer {config.tokenizer!r} takes windows of 1 + {self.ref.temporal} x k frames; "
                f"got frames={self.frames}, {near} would work."
            )
        self.alone = self.ref.temporal == 1 and not tokenizer.config.video
        self.latent_frames = 1 + (self.frames - 1) // self.ref.temporal
        self.encoder = texts.load(config.text) if config.text else None
        self.text = self.encoder.name if self.encoder else ""  # where weights matter the name says which
        self.text_dim = self.encoder.dim if self.encoder else 0
        self.hash = hashlib.sha256(f"{source.hash}/{self.ref.sha256}/{self.text}".encode()).hexdigest()
        self._told = False
        seen = {"tokens" if self.ref.vocab else "latents", *({"context"} if self.encoder else ())}
        self.fields = frozenset(seen) | source.fields - {"video"}
        self._kept: dict[str, Tensor] = {}
        self._room = int(config.memory * 2**30)
        self._counting = threading.Lock()
        self._sentences: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

        window = {} if self.alone else {"frames": self.frames, "stride": self.stride}
        facts = {"tokenizer": self.ref.sha256, "data": source.hash, "window": window}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = check_writable(_cache_root(config.cache) / "latents" / name)
        if not (self.folder / "about.json").is_file():
            write_json(self.folder / "about.json", facts | {"source": config.source})
        self._activity: list[np.ndarray] = []
        self.encode_missing(tokenizer)
        starts = None if self.alone else [self.starts(e) for e in source.entries]
        self.windows = Windows(
            [e.length for e in source.entries], self.frames, starts, self._activity if config.focus else None, config.focus
        )

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def stride(self) -> int:
        return self.config.stride or self.ref.temporal

    def starts(self, entry: Entry) -> list[int]:
        """First frames of the windows cached for an entry; the last one that fits is always there."""
        last = entry.length - self.frames
        return sorted({*range(0, last + 1, self.stride), last})

    def path(self, entry: Entry) -> Path:
        return self.folder / (hashlib.sha256(entry.key.encode()).hexdigest()[:20] + ".safetensors")

    def encode_missing(self, tokenizer: Any) -> None:
        """Make every file that is not there or not whole."""
        missing = []
        for entry in self.source.entries:
            read = self._read(entry)
            if read is None:
                missing.append(entry)
            self._activity.append(read[1] if read is not None else np.zeros(0, np.float32))
        if not missing:
            return
        done = len(self.source.entries) - len(missing)
        with Progress(f"encode ({self.split})", len(self.source.entries), done) as bar:
            for i, entry in enumerate(self.source.entries):
                if len(self._activity[i]):
                    continue
                self._activity[i] = self.source.activity(entry).astype(np.float32)
                self._write(entry, self._encode(tokenizer, self.source.read(entry)), self._activity[i])
                bar.advance()

    def _encode(self, tokenizer: Any, frames: np.ndarray) -> Tensor:
        """float16 `n c t h w` or int32 `n t h w`: one row when frames are seen alone, else one for each start.

        Views are encoded each by itself and ride on `t`.
        """
        views = torch.from_numpy(frames).unflatten(0, (self.views, -1)).permute(0, 4, 1, 2, 3)  # v c t h w
        with torch.no_grad():
            seen = [self._encode_view(tokenizer, view.float().div_(127.5).sub_(1)) for view in views]
        out = torch.cat(seen, dim=-3)
        if out.is_floating_point():
            out = out.half()
            if not bool(out.isfinite().all()):
                raise Failed(f"Tokenizer {self.config.tokenizer!r} gave latents that are no finite half-precision numbers.")
            return out.contiguous()
        return out.to(torch.int32).contiguous()

    def _encode_view(self, tokenizer: Any, video: Tensor) -> Tensor:
        if self.alone:
            return _values(tokenizer.encode(video.unsqueeze(0)))
        last = video.shape[1] - self.frames
        starts = sorted({*range(0, last + 1, self.stride), last})
        windows = [video[:, s : s + self.frames] for s in starts]
        return torch.cat([_values(tokenizer.encode(torch.stack(windows[i : i + 8]))) for i in range(0, len(windows), 8)])

    def _write(self, entry: Entry, values: Tensor, activity: np.ndarray) -> None:
        with atomic_path(self.path(entry)) as temporary:
            tensors = {"values": values, "activity": torch.from_numpy(activity.copy())}
            save_file(tensors, temporary, {"key": entry.key, "sha256": _digest(values)})
        self._keep(entry, values)

    def _read(self, entry: Entry) -> tuple[Tensor, np.ndarray] | None:
        """Values and activity, or None when the file is missing or damaged (which is said)."""
        path = self.path(entry)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as f:
                values, activity, told = f.get_tensor("values"), f.get_tensor("activity").numpy(), f.metadata() or {}
        except (SafetensorError, OSError) as error:
            say(f"warning: {path} is damaged and is made again ({error}).")
            return None
        if told.get("sha256") != _digest(values) or told.get("key") != entry.key or len(activity) != entry.length:
            say(f"warning: {path} is damaged and is made again (its sha256 does not fit).")
            return None
        self._keep(entry, values)
        return values, activity

    def _keep(self, entry: Entry, values: Tensor) -> None:
        size = values.numel() * values.element_size()
        with self._counting:  # threads that work ahead read too
            if entry.key not in self._kept and size <= self._room:
                self._room -= size
                self._kept[entry.key] = values

    def values(self, entry: Entry) -> Tensor:
        """What the cache holds of an entry."""
        if (kept := self._kept.get(entry.key)) is not None:
            return kept
        read = self._read(entry)
        if read is None:
            raise Failed(f"{self.path(entry)} was damaged or removed while it was in use. Start again: it will be made anew.")
        return read[0]

    def window(self, index: int, start: int) -> Tensor:
        """One window, float32 `c t h w` or int64 `t h w`; views ride on `t`."""
        entry = self.source.entries[index]
        values = self.values(entry)
        if self.alone:
            each = values[0].unflatten(-3, (self.views, -1))
            cut = each[..., start : start + self.frames, :, :].flatten(-4, -3)
        else:
            cut = values[self.starts(entry).index(start)]
        return cut.float() if cut.is_floating_point() else cut.long()

    def context(self, sentence: str) -> tuple[Tensor, Tensor]:
        """Embedding `n d` and mask `n` of one sentence. Each is encoded by itself, so that it does not depend on its neighbours."""
        assert self.encoder is not None
        if (found := self._sentences.get(sentence)) is None:
            # A prompt that is too long is the user's to shorten; a caption in the data is cut, and the first such one is shown.
            if not self._told and self.encoder.count(sentence) > self.encoder.length:
                self._told = True
                say(
                    f"warning: captions longer than {self.encoder.length} are cut for text encoder {self.text!r}: {sentence[:60]!r}..."
                )
            context, mask = self.encoder.encode([sentence], cut=True)
            found = self._sentences[sentence] = context[0].float(), mask[0]
            if len(self._sentences) > SENTENCES_KEPT:
                self._sentences.popitem(last=False)
        return found

    def batch(self, step: int, size: int, seed: int, rank: int = 0, world: int = 1) -> Batch:
        """`latents` or `tokens`, `actions` `b frames a` on the finest clock, `context` with its mask.

        What is not said has a mask of False throughout.
        """
        drawn = rows.draw(self.windows, self.source.entries, step, size, seed, rank)
        stacked = torch.stack([self.window(r.index, r.start) for r in drawn])
        pairs = [self._said(r) for r in drawn] if self.encoder is not None else []
        return Batch(
            latents=stacked if self.ref.vocab == 0 else None,
            tokens=stacked if self.ref.vocab else None,
            context=torch.stack([c for c, _ in pairs]) if pairs else None,
            context_mask=torch.stack([m for _, m in pairs]) if pairs else None,
            **rows.conditions(drawn, self.frames, self.spec, self.fps, self.views, self.size),
        )

    def _said(self, row: rows.Row) -> tuple[Tensor, Tensor]:
        """The embedding of a row's sentence, or of its views' sentences one after the other."""
        if "view_text" not in self.fields:
            return self.context(row.text)
        pairs = [self.context(s) for s in row.entry.view_texts]
        return torch.cat([c for c, _ in pairs]), torch.cat([m for _, m in pairs])

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Windows for fitting a normaliser, `n c t h w` or `n t h w`."""
        cuts: list[Tensor] = []
        for row in range(n):
            cuts.append(self.window(*self.windows.draw(row_rng(seed, 2**31, row))))
        return torch.stack(cuts)


def _values(said: Latents | Tokens) -> Tensor:
    return said.values if isinstance(said, Latents) else said.ids


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes() + str(tuple(values.shape)).encode()).hexdigest()


def _cache_root(given: str) -> Path:
    return Path(given or os.environ.get("ARMILLARY_CACHE") or Path.home() / ".cache" / "armillary")


def _reference(name: str, tokenizer: Any, size: tuple[int, int]) -> TokenizerRef:
    """How a world names the tokenizer: a shipped one by its name, any other by its absolute folder.

    Raises:
        BadInput: frames of that size do not divide into its cells.
    """
    folder = find_weights(name, "tokenizer").resolve()
    shipped = folder.parent == weights_root().resolve()
    config = tokenizer.config
    if size[0] % config.spatial or size[1] % config.spatial:
        raise BadInput(f"Tokenizer {name!r} takes heights and widths that are multiples of {config.spatial}; got {size}.")
    vocab = int(tokenizer.vocab or 0)
    return TokenizerRef(
        name=folder.name if shipped else str(folder),
        sha256=tokenizer.sha256,
        temporal=config.temporal,
        spatial=config.spatial,
        channels=config.channels,
        vocab=vocab,
        size=size,
    )
