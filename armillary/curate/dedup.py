"""Leaving out what is there twice: the same footage, scaled, encoded again or trimmed.

As in the paper (section 3.4, after SemDeDup): k-means over the embeddings, then cosines inside clusters; of each set of duplicates the
highest resolution stays, then the longest. Two things are done otherwise:

* A vector is a member of its `probes` nearest clusters, because twins may lie on both sides of a border.
* The embedded vector is no semantic one, so a pair must also agree in its hashes, picture by picture at the best shift. A clip that was
  trimmed has another mean vector; it is found by pictures it shares with the longer one (a 16-bit quarter of a hash is equal).

Clips of one source are different moments and not compared unless asked.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.errors import require
from armillary.types import Clip, Rejection

BANDS = 4  # parts of a hash: two that differ in at most 3 bits have one of them in common
CROWD = 256  # a part that more pictures have than this says nothing: black, a logo, a test card
SHARED = 3  # pictures that two clips must have in common to be compared without like vectors
ONES = np.array([i.bit_count() for i in range(256)], np.int64)  # set bits of a byte
ITERATIONS, SAMPLE = 12, 64  # of k-means, and vectors it looks at for each cluster


@dataclass(frozen=True)
class DedupConfig:
    """Args:
    cosine: least similarity of the vectors. bits: most differing bits of 64, mean over the pictures compared.
    overlap: share of the shorter clip that must lie in the longer one.
    alone: similarity from which the vectors alone decide; above 1 they never do, which is right for vectors that know no meaning.
        For a learned embedding the paper's rule is 1 - 0.01.
    cluster: clips a cluster should hold; fewer clips in all are compared each with each. probes: clusters a clip belongs to.
    within_source: compare clips of the same file too.
    """

    on: bool = True
    cosine: float = 0.9
    bits: float = 12.0
    overlap: float = 0.75
    alone: float = 1.01
    cluster: int = 2000
    probes: int = 3
    within_source: bool = False


def dedup(clips: Sequence[Clip], hashes: Mapping[str, list[int]], config: DedupConfig | None = None) -> list[Clip]:
    """The clips, in the same order; a duplicate is rejected by `dedup` and its tag `duplicate_of` holds the id of the one that stays.

    The result does not depend on the order of `clips`. Clips already rejected, or without an embedding, are left as they are.

    Args:
        hashes: of each clip's looks in order, by clip id.
    """
    c = config or DedupConfig()
    live = sorted((x for x in clips if not x.rejected and x.embedding is not None), key=_worth)
    if not c.on or len(live) < 2:
        return list(clips)
    vectors = np.ascontiguousarray(np.stack([np.asarray(x.embedding, np.float32) for x in live]))
    prints = [np.array(hashes.get(x.id, ()), np.uint64) for x in live]
    threads = require("threadpoolctl", "comparing clips")
    losers: dict[str, tuple[str, float]] = {}
    with threads.threadpool_limits(1):  # sums in one order; and products as small as these lose more by waiting than they gain
        kept = _Kept(live, vectors, prints, memberships(vectors, c), c)
        for i in range(len(live)):  # the worthiest first: whatever is met has to give way
            twin = kept.twin(i)
            if twin is None:
                kept.add(i)
            else:
                losers[live[i].id] = live[twin].id, float(f"{float(vectors[i] @ vectors[twin]):.4g}")

    def fate(clip: Clip) -> Clip:
        if clip.id not in losers or clip.rejected:
            return clip
        winner, cosine = losers[clip.id]
        row = Rejection("dedup", f"the same footage as {winner}", cosine, c.cosine)
        return clip.replace(rejected=(row,), tags={**clip.tags, "duplicate_of": winner})

    return [fate(x) for x in clips]


def _worth(clip: Clip) -> tuple[bool, int, int, float, str]:
    """Sorts the one to keep first: from a whole file, most pixels, longest, sharpest, and then by id, so that every run picks the same.

    Lengths within a quarter of each other may count as equal: a cut that was shifted to a key frame must not decide.
    """
    length = round(math.log(max(clip.end - clip.start, 1e-3), 1.25))
    return "damaged" in clip.tags, -clip.width * clip.height, -length, clip.scores.get("blur", 0.0), clip.id


def memberships(vectors: np.ndarray, config: DedupConfig) -> np.ndarray:
    """Which clusters each vector belongs to, int `n probes`, by k-means of faiss on one thread: the same on every run.

    Args:
        vectors: float32 `n d`, in an order that does not depend on the run.
    """
    count = max(1, round(len(vectors) / config.cluster))
    if count == 1:
        return np.zeros((len(vectors), 1), np.int64)
    faiss = require("faiss", "clustering clips")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # sums in one order
    try:
        d = vectors.shape[1]
        means = faiss.Kmeans(
            d, count, niter=ITERATIONS, seed=0, spherical=True, max_points_per_centroid=SAMPLE, min_points_per_centroid=1
        )
        means.train(vectors)
        _, near = means.index.search(vectors, min(config.probes, count))
    finally:
        faiss.omp_set_num_threads(before)
    return near


class _Kept:
    """The clips that stay so far, ready to be compared with the next: their vectors by cluster, their pictures by parts of hashes."""

    def __init__(
        self, live: list[Clip], vectors: np.ndarray, prints: list[np.ndarray], member: np.ndarray, c: DedupConfig
    ) -> None:
        self.live, self.vectors, self.prints, self.member, self.c = live, vectors, prints, member, c
        sizes = np.bincount(member[member >= 0], minlength=int(member.max()) + 1)
        self.rows = [np.empty((int(n), vectors.shape[1]), np.float32) for n in sizes]
        self.ids = [np.empty(int(n), np.int64) for n in sizes]
        self.used = [0] * len(sizes)
        self.bands: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.sources = [x.source for x in live]

    def add(self, i: int) -> None:
        for k in self.member[i]:
            if k >= 0:
                n = self.used[k]
                self.rows[k][n], self.ids[k][n] = self.vectors[i], i
                self.used[k] = n + 1
        for key in _parts(self.prints[i]):
            held = self.bands[key]
            if len(held) <= CROWD:
                held.append(i)

    def twin(self, i: int) -> int | None:
        """The worthiest clip that stays and shows the same."""
        found = sorted(set(self._like(i)) | set(self._sharing(i)))
        for other in found:
            if self.sources[other] == self.sources[i] and not self.c.within_source:
                continue
            cosine = float(self.vectors[i] @ self.vectors[other])
            if cosine >= self.c.alone:
                return other
            least = 1 if cosine >= self.c.cosine else SHARED
            if distance(self.prints[i], self.prints[other], self.c.overlap, least) <= self.c.bits:
                return other
        return None

    def _like(self, i: int) -> list[int]:
        """Those of the same clusters whose vectors are near."""
        out: list[int] = []
        for k in self.member[i]:
            n = self.used[k] if k >= 0 else 0
            if n:
                near = np.flatnonzero(self.rows[k][:n] @ self.vectors[i] >= self.c.cosine)
                out += [int(x) for x in self.ids[k][near]]
        return out

    def _sharing(self, i: int) -> list[int]:
        """Those with which several pictures may be in common."""
        counts: Counter[int] = Counter()
        for key in _parts(self.prints[i]):
            held = self.bands.get(key, ())
            if len(held) <= CROWD:
                counts.update(held)
        return [k for k, n in counts.items() if n >= SHARED]


def _parts(prints: np.ndarray) -> list[tuple[int, int]]:
    """(which part, its 16 bits) of all hashes of a clip, each once."""
    mask = np.uint64(0xFFFF)
    return [(b, int(v)) for b in range(BANDS) for v in np.unique((prints >> np.uint64(16 * b)) & mask)]


def distance(a: np.ndarray, b: np.ndarray, overlap: float, least: int = 1) -> float:
    """Mean Hamming distance of two runs of hashes where they fit best; 64 when they cannot be laid over each other.

    Args:
        a, b: uint64. overlap: share of the shorter run that must lie in the longer. least: pictures that must be compared.
    """
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    n, m = len(short), len(long)
    need = max(1, least, math.ceil(overlap * n))
    if n < need:
        return 64.0
    apart = np.ascontiguousarray(short[:, None] ^ long[None, :])
    bits = ONES[apart.view(np.uint8)].reshape(n, m, 8).sum(-1)
    best = 64.0
    for shift in range(need - n, m - need + 1):
        best = min(best, float(np.trace(bits, shift)) / min(n, m - shift, n + shift, m))
    return best
