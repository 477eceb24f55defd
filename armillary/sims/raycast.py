"""Pictures of a MuJoCo scene without OpenGL: MuJoCo's own ray tests say what is hit, NumPy shades it.

A picture is made of two layers. The fixed layer holds every geom of the world body, lit and in shadow; it is computed once a camera and
kept while that camera stands still. The moving layer is cast anew each time, and only through pixels that a moving geom's bounding
sphere, or the shadow of one, can reach. Pixels on an edge of either layer are cast again with four rays towards four points of the
lamp, which smooths both outlines and shadows. One code path, no threads, no driver: the same model and pose give the same bytes.

Shading is Lambert's law with a Blinn-Phong highlight under one lamp, over an ambient term that blends ground into sky by the normal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from armillary.errors import require
from armillary.sims import optics, texture
from armillary.types import Camera

FAR = 1e10
LIFT = 1e-4  # metres: how far short of a surface a shadow ray ends, so that a surface does not shadow itself
# Sub-pixel offsets of the four rays of an edge pixel, and which point of the lamp each looks at (a rotated square).
SUB = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
LAMP = ((1.0, 0.4), (-0.4, 1.0), (0.4, -1.0), (-1.0, -0.4))


@dataclass(frozen=True)
class Material:
    """How a geom looks beside its colour (`rgba` of the model).

    Args:
        texture: a name of `texture.TEXTURES`; `scale`: metres a repeat; `strength`: relative change of brightness.
        gloss: strength of the highlight; `shine`: its sharpness, the exponent is `2 ** shine`.
    """

    texture: str = "plain"
    scale: float = 1.0
    strength: float = 0.0
    gloss: float = 0.12
    shine: int = 4


@dataclass(frozen=True)
class Light:
    """One lamp and the sky.

    Args:
        position: of the lamp, metres; `radius`: of the lamp, metres, which softens shadows.
        strength: of the lamp; `sky`, `ground`: ambient light from above and below, linear RGB.
        colour: of the lamp, linear RGB.
    """

    position: tuple[float, float, float] = (-0.5, -0.4, 1.6)
    strength: float = 0.9
    radius: float = 0.03
    colour: tuple[float, float, float] = (1.0, 0.97, 0.92)
    sky: tuple[float, float, float] = (0.34, 0.36, 0.40)
    ground: tuple[float, float, float] = (0.16, 0.15, 0.14)
    background: tuple[float, float, float] = (0.55, 0.58, 0.62)


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
    """The fixed layer of one camera: hits, unit directions from the lamp to them, colour lit and in shadow, and the smoothed picture."""

    key: tuple
    dirs: np.ndarray
    hits: Hits
    from_lamp: np.ndarray
    lit: np.ndarray
    dark: np.ndarray
    smooth: np.ndarray


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise products, summed in a fixed order whatever the number of rows."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _edges(*labels: np.ndarray) -> np.ndarray:
    """Pixels that differ from one of their four neighbours in any of the label pictures (`h w`): bool `h w`."""
    edge = np.zeros(labels[0].shape, bool)
    for label in labels:
        down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
        edge[1:] |= down
        edge[:-1] |= down
        edge[:, 1:] |= right
        edge[:, :-1] |= right
    return edge


class Raycaster:
    """Renders one model.

    Args:
        model, data: MuJoCo's. `data` must be forwarded (`mj_forward` or a step) before a picture is asked for.
        materials: geom name -> look; a geom that is not named is plain.
        light: the lamp and the sky.
    """

    def __init__(self, model: Any, data: Any, materials: Mapping[str, Material], light: Light) -> None:
        self.mj = require("mujoco", "simulating")
        self.model, self.data, self.light = model, data, light
        names = [model.geom(i).name for i in range(model.ngeom)]
        self.looks = [materials.get(name, Material()) for name in names]
        # Index -1 (nothing hit) reads the last row.
        self.colour = np.concatenate([model.geom_rgba[:, :3], [light.background]]) ** 2.2
        self.gloss = np.array([m.gloss for m in self.looks] + [0.0])
        self.shine = np.array([m.shine for m in self.looks] + [0])
        self.moving = np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)
        self.fixed: dict[tuple[str, int], _Fixed] = {}

    # What rays meet ---------------------------------------------------------------------------------------------------------------

    def cast(self, origin: np.ndarray, dirs: np.ndarray, static: bool = True, groups: np.ndarray | None = None) -> Hits:
        """Follow `n` rays from one point. `static=False` sees only moving geoms; `groups` (uint8 6) only geoms of those groups."""
        n = len(dirs)
        geom, dist, normal = np.full((n, 1), -1, np.int32), np.full((n, 1), -1.0), np.zeros((3 * n, 1))
        if n:
            rays = np.ascontiguousarray(dirs, dtype=np.float64).reshape(-1, 1)
            start = np.ascontiguousarray(origin, dtype=np.float64).reshape(3, 1)
            mask = None if groups is None else groups.reshape(6, 1)
            self.mj.mj_multiRay(self.model, self.data, start, rays, mask, int(static), -1, geom, dist, normal, n, FAR)
        geom, dist, normal = geom[:, 0], dist[:, 0], normal.reshape(-1, 3)
        return Hits(geom, dist, normal, origin + dirs * dist[:, None])

    def _blocked(self, lamp: np.ndarray, points: np.ndarray, static: bool) -> np.ndarray:
        """Whether something stands between the lamp and each point: bool `n`."""
        if not len(points):
            return np.zeros(0, bool)
        rays = points - lamp
        length = np.sqrt(_dot(rays, rays))
        geom, dist = np.full((len(rays), 1), -1, np.int32), np.full((len(rays), 1), -1.0)
        flat = np.ascontiguousarray(rays / length[:, None]).reshape(-1, 1)
        self.mj.mj_multiRay(
            self.model, self.data, lamp.reshape(3, 1), flat, None, int(static), -1, geom, dist, None, len(rays), FAR
        )
        return (geom[:, 0] >= 0) & (dist[:, 0] < length - LIFT)

    def _near(self, origin: np.ndarray, dirs: np.ndarray) -> np.ndarray:
        """Which unit directions from `origin` can meet a moving geom, by bounding spheres: bool `n`."""
        out = np.zeros(len(dirs), bool)
        for geom in self.moving:
            to = self.data.geom_xpos[geom] - origin
            away, radius = float(np.sqrt(to @ to)), float(self.model.geom_rbound[geom])
            if radius <= 0 or away <= radius:  # a plane, or we stand inside the sphere
                return np.ones(len(dirs), bool)
            out |= _dot(dirs, to / away) > np.sqrt(1 - (radius / away) ** 2)
        return out

    # How it looks -----------------------------------------------------------------------------------------------------------------

    def _shade(self, eye: np.ndarray, dirs: np.ndarray, hits: Hits, shadow: np.ndarray, lamp: np.ndarray) -> np.ndarray:
        """Linear colour of `n` hits, float64 `n 3`; `shadow` bool `n`."""
        light = self.light
        base = self.colour[hits.geom]
        for geom in np.unique(hits.geom):
            look = self.looks[geom] if geom >= 0 else None
            if look is not None and look.strength:
                at = np.flatnonzero(hits.geom == geom)
                axes = self.data.geom_xmat[geom].reshape(3, 3)
                off = hits.point[at] - self.data.geom_xpos[geom]
                x, y, z = (_dot(off, axes[:, k]) / look.scale for k in range(3))
                # Seen from above a surface shows x and y; the height shears the pattern so that sides are not streaks.
                grey = texture.sample(look.texture, x + 0.5 * z, y + 0.5 * z)
                base[at] = base[at] * (1.0 + look.strength * grey[:, None])
        normal = hits.normal
        to_lamp = lamp - hits.point
        to_lamp = to_lamp / np.sqrt(_dot(to_lamp, to_lamp))[:, None]
        facing = np.where(shadow, 0.0, np.maximum(_dot(normal, to_lamp), 0.0))
        half = to_lamp - dirs
        half = half / np.sqrt(np.maximum(_dot(half, half), 1e-12))[:, None]
        spark = np.maximum(_dot(normal, half), 0.0)
        shine = self.shine[hits.geom]
        for k in range(int(shine.max(initial=0))):
            spark = np.where(shine > k, spark * spark, spark)
        spark = np.where(shadow | (facing <= 0.0), 0.0, spark) * self.gloss[hits.geom]
        up = 0.5 + 0.5 * normal[:, 2:]
        ambient = np.asarray(light.sky) * up + np.asarray(light.ground) * (1.0 - up)
        lamp_colour = light.strength * np.asarray(light.colour)
        out = base * (ambient + lamp_colour * facing[:, None]) + lamp_colour * spark[:, None]
        return np.where((hits.geom < 0)[:, None], self.colour[-1], out)

    def _lamp(self, k: int | None = None) -> np.ndarray:
        """The lamp's centre, or one of four points on its disc."""
        x, y, z = self.light.position
        if k is None:
            return np.array([x, y, z])
        return np.array([x + self.light.radius * LAMP[k][0], y + self.light.radius * LAMP[k][1], z])

    def _refine(self, camera: Camera, pixels: np.ndarray) -> np.ndarray:
        """The mean of four rays through each of `pixels` (flat indices), against the whole scene: linear `n 3`."""
        eye = camera.pose[:3, 3]
        i, j = np.divmod(pixels, camera.width)
        rays = [optics.through(camera, j + x, i + y) for x, y in SUB]
        dirs = np.concatenate(rays)
        hits = self.cast(eye, dirs)
        n, total = len(pixels), np.zeros((len(pixels), 3))
        for k in range(len(SUB)):
            part = Hits(*(a[k * n : (k + 1) * n] for a in hits))
            lamp = self._lamp(k)
            shadow = np.zeros(n, bool)
            solid = np.flatnonzero(part.geom >= 0)
            shadow[solid] = self._blocked(lamp, part.point[solid], True)
            total += np.minimum(self._shade(eye, rays[k], part, shadow, lamp), 1.0)
        return total / len(SUB)

    # Layers -----------------------------------------------------------------------------------------------------------------------

    def _fixed_layer(self, camera: Camera, smooth: bool) -> _Fixed:
        key = (camera.pose.tobytes(), smooth)
        kept = self.fixed.get((camera.name, camera.width))
        if kept is not None and kept.key == key:
            return kept
        eye, lamp = camera.pose[:3, 3], self._lamp()
        dirs = optics.directions(camera)
        # The moving geoms are kept out by their group: mj_multiRay has no flag that leaves them out.
        was = self.model.geom_group[self.moving].copy()
        only = np.array([1, 1, 1, 1, 1, 0], np.uint8)
        try:
            self.model.geom_group[self.moving] = 5
            hits = self.cast(eye, dirs, groups=only)
            solid = hits.geom >= 0
            shadow = np.zeros(len(dirs), bool)
            rays = hits.point[solid] - lamp
            back = self.cast(lamp, rays / np.sqrt(_dot(rays, rays))[:, None], groups=only)
            shadow[solid] = back.dist < np.sqrt(_dot(rays, rays)) - LIFT
        finally:
            self.model.geom_group[self.moving] = was
        from_lamp = hits.point - lamp
        from_lamp /= np.sqrt(_dot(from_lamp, from_lamp))[:, None]
        lit = np.minimum(self._shade(eye, dirs, hits, shadow, lamp), 1.0)
        dark = np.minimum(self._shade(eye, dirs, hits, np.ones_like(shadow), lamp), 1.0)
        fine = lit
        if smooth:
            shape = (camera.height, camera.width)
            at = np.flatnonzero(_edges(hits.geom.reshape(shape), shadow.reshape(shape)))
            fine = lit.copy()
            try:
                self.model.geom_group[self.moving] = 5
                fine[at] = self._refine_fixed(camera, at, only)
            finally:
                self.model.geom_group[self.moving] = was
        kept = _Fixed(key, dirs, hits, from_lamp, lit, dark, fine)
        self.fixed[(camera.name, camera.width)] = kept
        return kept
