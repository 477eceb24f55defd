"""Pictures of a MuJoCo scene without OpenGL: MuJoCo's own ray tests say what is hit, NumPy shades it.

A picture is made of two layers. The fixed layer holds every geom of the world body, lit and in shadow; it is computed once a camera and
kept while that camera stands still. The moving layer is cast anew each time, and only through pixels that a moving geom's bounding
sphere, or the shadow of one, can reach. Pixels on an edge of either layer are cast again with four rays towards four points of the
lamp, which smooths both outlines and shadows. One code path, no threads, no driver: the same model and pose give the same bytes.

Shading is Lambert's law with a Blinn-Phong highlight under one or more lamps, each with its shadows, over an ambient term that blends
ground into sky by the normal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from armillary.errors import require
from armillary.sims import optics, texture
from armillary.sims.light import Light, Material
from armillary.types import Camera

FAR = 1e10
# Geom groups: what never moves is in group 0, everything else in another one.
EVERY = np.ones(6, np.uint8)
STILL = np.array([1, 0, 0, 0, 0, 0], np.uint8)
MOVING = np.uint8(1) - STILL
LIFT = 1e-4  # metres: how far short of a surface a shadow ray ends, so that a surface does not shadow itself
# Sub-pixel offsets of the four rays of an edge pixel, and which point of the lamp each looks at (a rotated square).
SUB = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
LAMP = ((1.0, 0.4), (-0.4, 1.0), (0.4, -1.0), (-1.0, -0.4))


class Hits(NamedTuple):
    """What `n` rays from one point met: `geom` int32 `n` (-1: nothing), `dist` and `normal` float64 `n`, `n 3`, `point` `n 3`."""

    geom: np.ndarray
    dist: np.ndarray
    normal: np.ndarray
    point: np.ndarray


class Picture(NamedTuple):
    """`rgb` uint8 `h w 3`; at pixel centres: `depth` float32 `h w` metres along the optical axis (inf: nothing), `geom` int32 `h w`."""

    rgb: np.ndarray
    depth: np.ndarray
    geom: np.ndarray


class _Fixed(NamedTuple):
    """The fixed layer of one camera pose: rays and hits, unit directions from each of `l` lamps to the hits `l n 3`, which of them lie in
    shadow of what is fixed, bool `l n`, and the smoothed picture in linear colours `n 3`."""

    pose: bytes
    dirs: np.ndarray
    hits: Hits
    from_lamp: np.ndarray
    shadow: np.ndarray
    colour: np.ndarray


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise products, summed in a fixed order whatever the number of rows."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _rows(hits: Hits, at: np.ndarray | slice) -> Hits:
    return Hits(*(a[at] for a in hits))


def _unit(a: np.ndarray) -> np.ndarray:
    return a / np.sqrt(np.maximum(_dot(a, a), 1e-18))[..., None]


def _edges(label: np.ndarray) -> np.ndarray:
    """Pixels of `label` (`h w`) that differ from one of their four neighbours: bool `h w`."""
    edge = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _balls(model: Any, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spheres that together hold `geoms`: the geom, the place along its own z axis, the radius. A long rod gets several small ones."""
    out = []
    for geom in geoms:
        kind, (radius, half, _) = int(model.geom_type[geom]), model.geom_size[geom]
        if kind not in (3, 5) or half < radius:  # neither a capsule nor a cylinder, or a stout one
            out.append((geom, 0.0, float(model.geom_rbound[geom])))
            continue
        half = half + radius if kind == 3 else half
        pieces = min(8, int(np.ceil(half / (2 * radius))))
        step = half / pieces
        out += [(geom, step * (2 * k + 1 - pieces), float(np.hypot(radius, step))) for k in range(pieces)]
    return np.array([o[0] for o in out], int), np.array([o[1] for o in out]), np.array([o[2] for o in out])


# Linear light in 65,536 steps to 8 bits, gamma 2.2.
GAMMA = np.round(255.0 * (np.arange(65536) / 65535.0) ** (1 / 2.2)).astype(np.uint8)


