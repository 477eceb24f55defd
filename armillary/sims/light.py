"""What lights a scene and how surfaces take it, as plain numbers: what the ray caster shades by."""

from __future__ import annotations

from dataclasses import dataclass


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
class Lamp:
    """A lamp: `position` and `radius` (which softens shadows) in metres, `strength`, and `colour` in linear RGB."""

    position: tuple[float, float, float]
    strength: float = 0.5
    radius: float = 0.03
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Light:
    """One lamp and the sky, and further lamps if there are more.

    Args:
        position: of the lamp, metres; `radius`: of the lamp, metres, which softens shadows.
        strength: of the lamp; `sky`, `ground`: ambient light from above and below, linear RGB.
        colour: of the lamp, linear RGB.
        background: sRGB where a ray meets nothing, at the horizon; zenith: the same straight up, None for one colour everywhere.
        fog: share of light lost a metre; what is lost turns into `background`.
        more: further lamps.
    """

    position: tuple[float, float, float] = (-0.5, -0.4, 1.6)
    strength: float = 0.9
    radius: float = 0.03
    colour: tuple[float, float, float] = (1.0, 0.97, 0.92)
    sky: tuple[float, float, float] = (0.34, 0.36, 0.40)
    ground: tuple[float, float, float] = (0.16, 0.15, 0.14)
    background: tuple[float, float, float] = (0.55, 0.58, 0.62)
    zenith: tuple[float, float, float] | None = None
    fog: float = 0.0
    more: tuple[Lamp, ...] = ()

    @property
    def lamps(self) -> tuple[Lamp, ...]:
        return (Lamp(self.position, self.strength, self.radius, self.colour), *self.more)
