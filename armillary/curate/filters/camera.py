"""How the camera moved, in one word and a strength, from a clip's flow rows.

Four speeds are compared, each that of the picture's rim in widths a second (the longer side, to be exact): pan and tilt (the shift),
zoom and roll (half of their rates, for the rim lies half a width away). A camera that goes one way for most of the clip has the name of
its greatest speed; one that goes two ways at once is `moving`; one whose speeds keep turning round is `handheld`, or `shaky` when it
does so fast.

A picture that grows unevenly is seen by a camera that travels: `dolly`. How uneven it is (`relief`) is read off the median growth of each
part of the picture over the whole clip, so that what passes by does not count, and growth towards the lower edge counts once more: a
ground lies nearer there. Before a flat wall there is no difference to see, and such a dolly is called a zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.curate.flow import CELLS, FlowRow

NAMES = ("static", "pan", "tilt", "zoom", "roll", "dolly", "handheld", "shaky", "moving", "unknown")


@dataclass(frozen=True)
class CameraConfig:
    """Speeds are picture widths a second.

    Args:
        steady: speed under which the camera counts as standing.
        still: share of the textured rim that stands still from which the camera does, whatever passes before it.
        stands: share of the rows in which the camera stands from which the others have to be seen clearly, by a similarity that
            explains at least `whole` of the picture, to count.
        one: how much greater the greatest speed must be than the next to name the clip.
        straight: least part of the way that leads somewhere; below, the camera is held by hand (or moves to and fro).
        purpose: the same from which a camera is too purposeful to be called shaky: unevenness of a fast pan is not a shake.
        swift: speed from which such a camera is `moving` rather than `handheld`.
        relief: from which a zoom is a dolly.
    """

    steady: float = 0.01
    still: float = 0.3
    stands: float = 0.25
    whole: float = 0.6
    one: float = 2.0
    straight: float = 0.55
    purpose: float = 0.7
    swift: float = 0.15
    relief: float = 0.4


@dataclass(frozen=True)
class CameraMotion:
    """Args:
    tag: a word of `NAMES` and, where there is one, a direction: that of the camera, so a picture that slides left is `pan right`.
    strength: mean speed, widths a second. speeds: net speeds of the camera: pan (right), tilt (up), zoom (in), roll (clockwise).
    shake: mean distance of the speed from its own running mean. straight: see `CameraConfig`. parallax: over growth, from pair to pair.
    relief: over the whole clip, see the module; 0 where too little is known.
    """

    tag: str
    strength: float
    speeds: tuple[float, float, float, float]
    shake: float
    straight: float
    parallax: float
    relief: float


def speeds_of(rows: list[FlowRow], c: CameraConfig) -> np.ndarray:
    """Camera speeds `n 4` at the rim; nought where most of the rim stands still."""
    v = np.array([(-r.x, r.y, r.zoom / 2, -r.roll / 2) for r in rows], np.float64).reshape(-1, 4)
    v[[r.still > c.still for r in rows]] = 0.0
    return v


def jitter(v: np.ndarray, trust: np.ndarray | None = None) -> float:
    """Mean distance of a velocity `n d` from its own running mean of five, widths a second, rows weighed by `trust`; 0 for under four."""
    if len(v) < 4:
        return 0.0
    wide = np.pad(v, ((2, 2), (0, 0)), mode="reflect")
    smooth = np.mean([wide[k : k + len(v)] for k in range(5)], axis=0)
    return float(np.average(np.sqrt(((v - smooth) ** 2).sum(1)), weights=trust))


def camera_of(rows: list[FlowRow], max_shake: float, c: CameraConfig | None = None) -> CameraMotion:
    """The motion of a clip's camera; `unknown` without any row."""
    c = c or CameraConfig()
    if not rows:
        return CameraMotion("unknown", 0.0, (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0)
    v = speeds_of(rows, c)
    length = np.sqrt((v**2).sum(1))
    trust = np.array([0.05 + r.explained for r in rows])  # where something fills the picture there is no camera to see
    stands = np.array([r.still > c.still for r in rows])
    if (
        stands.mean() >= c.stands
    ):  # a camera that stands for a while, and something large passes: no whole picture moves as one then
        trust[~stands & np.array([r.explained < c.whole for r in rows])] = 0.0
    trust /= trust.sum()
    strength, shake, net = float(trust @ length), jitter(v, trust), trust @ v
    straight = float(np.sqrt((net**2).sum())) / max(strength, 1e-9)
    growth = abs(float(np.median([r.zoom for r in rows])))
    parallax = float(np.median([r.parallax for r in rows])) / max(growth, 1e-3)
    uneven = relief(rows)
    tag = _word(net, strength, shake, straight, uneven, max_shake, c)
    return CameraMotion(tag, strength, (net[0], net[1], net[2], net[3]), shake, straight, parallax, uneven)


def relief(rows: list[FlowRow]) -> float:
    """Spread (15th to 85th percentile) of the cells' growth plus how much greater it is at the lower edge than at the upper, where it is;
    both over the picture's own growth."""
    known = [r for r in rows if np.isfinite(r.growth).any()]
    if len(known) < 3:
        return 0.0
    maps = np.array([r.growth for r in known])
    seen = np.isfinite(maps).sum(0) >= max(3, 0.3 * len(maps))
    zoom = float(np.median([r.zoom for r in known]))
    if seen.sum() < 8 or abs(zoom) < 1e-3:
        return 0.0
    own = np.nanmedian(maps[:, seen], axis=0) / zoom
    low, high = np.percentile(own, [15, 85])
    row, column = np.divmod(np.flatnonzero(seen), CELLS)
    place = np.stack([np.ones(len(own)), (column + 0.5) / CELLS - 0.5, (row + 0.5) / CELLS - 0.5], 1)
    weight = np.ones(len(own))
    for _turn in range(4):  # a plane through the cells; those far off it count less
        plane = np.linalg.lstsq(place * weight[:, None], own * weight, rcond=None)[0]
        weight = 1.0 / np.sqrt(1.0 + ((own - place @ plane) / 0.1) ** 2)
    return float(high - low + max(0.0, plane[2]))


def _word(
    net: np.ndarray, strength: float, shake: float, straight: float, uneven: float, max_shake: float, c: CameraConfig
) -> str:
    if shake > max_shake and straight < c.purpose:
        return "shaky"
    if strength < c.steady:
        return "static"
    if straight < c.straight:
        return "handheld" if strength < c.swift else "moving"
    first, second = np.argsort(-np.abs(net))[:2]
    if abs(net[first]) < c.one * abs(net[second]):
        return "moving"
    forward = net[first] > 0
    if first == 2:
        return f"{'dolly' if uneven > c.relief else 'zoom'} {'in' if forward else 'out'}"
    return {0: ("pan left", "pan right"), 1: ("tilt down", "tilt up"), 3: ("roll ccw", "roll cw")}[int(first)][int(forward)]
