"""The driving world's scenery and traffic: a winding street, what lines it, weather and light, and cars that keep their distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armillary.sims.base import SceneObject
from armillary.sims.experiments import COLOURS
from armillary.sims.light import Light, Material
from armillary.sims.mjcf import text

WIDTH, LANE = 8.0, 3.6  # metres of the road and of a lane
PIECE = 8.0  # metres of a road's piece
LENGTH = 320.0

# Weather -> (how a caption says it, fog a metre, lamp strength, horizon, zenith, sky and ground light, gloss of the road).
WEATHER: dict[str, tuple[str, float, float, tuple[float, float, float], tuple[float, float, float], float, float]] = {
    "clear": ("in clear weather", 0.001, 0.95, (0.72, 0.82, 0.92), (0.28, 0.50, 0.82), 0.36, 0.04),
    "overcast": ("under an overcast sky", 0.003, 0.30, (0.74, 0.75, 0.77), (0.62, 0.64, 0.68), 0.62, 0.05),
    "rain": ("in the rain", 0.008, 0.22, (0.58, 0.60, 0.63), (0.42, 0.44, 0.48), 0.52, 0.35),
    "fog": ("in fog", 0.030, 0.25, (0.80, 0.81, 0.82), (0.80, 0.81, 0.82), 0.60, 0.05),
    "dusk": ("at dusk", 0.003, 0.55, (0.93, 0.62, 0.42), (0.24, 0.25, 0.42), 0.22, 0.06),
    "night": ("at night", 0.004, 0.10, (0.10, 0.11, 0.16), (0.02, 0.03, 0.07), 0.12, 0.08),
}
SIDES_OF_ROAD = {
    "grass": ("a country road", (0.30, 0.44, 0.20)),
    "paving": ("a city street", (0.55, 0.54, 0.52)),
    "sand": ("a road through sand", (0.72, 0.62, 0.44)),
    "snow": ("a road through snow", (0.90, 0.91, 0.94)),
}


@dataclass(frozen=True)
class Street:
    """A drawn street.

    Args:
        points: of its middle, `n 3` (x, y, heading), one every metre.
        xml, looks, light: of the scene. cars: the others. said: `a city street in the rain`.
    """

    points: np.ndarray
    xml: str
    looks: dict[str, Material]
    light: Light
    cars: list[SceneObject]
    said: str

    def place(self, along: float, aside: float) -> tuple[float, float, float]:
        """(x, y, heading) `along` metres down the street, `aside` metres to the left of its middle."""
        s = min(max(along, 0.0), len(self.points) - 1.001)
        i = int(s)
        x, y, heading = self.points[i] + (s - i) * (self.points[i + 1] - self.points[i])
        return float(x - np.sin(heading) * aside), float(y + np.cos(heading) * aside), float(heading)

    def nearest(self, at: np.ndarray, near: float) -> float:
        """Metres down the street of the middle's point nearest to `at`, sought around `near`."""
        low = int(max(0, near - 6))
        part = self.points[low : low + 14]
        k = int(np.argmin(np.hypot(*(part[:, :2] - at).T)))
        x, y, heading = part[k]
        return float(low + k + np.cos(heading) * (at[0] - x) + np.sin(heading) * (at[1] - y))


def draw(rng: np.random.Generator) -> Street:
    """A street with its surroundings, weather, light and other cars."""
    points = _winding(rng)
    weather = WEATHER[str(rng.choice(list(WEATHER)))]
    name, ground = SIDES_OF_ROAD[str(rng.choice(list(SIDES_OF_ROAD)))]
    looks: dict[str, Material] = {"ground": Material("speckle", 6.0, 0.25, 0.0)}
    xml = f'<geom name="ground" type="plane" size="400 400 1" pos="0 0 -0.06" rgba="{text(ground)} 1"/>'
    asphalt = np.full(3, rng.uniform(0.2, 0.3))
    for k in range(int(LENGTH / PIECE)):
        x, y, heading = points[min(int((k + 0.5) * PIECE), len(points) - 1)]
        turn = (np.cos(heading / 2), 0, 0, np.sin(heading / 2))
        xml += (
            f'<geom name="road{k}" type="box" size="{PIECE / 2 + 0.25} {WIDTH / 2} 0.05" pos="{x:.6g} {y:.6g} -0.05" '
            f'quat="{text(turn)}" rgba="{text(asphalt)} 1"/>'
        )
        looks[f"road{k}"] = Material("road", WIDTH, 2.4, weather[6], 3)
    more, faces = _sides(rng, points, name)
    xml += more
    looks |= faces
    cars, bodies = _cars(rng, looks)
    sun = rng.uniform((-120, -120, 60), (120, 120, 140))
    light = Light(
        position=(float(LENGTH / 3 + sun[0]), float(sun[1]), float(sun[2])),
        strength=weather[2],
        radius=2.0,
        colour=(1.0, 0.8, 0.6) if weather[0] == "at dusk" else (1.0, 0.97, 0.92),
        sky=(weather[5], weather[5] * 1.02, weather[5] * 1.06),
        ground=(0.4 * weather[5], 0.4 * weather[5], 0.4 * weather[5]),
        background=weather[3],
        zenith=weather[4],
        fog=weather[1] * float(rng.uniform(0.7, 1.4)),
    )
    whole = (
        '<mujoco model="driving"><compiler angle="degree"/><option gravity="0 0 0"/>'
        f"<worldbody>{xml}{bodies}</worldbody></mujoco>"
    )
    return Street(points, whole, looks, light, cars, f"{name} {weather[0]}")


