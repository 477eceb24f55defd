"""A drawn head that moves across the picture: the face that the demo blurs, so that no person's photograph has to be shipped."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SKIN, SHADE, HAIR, SHIRT = (214, 168, 140), (186, 138, 114), (50, 36, 28), (50, 70, 110)


def portrait(num: int = 20, size: int = 384) -> np.ndarray:
    """uint8 `num size size 3`: one face, 230 of 512 pixels wide, moving from left to right and tilting a little."""
    frames = [_head(size, 0.42 + 0.16 * i / max(1, num - 1), 5.0 * np.sin(i / 4), seed=i) for i in range(num)]
    return np.stack(frames)


def _head(size: int, across: float, tilt: float, seed: int) -> np.ndarray:
    scale = 2  # drawn larger and averaged down, so that edges are soft
    side = size * scale
    picture = Image.new("RGB", (side, side), (196, 188, 180))
    head = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(head)
    x, y, w = across * side, 0.47 * side, 0.225 * side
    h = 1.32 * w

    def oval(cx: float, cy: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse([cx - rx, cy - ry, cx + rx, cy + ry], fill=fill)

    oval(x, y + 2.35 * h, 2.2 * w, 1.1 * h, SHIRT)
    draw.rectangle([x - 0.45 * w, y + 0.6 * h, x + 0.45 * w, y + 1.5 * h], fill=SHADE)
    oval(x, y - 0.23 * h, 1.12 * w, 0.98 * h, HAIR)
    oval(x, y, w, h, SKIN)
    draw.pieslice([x - 1.02 * w, y - 1.06 * h, x + 1.02 * w, y + 0.4 * h], 190, 350, fill=HAIR)
    for side_of in (-1, 1):
        ex, ey = x + side_of * 0.42 * w, y - 0.12 * h
        oval(ex, ey, 0.24 * w, 0.15 * h, (180, 130, 108))
        oval(ex, ey, 0.19 * w, 0.085 * h, (245, 242, 238))
        oval(ex, ey, 0.085 * w, 0.085 * h, (50, 35, 25))
        brow = [ex - 0.26 * w, ey - 0.2 * h, ex, ey - 0.27 * h, ex + 0.26 * w, ey - 0.2 * h]
        draw.line(brow, fill=(60, 42, 32), width=int(0.07 * w))
        oval(x + side_of * w, y, 0.1 * w, 0.2 * h, (200, 150, 125))
        oval(x + side_of * 0.11 * w, y + 0.29 * h, 0.06 * w, 0.04 * h, (140, 90, 75))
    bridge = [(x - 0.08 * w, y - 0.1 * h), (x - 0.2 * w, y + 0.3 * h), (x + 0.2 * w, y + 0.3 * h), (x + 0.08 * w, y - 0.1 * h)]
    draw.polygon(bridge, fill=(200, 150, 122))
    oval(x, y + 0.56 * h, 0.36 * w, 0.08 * h, (170, 80, 80))
    draw.line([x - 0.36 * w, y + 0.56 * h, x + 0.36 * w, y + 0.56 * h], fill=(110, 45, 48), width=int(0.03 * w))
    turned = head.rotate(tilt, resample=Image.Resampling.BICUBIC, center=(x, y))
    picture.paste(turned, mask=turned)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.05 * w)).resize((size, size), Image.Resampling.LANCZOS), float)
    light = 1.08 - 0.3 * np.arange(size) / size
    noise = np.random.default_rng(seed).normal(0, 2, soft.shape)
    return np.clip(soft * light[None, :, None] + noise, 0, 255).round().astype(np.uint8)
