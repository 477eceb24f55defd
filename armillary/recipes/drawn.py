"""Footage that nobody filmed: slides, desktops, plots, cartoons, games and test patterns, drawn from a seed to train `kinds` on.

Each function takes a generator, a size `h w` and a number of frames and gives uint8 `t h w 3`. They vary in everything that should not
matter (palette, layout, speed, light or dark) and are alike in what should: flat paint, exact colours, outlines, overlays that stand still.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rng = np.random.Generator
WORDS = (
    "model data frame world robot budget plan review result update total user session market growth index value camera quarter goal "
    "time system method figure table next step risk team launch test open file edit view help search settings profile message"
).split()


def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(7, int(size)))


def _words(rng: Rng, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS, int(rng.integers(low, high + 1)))).capitalize()


def _colour(rng: Rng, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    r, g, b = (int(c) for c in rng.integers(low, high + 1, 3))
    return r, g, b


def _theme(rng: Rng) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    """Background, ink, accent."""
    if rng.random() < 0.6:
        return _colour(rng, 225, 255), _colour(rng, 0, 70), _colour(rng, 30, 200)
    return _colour(rng, 8, 55), _colour(rng, 190, 255), _colour(rng, 90, 255)


def _canvas(h: int, w: int, colour: tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (w, h), colour)
    return image, ImageDraw.Draw(image)


def _graded(rng: Rng, h: int, w: int) -> Image.Image:
    """A background whose colour runs from top to bottom."""
    a, b = np.array(_colour(rng)), np.array(_colour(rng))
    part = np.linspace(0, 1, h)[:, None, None]
    return Image.fromarray(np.broadcast_to(a * (1 - part) + b * part, (h, w, 3)).astype(np.uint8).copy())


def _chart(
    rng: Rng, d: ImageDraw.ImageDraw, box: tuple[float, float, float, float], ink: object, accent: object, part: float = 1.0
) -> None:
    x0, y0, x1, y1 = box
    d.line([(x0, y0), (x0, y1), (x1, y1)], fill=ink, width=2)  # type: ignore[arg-type]
    count = int(rng.integers(4, 12))
    values = rng.uniform(0.1, 1, count)
    if rng.random() < 0.5:
        each = (x1 - x0) / count
        for i, v in enumerate(values[: max(1, int(part * count))]):
            d.rectangle([x0 + each * (i + 0.15), y1 - v * (y1 - y0), x0 + each * (i + 0.85), y1 - 1], fill=accent)  # type: ignore[arg-type]
    else:
        xs = np.linspace(x0, x1, 60)
        for _ in range(int(rng.integers(1, 4))):
            ys = y1 - (y1 - y0) * (0.5 + 0.4 * np.sin(rng.uniform(1, 6) * np.linspace(0, 3, 60) + rng.uniform(0, 6)))
            n = max(2, int(part * 60))
            d.line(list(zip(xs[:n], ys[:n])), fill=_colour(rng, 30, 220), width=int(rng.integers(1, 4)))


def _slide(rng: Rng, h: int, w: int) -> np.ndarray:
    ground, ink, accent = _theme(rng)
    image, d = _canvas(h, w, ground)
    if rng.random() < 0.15:
        image = _graded(rng, h, w)
        d = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        d.rectangle([0, 0, w, h * rng.uniform(0.08, 0.2)], fill=accent)
    d.text((w * 0.06, h * 0.05), _words(rng, 2, 4), fill=ink, font=_font(h * rng.uniform(0.07, 0.12)))
    split = rng.uniform(0.4, 0.95)
    y = h * 0.25
    for _ in range(int(rng.integers(2, 8))):
        d.text((w * 0.08, y), "- " + _words(rng, 2, max(3, int(7 * split))), fill=ink, font=_font(h * 0.05))
        y += h * rng.uniform(0.08, 0.11)
    if split < 0.75:
        _chart(rng, d, (w * (split + 0.05), h * 0.3, w * 0.95, h * 0.85), ink, accent)
    return np.asarray(image)


def slides(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """A talk: one to four slides, changed at once."""
    count = int(rng.integers(1, 5))
    shown = [_slide(rng, h, w) for _ in range(count)]
    return np.stack([shown[min(count - 1, i * count // frames)] for i in range(frames)])


def desktop(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """Windows with text, a pointer that moves, lines that scroll or are typed."""
    ground, ink, accent = _theme(rng)
    code = rng.random() < 0.4
    size, left = h * rng.uniform(0.03, 0.055), w * rng.uniform(0.1, 0.3)
    lines = [_words(rng, 2, 9) for _ in range(80)]
    inks = [_colour(rng, 90, 255) if code and ground[0] < 100 else ink for _ in lines]
    scroll, typed = rng.choice([0, 0, 1.0, 3.0]), rng.random() < 0.4
    start, end = rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
    side = [_words(rng, 1, 2) for _ in range(10)]
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        image, d = _canvas(h, w, ground)
        first = scroll * i
        shown = 4 + i // 3 if typed else 80
        for k in range(80):
            y = h * 0.12 + (k * 1.35 * size) - first * 1.35 * size * 0.2
            if h * 0.1 < y < h and k < shown:
                d.text((left + 8 + (k * 7 % 3) * size * (1 if code else 0), y), lines[k], fill=inks[k], font=_font(size))
        d.rectangle([0, 0, left, h], fill=tuple(int(c * 0.9) for c in ground))
        for k, word in enumerate(side):
            d.text((8, h * (0.12 + 0.07 * k)), word, fill=ink, font=_font(size))
        d.rectangle([0, 0, w, h * 0.09], fill=accent)
        x, y = (start + (end - start) * min(1.0, 1.5 * i / frames)) * (w, h)
        d.polygon([(x, y), (x, y + 14), (x + 4, y + 10), (x + 9, y + 10)], fill=(0, 0, 0), outline=(255, 255, 255))
        out[i] = np.asarray(image)
    return out


def plot(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """A chart that grows."""
    ground, ink, accent = _theme(rng)
    seed, title = int(rng.integers(1 << 30)), _words(rng, 2, 4)
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        image, d = _canvas(h, w, ground)
        d.text((w * 0.3, h * 0.03), title, fill=ink, font=_font(h * 0.06))
        _chart(np.random.default_rng(seed), d, (w * 0.1, h * 0.15, w * 0.92, h * 0.88), ink, accent, (i + 1) / frames)
        for k in range(6):
            d.text((w * (0.1 + 0.14 * k), h * 0.9), f"{k * 10}", fill=ink, font=_font(h * 0.045))
        out[i] = np.asarray(image)
    return out


def cartoon(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """Hills, houses, trees and figures in flat paint, most with outlines, on ones, twos or threes, before a camera that may pan."""
    line = (20, 15, 20) if rng.random() < 0.75 else None
    width, hold, pan = int(rng.integers(1, 4)), int(rng.integers(1, 4)), rng.choice([0, 0, 1.5, -2.5])
    sky = _graded(rng, h, w)
    shapes = []
    for layer in range(3):
        for _ in range(int(rng.integers(2, 6))):
            shapes.append(
                (
                    layer,
                    rng.uniform(-0.3, 1.3),
                    rng.uniform(0.35, 0.8),
                    rng.uniform(0.06, 0.3),
                    int(rng.integers(4)),
                    _colour(rng, 30, 240),
                )
            )
    ground, skin, shirt = _colour(rng, 40, 200), _colour(rng, 120, 250), _colour(rng)
    steps, figures = (
        rng.uniform(1, 5),
        [(rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.35), rng.uniform(-2, 2)) for _ in range(int(rng.integers(1, 4)))],
    )
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        t = i // hold * hold
        image = sky.copy()
        d = ImageDraw.Draw(image)
        for layer, x, y, r, shape, colour in shapes:
            cx, cy, e = (x * w + pan * t * (layer + 1) / 2), y * h, r * h
            if shape == 0:
                d.ellipse([cx - 1.6 * e, cy, cx + 1.6 * e, cy + 3 * e], fill=colour, outline=line, width=width)
            elif shape == 1:
                d.rectangle([cx - e * 0.7, cy - e * 0.5, cx + e * 0.7, cy + e], fill=colour, outline=line, width=width)
                d.polygon(
                    [(cx - e, cy - e * 0.5), (cx, cy - 1.3 * e), (cx + e, cy - e * 0.5)], fill=_shade(colour), outline=line
                )
            elif shape == 2:
                d.rectangle([cx - e * 0.12, cy, cx + e * 0.12, cy + e], fill=(90, 60, 40), outline=line, width=width)
                d.ellipse([cx - e * 0.6, cy - e, cx + e * 0.6, cy + e * 0.3], fill=colour, outline=line, width=width)
            else:
                for dx in (-0.5, 0.1, 0.6):
                    d.ellipse(
                        [cx + (dx - 0.5) * e, cy * 0.4, cx + (dx + 0.5) * e, cy * 0.4 + 0.6 * e], fill=_shade(colour, 1.3)
                    )
        d.rectangle([0, h * 0.82, w, h], fill=ground, outline=line, width=width)
        for x, size, speed in figures:
            cx, e = x * w + speed * t, size * h
            swing, top = np.sin(t / steps) * 0.25 * e, h * 0.9 - 2.2 * e
            for sign in (-1, 1):
                d.line(
                    [(cx, top + 1.5 * e), (cx + sign * swing, top + 2.3 * e)],
                    fill=line or _shade(shirt),
                    width=max(3, int(0.14 * e)),
                )
                d.line([(cx, top + 0.9 * e), (cx - sign * swing * 1.6, top + 1.5 * e)], fill=skin, width=max(3, int(0.12 * e)))
            d.ellipse([cx - 0.35 * e, top + 0.7 * e, cx + 0.35 * e, top + 1.6 * e], fill=shirt, outline=line, width=width)
            d.ellipse([cx - 0.45 * e, top - 0.1 * e, cx + 0.45 * e, top + 0.8 * e], fill=skin, outline=line, width=width)
            for eye in (-0.16, 0.16):
                d.ellipse(
                    [cx + (eye - 0.1) * e, top + 0.2 * e, cx + (eye + 0.1) * e, top + 0.45 * e],
                    fill=(255, 255, 255),
                    outline=line,
                )
                d.ellipse([cx + (eye - 0.03) * e, top + 0.28 * e, cx + (eye + 0.05) * e, top + 0.4 * e], fill=(0, 0, 0))
        out[i] = np.asarray(image)
    return out


def _shade(colour: tuple[int, int, int], by: float = 0.7) -> tuple[int, int, int]:
    r, g, b = (min(255, int(c * by)) for c in colour)
    return r, g, b


def _noise(rng: Rng, size: int, cells: int) -> np.ndarray:
    """Smooth periodic noise `size size` in [0, 1]."""
    coarse = Image.fromarray(rng.uniform(0, 255, (cells, cells)).astype(np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255


def _corridor(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """Textured walls and floor seen by a player who walks and turns."""
    tile = (0.4 + 0.6 * _noise(rng, 64, int(rng.choice([4, 8, 16])))[..., None]) * rng.uniform(60, 230, 3)
    brick = (np.add.outer(np.arange(64) // 16 * 8, np.arange(64)) % 16 < 1) | (np.arange(64)[:, None] % 16 < 1)
    wall = np.where(brick[..., None], tile * 0.4, tile)
    floor = (0.5 + 0.5 * _noise(rng, 64, 8)[..., None]) * rng.uniform(60, 200, 3)
    turn, walk, far = rng.uniform(-1.2, 1.2), rng.uniform(0.3, 2), rng.uniform(1.5, 5)
    xs, ys = np.linspace(-1, 1, w)[None], np.linspace(-h / w, h / w, h)[:, None]
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        t = i / 12
        angle = turn * t + xs
        reach = far / np.maximum(np.maximum(np.abs(np.sin(angle)), np.abs(np.cos(angle))), 0.3) - (walk * t % (far * 0.6))
        along = np.where(np.abs(np.sin(angle)) > np.abs(np.cos(angle)), reach * np.cos(angle), reach * np.sin(angle)) + walk * t
        up = ys * reach
        isn = np.abs(up) < 0.5
        u, v = (along * 32 % 64).astype(int), ((up + 0.5) * 64 % 64).astype(int)
        down = 0.5 / np.maximum(np.abs(ys), 1e-3)
        fu, fv = ((down * np.sin(angle) + walk * t) * 40 % 64).astype(int), (down * np.cos(angle) * 40 % 64).astype(int)
        picture = np.where(isn[..., None], wall[v, np.broadcast_to(u, v.shape)], floor[fu, fv])
        light = np.clip(1.6 / np.maximum(np.where(isn, reach, down), 0.4), 0.15, 1.2)[..., None]
        out[i] = np.clip(picture * light, 0, 255)
    return out


def _platforms(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """A side-scroller of tiles and sprites with coarse pixels."""
    cell, speed = int(rng.integers(4, 8)), rng.uniform(1, 5)
    gh, gw = h // cell + 1, w // cell + 1
    world = np.zeros((gh, gw * 6, 3)) + np.array(_colour(rng))
    for x in range(0, gw * 6, 6):
        top = int(gh * rng.uniform(0.55, 0.95))
        world[top:, x : x + 6] = _colour(rng, 30, 220)
        world[top : top + 1, x : x + 6] = _colour(rng, 80, 255)
        if rng.random() < 0.5:
            y = int(gh * rng.uniform(0.2, 0.6))
            world[y : y + 2, x : x + 4] = _colour(rng, 60, 255)
    sprite = np.zeros((8, 6, 3)) + rng.integers(0, 255, (8, 3, 3)).repeat(2, 1)
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        at = int(speed * i) % (gw * 4)
        view = world[:, at : at + gw].copy()
        y = int(gh * (0.45 - 0.2 * abs(np.sin(i / 4))))
        view[y : y + 8, gw // 3 : gw // 3 + 6] = sprite[: max(0, gh - y)]
        out[i] = np.kron(view, np.ones((cell, cell, 1)))[:h, :w]
    return out


def game(rng: Rng, h: int, w: int, frames: int, behind: np.ndarray | None = None) -> np.ndarray:
    """Play with an overlay that stands still: bars, a map, numbers, a cross-hair. `behind`: other footage to play in."""
    scene = behind if behind is not None else (_corridor if rng.random() < 0.6 else _platforms)(rng, h, w, frames)
    colour, ink = _colour(rng, 120, 255), _colour(rng, 200, 255)
    corner, cross, bars, size = int(rng.integers(4)), rng.random() < 0.6, int(rng.integers(1, 4)), h * rng.uniform(0.04, 0.08)
    score, map_ = int(rng.integers(0, 99999)), rng.random() < 0.6
    spots = rng.uniform(0, 1, (6, 2))
    out = np.empty_like(scene)
    for i, frame in enumerate(scene):
        image = Image.fromarray(np.ascontiguousarray(frame))
        d = ImageDraw.Draw(image)
        left, top = (0.03 if corner % 2 else 0.7) * w, (0.04 if corner < 2 else 0.8) * h
        for k in range(bars):
            y = top + k * size * 1.2
            d.rectangle([left, y, left + 0.25 * w, y + size * 0.8], fill=(30, 30, 30), outline=ink)
            d.rectangle([left + 1, y + 1, left + 0.25 * w * (0.9 - 0.2 * k - 0.003 * i), y + size * 0.8 - 1], fill=colour)
        d.text((w * 0.42, h * 0.03), f"SCORE {score + i // 6 * 10:06d}", fill=ink, font=_font(size))
        d.text((w * (0.8 if corner % 2 else 0.04), h * 0.9), f"{30 - i // 8:02d} / 90", fill=ink, font=_font(size * 1.3))
        if map_:
            x0, y0, r = w * (0.86 if corner != 0 else 0.12), h * 0.2, h * 0.12
            d.ellipse([x0 - r, y0 - r, x0 + r, y0 + r], fill=(20, 40, 30), outline=ink, width=2)
            for sx, sy in spots:
                x, y = x0 + (sx - 0.5) * 1.3 * r, y0 + (sy - 0.5) * 1.3 * r
                d.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
        if cross:
            for dx, dy in ((1, 0), (0, 1)):
                d.line([(w / 2 - 9 * dx, h / 2 - 9 * dy), (w / 2 + 9 * dx, h / 2 + 9 * dy)], fill=ink, width=2)
        out[i] = np.asarray(image)
    return out


def pattern(rng: Rng, h: int, w: int, frames: int) -> np.ndarray:
    """Test patterns and abstract motion: bars, checks, rings, plasma, noise, regions of flat colour, depth-like fields."""
    kind = int(rng.integers(8))
    y, x = np.mgrid[:h, :w].astype(np.float32) / max(h, w)
    rate, phase = rng.uniform(0, 6), rng.uniform(0, 6, 6)
    palette = rng.integers(0, 256, (12, 3))
    points, drift = rng.uniform(0, 1, (12, 2)), rng.normal(size=(12, 2)) * 0.15
    many, angle = rng.uniform(4, 30), rng.uniform(0, np.pi)
    stamped = rng.random() < 0.4
    out = np.empty((frames, h, w, 3), np.uint8)
    for i in range(frames):
        t = i / 12
        if kind == 0:  # colour bars, perhaps with a running clock
            bars = np.array(
                [[180, 180, 180], [180, 180, 16], [16, 180, 180], [16, 180, 16], [180, 16, 180], [180, 16, 16], [16, 16, 180]]
            )
            picture = bars[np.minimum(6, (np.arange(w) * 7 // w))][None].repeat(h, 0).copy()
            picture[int(h * 0.75) :] = np.linspace(0, 255, w)[None, :, None] if phase[0] < 3 else 16
        elif kind == 1:
            u, v = x * np.cos(angle) + y * np.sin(angle) + 0.05 * t, -x * np.sin(angle) + y * np.cos(angle)
            picture = palette[((np.floor(u * many) + np.floor(v * many)) % 2).astype(int)]
        elif kind == 2:
            rings = np.sin(many * 2 * (x**2 + y**2) * 8 + rate * t)
            picture = palette[0] + (palette[1] - palette[0]) * (rings[..., None] * 0.5 + 0.5)
        elif kind == 3:
            waves = [np.sin(p + 9 * (x * np.cos(p) + y * np.sin(p)) * (1 + k / 2) + rate * t) for k, p in enumerate(phase[:4])]
            picture = 128 + 60 * np.stack([waves[0] + waves[1], waves[1] + waves[2], waves[2] + waves[3]], -1)
        elif kind == 4:
            picture = rng.integers(0, 256, (h, w, 3 if phase[0] < 3 else 1))
        elif kind == 5:  # regions of flat colour that drift, as a segmentation has
            at = (points + drift * t) % 1
            near = np.argmin([(x - a * w / max(h, w)) ** 2 + (y - b * h / max(h, w)) ** 2 for a, b in at], axis=0)
            picture = palette[near]
        elif kind == 6:  # smooth grey or false colour, as a depth map has
            at = (points[:5] + drift[:5] * t) % 1
            field = np.max([np.exp(-(((x - a) ** 2 + (y - b) ** 2) * 25)) for a, b in at], axis=0) + 0.4 * y
            picture = (
                255 * np.repeat(field[..., None], 3, 2)
                if phase[0] < 3
                else palette[0] * field[..., None] + palette[1] * (1 - field[..., None])
            )
        else:  # lines that turn
            image, d = _canvas(h, w, (0, 0, 0))
            for k in range(12):
                a = t * rate / 3 + k * 2 * np.pi / 12
                d.line(
                    [(w / 2, h / 2), (w / 2 + w * np.cos(a), h / 2 + w * np.sin(a))],
                    fill=tuple(int(c) for c in palette[k]),
                    width=3,
                )
            picture = np.asarray(image)
        picture = np.clip(picture, 0, 255).astype(np.uint8)
        if picture.shape[2] == 1:
            picture = picture.repeat(3, 2)
        if stamped:
            image = Image.fromarray(np.ascontiguousarray(picture))
            ImageDraw.Draw(image).text(
                (w * 0.3, h * 0.45), f"00:00:{i // 12:02d}:{i % 12:02d}", fill=(255, 255, 255), font=_font(h * 0.12)
            )
            picture = np.asarray(image)
        out[i] = picture
    return out


DRAWN: dict[str, tuple[str, Callable[[Rng, int, int, int], np.ndarray]]] = {
    "slides": ("screen", slides),
    "desktop": ("screen", desktop),
    "plot": ("screen", plot),
    "cartoon": ("animation", cartoon),
    "game": ("game", game),
    "pattern": ("abstract", pattern),
}