def _winding(rng: np.random.Generator) -> np.ndarray:
    """The middle of a street of straight pieces and bends: `n 3`, one row a metre."""
    curve, rows = 0.0, [np.zeros(3)]
    left, wish = 0, 0.0
    for _ in range(int(LENGTH)):
        if left <= 0:
            left = int(rng.integers(25, 60))
            wish = float(rng.choice([0.0, rng.uniform(-0.022, 0.022)], p=[0.4, 0.6]))
        left -= 1
        curve += 0.12 * (wish - curve)
        x, y, heading = rows[-1]
        rows.append(np.array([x + np.cos(heading + curve / 2), y + np.sin(heading + curve / 2), heading + curve]))
    return np.array(rows)


def _sides(rng: np.random.Generator, points: np.ndarray, name: str) -> tuple[str, dict[str, Material]]:
    """Buildings, trees and lamp posts along both sides."""
    xml, looks = "", {}
    city = name == "a city street"
    s, k = 4.0, 0
    while s < LENGTH - 4:
        for side in (-1.0, 1.0):
            x, y, heading = points[int(s)]
            left = np.array([-np.sin(heading), np.cos(heading)])
            turn = (np.cos(heading / 2), 0, 0, np.sin(heading / 2))
            if rng.random() < (0.75 if city else 0.2):
                half = rng.uniform((4.0, 3.0, 2.5), (7.0, 6.0, 9.0 if city else 3.5))
                at = np.array([x, y]) + side * left * (WIDTH / 2 + 3.0 + half[1])
                if _too_near(points, at, half[1] + WIDTH / 2):
                    continue
                rgb = np.clip(rng.uniform(0.4, 0.8) + rng.uniform(-0.15, 0.15, 3), 0.1, 0.9)
                xml += (
                    f'<geom name="house{k}" type="box" size="{text(half)}" pos="{at[0]:.6g} {at[1]:.6g} {half[2]:.6g}" '
                    f'quat="{text(turn)}" rgba="{text(rgb)} 1"/>'
                )
                looks[f"house{k}"] = Material(
                    "windows" if city or rng.random() < 0.5 else "brick", float(rng.uniform(5, 9)), 0.55, 0.02
                )
            elif rng.random() < 0.7:
                at = np.array([x, y]) + side * left * (WIDTH / 2 + rng.uniform(1.6, 6.0))
                if _too_near(points, at, WIDTH / 2 + 1.2):
                    continue
                trunk, crown = float(rng.uniform(1.2, 2.2)), float(rng.uniform(0.9, 1.7))
                green = np.clip(np.array((0.16, 0.36, 0.13)) * rng.uniform(0.6, 1.5) + rng.uniform(-0.03, 0.05, 3), 0.03, 0.8)
                foot = f"{at[0]:.6g} {at[1]:.6g}"
                xml += (
                    f'<geom type="cylinder" size="0.15 {trunk / 2:.6g}" pos="{foot} {trunk / 2:.6g}" rgba="0.32 0.22 0.14 1"/>'
                    f'<geom name="tree{k}" type="sphere" size="{crown:.6g}" pos="{foot} {trunk + 0.7 * crown:.6g}" '
                    f'rgba="{text(green)} 1"/>'
                )
                looks[f"tree{k}"] = Material("speckle", 1.5, 0.4, 0.0)
            k += 1
        s += float(rng.uniform(9.0, 16.0))
    return xml, looks


def _too_near(points: np.ndarray, at: np.ndarray, room: float) -> bool:
    return bool(np.hypot(*(points[:, :2] - at).T).min() < room)


