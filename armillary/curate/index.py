"""Finding curated clips again: by another clip, or by words.

A clip is found by the cosine of its embedding; the embedded one compares layout, colours and edges, so it finds the same footage, the
same place and the same camera, and not the same kind of thing. Words are looked for in captions and tags, ranked by BM25 (Robertson and
Zaragoza 2009): a caption that says *car* is found by *car*, and not by *vehicle*. A joint embedding of text and pictures is not part of
this package.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary.curate.analyse import AnalyseConfig
from armillary.curate.embed import picture_vector
from armillary.curate.pipeline import load_clips
from armillary.errors import BadInput
from armillary.media import Reader
from armillary.types import Clip

SHOTLIKE = 10  # pictures of a stretch that is compared on its own, when a file is asked about that may hold several shots
K1, B = 1.2, 0.75  # BM25: how soon repeats stop counting, and how much a long caption is held against it
TAGS = ("camera", "type", "topic")
COMMON = frozenset("a an and are as at be by for from in is it its of on or that the this to was were with".split())


@dataclass(frozen=True)
class Hit:
    """A clip and how well it fits: a cosine, or a BM25 score, which has no upper end and compares only within one answer."""

    clip: Clip
    score: float


class Index:
    """The kept clips of one folder.

    Args:
        clips: as `load_clips` gives them; those that are rejected or have no embedding are not found.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = [c for c in clips if not c.rejected and c.embedding is not None]
        self.rejected = {c.id for c in clips if c.rejected}
        self.vectors = np.array([c.embedding for c in self.clips], np.float32).reshape(len(self.clips), -1 if self.clips else 0)
        self._words: list[Counter[str]] | None = None

    @staticmethod
    def load(out: str | Path) -> Index:
        """Of the folder that `curate` wrote.

        Raises:
            BadInput: it holds no finished run, or none of its clips was kept.
        """
        index = Index(load_clips(out))
        if not index.clips:
            raise BadInput(f"{out} holds no clip that was kept: there is nothing to search.")
        return index

    def find(self, clip: str) -> Clip | None:
        """The clip of an id, or of the beginning of one that is unique (6 letters at least).

        Raises:
            BadInput: several clips begin so, or the clip was rejected and has no embedding.
        """
        if clip in self.rejected:
            raise BadInput(f"Clip {clip} was rejected and is not in the index; ask with a clip that was kept, or with a file.")
        if not re.fullmatch(r"[0-9a-zA-Z_-]+", clip):
            return None
        found = [c for c in self.clips if c.id == clip] or [c for c in self.clips if len(clip) >= 6 and c.id.startswith(clip)]
        if len(found) > 1:
            raise BadInput(f"{len(found)} clips have ids that begin with {clip}: {', '.join(c.id for c in found[:3])} ...")
        return found[0] if found else None

    def like(self, vectors: np.ndarray, top: int = 10, but: str = "") -> list[Hit]:
        """The clips nearest to a unit vector `d`, or to the nearest of several `n d`; `but` leaves one id out.

        Raises:
            BadInput: the vectors are of another embedding.
        """
        asked = np.atleast_2d(np.asarray(vectors, np.float32))
        if asked.shape[1] != self.vectors.shape[1]:
            raise BadInput(f"The index holds vectors of {self.vectors.shape[1]} numbers; a query has {asked.shape[1]}.")
        return self._best((self.vectors @ asked.T).max(1), top, but)

    def saying(self, text: str, top: int = 10) -> list[Hit]:
        """The clips whose captions and tags have most to do with the words; those that have none of them are not given.

        Raises:
            BadInput: there is no word in `text`.
        """
        asked = set(words(text))
        if not asked:
            raise BadInput(f"There is no word to look for in {text!r}; name what should be seen, or a clip.")
        if self._words is None:
            self._words = [Counter(words(told(c))) for c in self.clips]
        lengths = np.array([sum(w.values()) for w in self._words], np.float64)
        mean = max(lengths.mean(), 1.0)
        scores = np.zeros(len(self.clips))
        for word in sorted(asked):
            counts = np.array([w[word] for w in self._words], np.float64)
            have = int((counts > 0).sum())
            rare = math.log(1 + (len(counts) - have + 0.5) / (have + 0.5))
            scores += rare * counts * (K1 + 1) / (counts + K1 * (1 - B + B * lengths / mean))
        return [h for h in self._best(scores, top) if h.score > 0]

    def _best(self, scores: np.ndarray, top: int, but: str = "") -> list[Hit]:
        """The highest scores; equal ones in the order of ids, so that every search gives the same list."""
        order = sorted(range(len(scores)), key=lambda i: (-round(float(scores[i]), 6), self.clips[i].id))
        order = [i for i in order if self.clips[i].id != but]
        return [Hit(self.clips[i], round(float(scores[i]), 6)) for i in order[: max(0, top)]]


def words(text: str) -> list[str]:
    """Lower-case words without the commonest, plural and singular as one."""
    found = [w for w in re.findall(r"[^\W_]+", text.lower()) if w not in COMMON]
    return [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found]


def told(clip: Clip) -> str:
    """All that is said of a clip in words: the captions of its windows, and its tags."""
    captions = [str(r["caption"]) for r in json.loads(clip.tags["captions"])] if "captions" in clip.tags else [clip.caption]
    return " ".join([*captions, *(clip.tags.get(t, "") for t in TAGS)])


def embed_file(path: str | Path, config: AnalyseConfig | None = None) -> np.ndarray:
    """Unit vectors float32 `n d` of a file, looked at as `analyse` looks at it: of the whole, and of stretches of a few seconds.

    Raises:
        MediaError: it cannot be opened, or no frame of it decodes.
    """
    c = config or AnalyseConfig()
    found: list[np.ndarray] = []
    with Reader(path) as reader:
        info = reader.info
        ratio = min(1.0, c.look_side / max(info.width, info.height))
        size = (max(2, round(info.height * ratio)), max(2, round(info.width * ratio)))
        last = -1
        for seconds, frame in reader.frames():
            tick = math.floor((seconds - info.start) * c.look_rate + 1e-6)
            if tick > last:
                last = tick
                found.append(picture_vector(reader.pixels(frame, size)))
    if not found:
        raise BadInput(f"{path} has no frame that decodes: there is nothing to compare.")
    stretches = [found[i : i + SHOTLIKE] for i in range(0, max(1, len(found) - SHOTLIKE // 2), SHOTLIKE // 2)]
    means = np.array([np.mean(s, axis=0) for s in [found, *stretches]])
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)).astype(np.float32)
