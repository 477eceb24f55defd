"""Leaving out what is there twice: the same footage, scaled, encoded again or trimmed.

As in the paper (section 3.4, after SemDeDup): k-means over the embeddings, then pairs inside a cluster; of each set of duplicates the
highest resolution stays, then the longest. Because the embedding here is no semantic one, a pair must also agree in its hashes, frame
by frame at the best shift. Clips of one source are different moments and not compared unless asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.curate.embed import aligned_distance
from armillary.errors import require
from armillary.types import Clip, Rejection


@dataclass(frozen=True)
class DedupConfig:
    """Args:
    cosine: least similarity of the vectors. bits: most differing bits of 64, mean over the frames of the shorter clip.
    cluster: clips a cluster should hold; fewer clips in all are compared each with each.
    within_source: compare clips of the same file too.
    """

    on: bool = True
    cosine: float = 0.9
    bits: float = 12.0
    cluster: int = 2000
    within_source: bool = False


def dedup(clips: Sequence[Clip], hashes: Mapping[str, list[int]], config: DedupConfig | None = None) -> list[Clip]:
    """The clips, in the same order, duplicates rejected by `dedup` with the id of the one that stays.

    The result does not depend on the order of `clips`. Clips already rejected, or without an embedding, are left as they are.

    Args:
        hashes: of each clip's looks in order, by clip id.
    """
    c = config or DedupConfig()
    live = sorted((x for x in clips if not x.rejected and x.embedding is not None), key=_worth)
    if not c.on or len(live) < 2:
        return list(clips)
    vectors = np.stack([np.asarray(x.embedding, np.float64) for x in live])
    losers: dict[str, Rejection] = {}
    for members in _clusters(vectors, c.cluster):
        kept: list[int] = []
        for i in members:  # the worthiest first
            twin = _twin(i, kept, live, vectors, hashes, c)
            if twin is None:
                kept.append(i)
            else:
                cosine = float(f"{float(vectors[i] @ vectors[twin]):.4g}")
                losers[live[i].id] = Rejection("dedup", f"the same footage as {live[twin].id}", cosine, c.cosine)
    return [x.replace(rejected=(losers[x.id],)) if x.id in losers and not x.rejected else x for x in clips]


def _worth(clip: Clip) -> tuple[bool, int, int, float, str]:
    """Sorts the one to keep first: from a whole file, most pixels, longest, sharpest, and then by id, so that every run picks the same.

    Lengths within a quarter of each other may count as equal: a cut that was shifted to a key frame must not decide.
    """
    length = round(math.log(max(clip.end - clip.start, 1e-3), 1.25))
    return "damaged" in clip.tags, -clip.width * clip.height, -length, clip.scores.get("blur", 0.0), clip.id


def _clusters(vectors: np.ndarray, size: int) -> list[list[int]]:
    count = max(1, round(len(vectors) / size))
    if count == 1:
        return [list(range(len(vectors)))]
    cluster = require("sklearn.cluster", "clustering clips")
    threads = require("threadpoolctl", "clustering clips")
    with threads.threadpool_limits(1):  # sums in one order: the same clusters on every run
        labels = cluster.KMeans(count, n_init=1, max_iter=100, random_state=0).fit_predict(vectors)
    return [[int(i) for i in np.flatnonzero(labels == k)] for k in range(count)]


def _twin(
    i: int, kept: list[int], live: list[Clip], vectors: np.ndarray, hashes: Mapping[str, list[int]], c: DedupConfig
) -> int | None:
    if not kept:
        return None
    close = np.flatnonzero(vectors[kept] @ vectors[i] >= c.cosine)
    for k in close:
        other = kept[int(k)]
        if live[other].source == live[i].source and not c.within_source:
            continue
        if aligned_distance(hashes.get(live[i].id, []), hashes.get(live[other].id, [])) <= c.bits:
            return other
    return None
