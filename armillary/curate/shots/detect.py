"""From beliefs about frames to transitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.shots.network import KINDS, Beliefs, load
from armillary.curate.shots.types import SMALL, SmallFrames, Transition
from armillary.errors import BadInput

STEP, QUIET = 5.0, 10  # 8-bit steps of the median cell; frames on either side that stand still
SURELY = 0.1  # a belief in a gradual transition under it is a shot's


@dataclass(frozen=True)
class ShotConfig:
    """How shots are found.

    Args:
        backend: "own", or "transnetv2" (an optional package, two hundred times the time).
        weights: of the own network: a shipped name or a folder.
        cut: least belief in a hard cut. gradual: least belief that some frame lies inside a gradual transition;
            inside: belief that its further frames need.
        transnetv2: the other back end's threshold.
    """

    backend: str = "own"
    weights: str = "curate-shots"
    cut: float = 0.35
    gradual: float = 0.8
    inside: float = 0.35
    transnetv2: float = 0.5

    def __post_init__(self) -> None:
        if self.backend not in ("own", "transnetv2"):
            raise BadInput(f"No shot back end named {self.backend!r}. Known: own, transnetv2.")
        for name in ("cut", "gradual", "inside", "transnetv2"):
            if not 0 < getattr(self, name) < 1:
                raise BadInput(f"The shot threshold {name!r} is {getattr(self, name)}; it must lie between 0 and 1.")


def detect(small: SmallFrames, fps: float, config: ShotConfig | None = None) -> list[Transition]:
    """Every transition of one stretch of video, in order and not overlapping.

    Args:
        small: one row a frame.
        fps: frames a second (kept for callers; the detectors see frames).
    """
    c = config or ShotConfig()
    if len(small) < 3:
        return []
    if c.backend == "transnetv2":
        from armillary.curate.shots.transnet import detect as other

        return other(small, c.transnetv2)
    from armillary.curate.shots.features import features

    found = read(load(c.weights)(features(small)), c)
    beside = [t for t in steps(small) if not any(f.start - 3 <= t.start <= f.end + 3 for f in found)]
    return sorted([*found, *beside], key=lambda t: t.start)


def steps(small: SmallFrames) -> list[Transition]:
    """Cuts between pictures that stand still and are nearly alike, such as two pages of text.

    The network does not dare to call them. Here more than half of the picture changes by a little in one frame, and on both sides of
    it nothing moves at all. A lamp switched on in an empty room would do that too.
    """
    half = SMALL[0] // 4, SMALL[1] // 4
    y = small.y.reshape(len(small), half[0], 4, half[1], 4).mean((2, 4), dtype=np.float32)
    u, v = (p.reshape(len(p), half[0], 2, half[1], 2).mean((2, 4), dtype=np.float32) for p in (small.u, small.v))
    cells = np.stack([y, u, v], 1).reshape(len(small), 3, -1)
    change = np.abs(np.diff(cells, axis=0, prepend=cells[:1])).max(1)
    median, mean = np.median(change, axis=1), change.mean(1)
    out = []
    for t in np.flatnonzero(median >= STEP):
        around = np.r_[mean[max(0, t - QUIET) : t], mean[t + 1 : t + 1 + QUIET]]
        if QUIET <= t < len(small) - QUIET and around.max() < median[t] / 10:
            out.append(Transition("cut", int(t), int(t), 0.5))
    return out


def read(beliefs: Beliefs, c: ShotConfig) -> list[Transition]:
    """Peaks are cuts, runs are gradual; what touches is one transition, of the kind that is believed more."""
    found = _runs(beliefs, c) + _peaks(beliefs, c)
    out: list[Transition] = []
    for t in sorted(found, key=lambda t: (t.start, t.end)):
        if out and t.start <= out[-1].end + 2 and _touch(out[-1], t, beliefs):
            out[-1] = _one(out[-1], t)
        else:
            out.append(t)
    return out


def _peaks(beliefs: Beliefs, c: ShotConfig) -> list[Transition]:
    p = beliefs.cut
    near = np.pad(p, 2, mode="edge")
    highest = np.max([near[k : k + len(p)] for k in range(5)], axis=0)
    return [Transition("cut", int(t), int(t), float(p[t])) for t in np.flatnonzero((p >= c.cut) & (p >= highest)) if t > 0]


def _runs(beliefs: Beliefs, c: ShotConfig) -> list[Transition]:
    p = beliefs.gradual
    inside = np.r_[False, p >= c.inside, False]
    edges = np.flatnonzero(np.diff(inside.astype(np.int8)))
    out = []
    for start, end in zip(edges[::2], edges[1::2] - 1):
        part = p[start : end + 1]
        if part.max() < c.gradual:
            continue
        kind = (beliefs.kind[start : end + 1] * part[:, None]).sum(0)
        out.append(Transition(KINDS[int(kind.argmax())], int(start), int(end), float(part.max())))
    return out


def _touch(a: Transition, b: Transition, beliefs: Beliefs) -> bool:
    """Whether two neighbours are one transition: two runs with a frame between that surely is a shot's are two."""
    between = beliefs.gradual[a.end + 1 : b.start]
    return "cut" in (a.kind, b.kind) or not len(between) or float(between.min()) > SURELY


def _one(a: Transition, b: Transition) -> Transition:
    """Two findings of one transition. A cut wins over a run hardly longer than itself when it is believed more."""
    cut = next((t for t in (a, b) if t.kind == "cut"), None)
    run = b if cut is a else a
    if cut is not None and run.kind != "cut":
        return (
            cut
            if run.end - run.start < 4 and cut.score >= run.score
            else Transition(run.kind, min(a.start, b.start), max(a.end, b.end), max(a.score, b.score))
        )
    if cut is not None:  # two cuts within two frames: the surer
        return max(a, b, key=lambda t: t.score)
    surer = max(a, b, key=lambda t: (t.score, t.end - t.start))
    return Transition(surer.kind, min(a.start, b.start), max(a.end, b.end), surer.score)