def _cars(rng: np.random.Generator, looks: dict[str, Material]) -> tuple[list[SceneObject], str]:
    things, xml = [], ""
    names = [str(n) for n in rng.permutation([c for c in COLOURS if c != "pink"])]
    for k in range(int(rng.integers(3, 7))):
        kind, half = ("van", (2.4, 0.95, 1.0)) if rng.random() < 0.25 else ("car", (2.15, 0.88, 0.72))
        rgb = np.clip(np.array(COLOURS[names[k]]) + rng.uniform(-0.05, 0.05, 3), 0.03, 0.97)
        things.append(SceneObject(kind, names[k], (float(rgb[0]), float(rgb[1]), float(rgb[2])), half))
        x, y, z = half
        paint = f'rgba="{text(rgb)} 1" group="1" contype="0" conaffinity="0"'
        wheels = "".join(
            f'<geom type="cylinder" size="0.32 0.1" pos="{sx * 0.62 * x:.6g} {sy * (y - 0.06):.6g} 0.32" euler="90 0 0" group="1" '
            f'contype="0" conaffinity="0" rgba="0.07 0.07 0.08 1"/>'
            for sx in (-1, 1)
            for sy in (-1, 1)
        )
        lamps = "".join(
            f'<geom type="box" size="0.03 0.15 0.08" pos="{end * (x + 0.01):.6g} {sy * 0.6 * y:.6g} 0.7" group="1" contype="0" '
            f'conaffinity="0" rgba="{"0.95 0.93 0.8" if end > 0 else "0.8 0.06 0.06"} 1"/>'
            for end in (-1, 1)
            for sy in (-1, 1)
        )
        roof = 0.86 * x if kind == "van" else 0.52 * x
        xml += (
            f'<body name="car{k}"><freejoint/>'
            f'<geom name="car{k}" type="box" size="{x} {y} 0.36" pos="0 0 0.66" mass="900" {paint}/>'
            f'<geom type="box" size="{roof:.6g} {0.9 * y:.6g} {z - 0.45:.6g}" pos="{-0.1 * x:.6g} 0 {0.57 + z:.6g}" mass="1" group="1" '
            f'contype="0" conaffinity="0" rgba="{text(rgb if kind == "van" else np.full(3, 0.12))} 1"/>{wheels}{lamps}</body>'
        )
        looks[f"car{k}"] = Material("plain", 1.0, 0.0, 0.35, 4)
    return things, xml


# Traffic: rows (along, side, speed, wish). Side -1 goes our way, +1 comes towards us.


def traffic(rng: np.random.Generator, count: int, ego: float) -> np.ndarray:
    """Where the others begin: `count 4`, no two in one place, nobody within 9 m of the ego car's lane place."""
    rows: list[tuple[float, float, float, float]] = []
    for k in range(count):
        for _ in range(50):
            side = -1.0 if k == 0 or rng.random() < 0.45 else 1.0
            s = float(rng.uniform(ego + 10, ego + 26)) if k == 0 else float(rng.uniform(ego - 22, ego + 90))
            if (side < 0 and abs(s - ego) < 9) or any(side == r[1] and abs(s - r[0]) < 9 for r in rows):
                continue
            speed = float(rng.uniform(5.0, 12.0))
            rows.append((s, side, speed, speed))
            break
    while len(rows) < count:
        rows.append((ego + 120.0 + 12.0 * len(rows), 1.0, 8.0, 8.0))
    return np.array(rows)


def advance(rows: np.ndarray, dt: float, ego: tuple[float, float, float]) -> np.ndarray:
    """Everyone a little further; who is close behind another, or behind the ego car, slows down.

    Args:
        ego: (along, metres left of the middle, speed).
    """
    out = rows.copy()
    for k, (s, side, speed, wish) in enumerate(rows):
        sign = -side  # the way it goes along the street
        gaps = [(sign * (r[0] - s), r[2]) for j, r in enumerate(rows) if j != k and r[1] == side and sign * (r[0] - s) > 0]
        if side < 0 and ego[1] < 0.5 and ego[0] > s:
            gaps.append((ego[0] - s, ego[2]))
        if side > 0 and ego[1] > -0.5 and ego[0] < s:
            gaps.append((s - ego[0], 0.0))
        gap, other = min(gaps, default=(1e9, 0.0))
        safe = min(wish, max(0.0, (gap - 7.0) / 1.5) + 0.4 * other)
        speed = max(0.0, speed + float(np.clip(safe - speed, -6.0 * dt, 2.0 * dt)))
        out[k, 0], out[k, 2] = s + sign * speed * dt, speed
    return out


def gap_ahead(rows: np.ndarray, along: float, side: float) -> tuple[float, float] | None:
    """(metres, speed) of the next car in front in a lane, None when it is free."""
    ahead = [(float(r[0] - along), float(r[2]) if r[1] < 0 else 0.0) for r in rows if r[1] == side and r[0] > along]
    return min(ahead, default=None)