class Raycaster:
    """Renders one model.

    Args:
        model, data: MuJoCo's. `data` must be forwarded (`mj_forward` or a step) before a picture is asked for. Geoms that never move
            are in geom group 0 and all others in groups 1 to 5.
        materials: geom name -> look; a geom that is not named is plain.
        light: the lamp and the sky.
        smooth: cast edge pixels four times.
    """

    def __init__(self, model: Any, data: Any, materials: Mapping[str, Material], light: Light, smooth: bool = True) -> None:
        self.mj = require("mujoco", "simulating")
        self.model, self.data, self.light, self.smooth = model, data, light, smooth
        moves = model.body_weldid[model.geom_bodyid] != 0
        assert ((model.geom_group != 0) == moves).all(), "geom group 0 is for what never moves, and only for that"
        self.ball_geom, self.ball_at, self.ball_radius = _balls(model, np.flatnonzero(moves))
        looks = [materials.get(model.geom(i).name, Material()) for i in range(model.ngeom)]
        # Geom -1 (nothing hit) reads the last row.
        self.colours = np.concatenate([model.geom_rgba[:, :3], [light.background]]) ** 2.2
        self.gloss = np.array([m.gloss for m in looks] + [0.0])
        self.shine = np.array([m.shine for m in looks] + [0])
        self.patterns = sorted({m.texture for m in looks if m.strength})
        self.pattern = np.array([self.patterns.index(m.texture) if m.strength else -1 for m in looks] + [-1])
        self.scale = np.array([m.scale for m in looks])
        self.strength = np.array([m.strength for m in looks], np.float32)  # as the patterns are
        self.kept: dict[tuple[str, int], _Fixed] = {}

    def render(self, camera: Camera) -> Picture:
        """The scene as `data` has it now, through `camera` (square or not)."""
        layer = self._fixed_layer(camera)
        shape, eye, lamps = (camera.height, camera.width), camera.pose[:3, 3], self._lamps()
        geom, dist, colour = layer.hits.geom.copy(), layer.hits.dist.copy(), layer.colour.copy()
        shadow = np.zeros((len(lamps), len(geom)), bool)

        at = np.flatnonzero(self._near(eye, layer.dirs))
        hits = self.cast(eye, layer.dirs[at], MOVING)
        front = np.flatnonzero((hits.geom >= 0) & ((geom[at] < 0) | (hits.dist < dist[at])))
        at, hits = at[front], _rows(hits, front)
        geom[at], dist[at] = hits.geom, hits.dist
        for k, lamp in enumerate(lamps):
            shadow[k, at] = self._blocked(lamp, hits.point, EVERY)
        colour[at] = self._shade(layer.dirs[at], hits, shadow[:, at], lamps)

        darker = np.zeros(len(geom), bool)
        for k, lamp in enumerate(lamps):
            under = self._near(lamp, layer.from_lamp[k]) & (layer.hits.geom >= 0)
            under[at] = False
            under = np.flatnonzero(under)
            under = under[self._blocked(lamp, layer.hits.point[under], MOVING)]
            shadow[k, under] = darker[under] = True
        under = np.flatnonzero(darker)
        colour[under] = self._shade(
            layer.dirs[under], _rows(layer.hits, under), shadow[:, under] | layer.shadow[:, under], lamps
        )

        if self.smooth:
            touched = darker
            touched[at] = True
            touched = touched.reshape(shape)
            edge = _edges(geom.reshape(shape)) & (touched | _edges(touched))
            for dark in shadow:
                edge |= _edges(dark.reshape(shape))
            at = np.flatnonzero(edge)
            colour[at] = self._refine(camera, at, EVERY)
        rgb = GAMMA[(np.clip(colour, 0.0, 1.0) * 65535.0 + 0.5).astype(np.int64)].reshape(*shape, 3)
        depth = np.where(geom >= 0, dist * _dot(layer.dirs, camera.pose[:3, 2]), np.inf).astype(np.float32)
        return Picture(rgb, depth.reshape(shape), geom.reshape(shape))

    def segment(self, camera: Camera) -> np.ndarray:
        """Which geom (-1: none) each pixel centre sees: int32 `h w`."""
        return self.cast(camera.pose[:3, 3], optics.directions(camera), EVERY).geom.reshape(camera.height, camera.width)

    def alone(self, camera: Camera, geoms: np.ndarray) -> int:
        """How many pixels would show `geoms` (ids of moving geoms) if nothing stood before them."""
        kept = self.model.geom_group.copy()
        self.model.geom_group[kept == 5] = 4
        self.model.geom_group[geoms] = 5
        only = (np.arange(6) == 5).astype(np.uint8)
        try:
            eye, dirs = camera.pose[:3, 3], optics.directions(camera)
            return int((self.cast(eye, dirs[self._near(eye, dirs, only)], only).geom >= 0).sum())
        finally:
            self.model.geom_group[:] = kept

    # What rays meet ---------------------------------------------------------------------------------------------------------------

    def cast(self, origin: np.ndarray, dirs: np.ndarray, groups: np.ndarray) -> Hits:
        """Follow rays (unit directions `n 3`) from one point; only geoms of `groups` (uint8 6) are seen."""
        n = len(dirs)
        geom, dist, normal = np.full((n, 1), -1, np.int32), np.full((n, 1), -1.0), np.zeros((3 * n, 1))
        if n:
            rays = np.ascontiguousarray(dirs, dtype=np.float64).reshape(-1, 1)
            start = np.ascontiguousarray(origin, dtype=np.float64).reshape(3, 1)
            self.mj.mj_multiRay(self.model, self.data, start, rays, groups.reshape(6, 1), 1, -1, geom, dist, normal, n, FAR)
        return Hits(geom[:, 0], dist[:, 0], normal.reshape(-1, 3), origin + dirs * dist)

    def _blocked(self, lamp: np.ndarray, points: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Whether a geom of `groups` stands between the lamp and each point: bool `n`."""
        rays = points - lamp
        length = np.sqrt(_dot(rays, rays))
        hits = self.cast(lamp, rays / length[:, None], groups)
        return (hits.geom >= 0) & (hits.dist < length - LIFT)

    def _near(self, origin: np.ndarray, dirs: np.ndarray, groups: np.ndarray = MOVING) -> np.ndarray:
        """Which unit directions from `origin` can meet a moving geom of `groups`, by bounding spheres: bool `n`. Never misses one."""
        use = groups[self.model.geom_group[self.ball_geom]] > 0
        geom, at, radius = self.ball_geom[use], self.ball_at[use], self.ball_radius[use]
        to = self.data.geom_xpos[geom] + self.data.geom_xmat[geom][:, 2::3] * at[:, None] - origin
        away = np.sqrt(_dot(to, to))
        if (away <= radius).any():  # we stand inside a sphere
            return np.ones(len(dirs), bool)
        least = np.sqrt(1 - (radius / away) ** 2) - 1e-5  # single precision is enough with that margin
        centres = (to / away[:, None]).astype(np.float32)
        return (centres @ np.ascontiguousarray(dirs.T, np.float32) > least.astype(np.float32)[:, None]).any(0)

    # How it looks -----------------------------------------------------------------------------------------------------------------

    def _shade(self, dirs: np.ndarray, hits: Hits, shadow: np.ndarray, lamps: np.ndarray) -> np.ndarray:
        """Linear colour of `n` hits seen along `dirs`, float64 `n 3` in [0, 1]; `shadow` bool `l n`, for each of `lamps`: `l 3`, or
        `l n 3` where each hit looks at a point of its own on a lamp."""
        light = self.light
        base = self.colours[hits.geom]
        pattern = self.pattern[hits.geom]
        at = np.flatnonzero(pattern >= 0)
        if len(at):
            base[at] *= 1.0 + self._grey(_rows(hits, at), pattern[at])[:, None]
        up = 0.5 + 0.5 * hits.normal[:, 2:]
        lit = np.asarray(light.sky) * up + np.asarray(light.ground) * (1.0 - up)
        shine, gloss = self.shine[hits.geom], self.gloss[hits.geom]
        sparks = []
        for lamp, at, dark in zip(light.lamps, lamps, shadow):
            to_lamp = _unit(at - hits.point)
            facing = np.where(dark, 0.0, np.maximum(_dot(hits.normal, to_lamp), 0.0))
            glint = np.flatnonzero((facing > 0.0) & (gloss > 0.0))
            spark = np.zeros(len(facing))
            power = np.maximum(_dot(hits.normal[glint], _unit(to_lamp[glint] - dirs[glint])), 0.0)
            for k in range(int(shine[glint].max(initial=0))):
                power = np.where(shine[glint] > k, power * power, power)
            spark[glint] = power * gloss[glint]
            colour = lamp.strength * np.asarray(lamp.colour)
            lit = lit + colour * facing[:, None]
            sparks.append(colour * spark[:, None])
        out = base * lit
        for spark in sparks:
            out = out + spark
        if light.fog:
            clear = np.exp(-light.fog * np.maximum(hits.dist, 0.0))[:, None]
            out = out * clear + self.colours[-1] * (1.0 - clear)
        sky = self.colours[-1]
        if light.zenith is not None:
            rise = np.sqrt(np.clip(dirs[:, 2], 0.0, 1.0))[:, None]
            sky = sky * (1.0 - rise) + np.asarray(light.zenith) ** 2.2 * rise
        return np.clip(np.where((hits.geom < 0)[:, None], sky, out), 0.0, 1.0)

    def _grey(self, hits: Hits, pattern: np.ndarray) -> np.ndarray:
        """Relative change of brightness by the patterns (indices into `self.patterns`) of `n` hits."""
        axes = self.data.geom_xmat[hits.geom].reshape(-1, 3, 3)
        off = hits.point - self.data.geom_xpos[hits.geom]
        scale = self.scale[hits.geom]
        x, y, z = (_dot(off, axes[:, :, k]) / scale for k in range(3))
        # A face that lies shows x and y, an upright one its height and whichever of x and y runs along it.
        a, b, c = (np.abs(_dot(hits.normal, axes[:, :, k])) for k in range(3))
        lying, along_x = c >= np.maximum(a, b), b >= a
        u = np.where(lying, x + 0.5 * z, z)
        v = np.where(lying, y + 0.5 * z, np.where(along_x, x, y))
        grey = np.zeros(len(pattern), np.float32)
        for k in np.unique(pattern):
            at = np.flatnonzero(pattern == k)
            grey[at] = texture.sample(self.patterns[k], u[at], v[at])
        return self.strength[hits.geom] * grey

    def _lamps(self, k: int | None = None) -> np.ndarray:
        """The lamps' centres, or one of four points on the disc of each: float64 `l 3`."""
        dx, dy = (0.0, 0.0) if k is None else LAMP[k]
        return np.array([np.asarray(lamp.position) + lamp.radius * np.array([dx, dy, 0.0]) for lamp in self.light.lamps])

    def _refine(self, camera: Camera, pixels: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """The mean of four rays through each of `pixels` (flat indices): linear `n 3`."""
        i, j = np.divmod(pixels, camera.width)
        dirs = [optics.through(camera, j + x, i + y) for x, y in SUB]
        hits = self.cast(camera.pose[:3, 3], np.concatenate(dirs), groups)
        n = len(pixels)
        lamps = np.stack([self._lamps(k) for k in range(len(SUB))], 1)  # l 4 3
        shadow = np.ones((len(lamps), len(SUB) * n), bool)  # what faces away from the lamp needs no ray
        for dark, points in zip(shadow, lamps):
            for k, lamp in enumerate(points):
                part = _rows(hits, slice(k * n, (k + 1) * n))
                bright = np.flatnonzero((part.geom >= 0) & (_dot(part.normal, lamp - part.point) > 0))
                dark[k * n + bright] = self._blocked(lamp, part.point[bright], groups)
        colour = self._shade(np.concatenate(dirs), hits, shadow, np.repeat(lamps, n, axis=1)).reshape(len(SUB), n, 3)
        total = np.zeros((n, 3))
        for part in colour:
            total += part
        return total / len(SUB)

    def _fixed_layer(self, camera: Camera) -> _Fixed:
        """Computed once for each pose of a camera."""
        pose, key = camera.pose.tobytes() + camera.intrinsics.tobytes(), (camera.name, camera.width)
        kept = self.kept.get(key)
        if kept is not None and kept.pose == pose:
            return kept
        eye, lamps, dirs = camera.pose[:3, 3], self._lamps(), optics.directions(camera)
        hits = self.cast(eye, dirs, STILL)
        met = np.flatnonzero(hits.geom >= 0)
        shadow = np.zeros((len(lamps), len(dirs)), bool)
        for dark, lamp in zip(shadow, lamps):
            dark[met] = self._blocked(lamp, hits.point[met], STILL)
        colour = self._shade(dirs, hits, shadow, lamps)
        if self.smooth:
            shape = (camera.height, camera.width)
            edge = _edges(hits.geom.reshape(shape))
            for dark in shadow:
                edge |= _edges(dark.reshape(shape))
            at = np.flatnonzero(edge)
            colour[at] = self._refine(camera, at, STILL)
        from_lamp = np.stack([_unit(hits.point - lamp) for lamp in lamps])
        self.kept[key] = _Fixed(pose, dirs, hits, from_lamp, shadow, colour)
        return self.kept[key]
