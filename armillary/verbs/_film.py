"""The demo's raw footage: episodes joined with every flaw that curation must find, and a list of what was put where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from armillary import media
from armillary.store import write_bytes, write_json
from armillary.types import Episode

SIZE = 256  # raw films are larger than what is trained on, as footage is


@dataclass(frozen=True)
class Shot:
    """One stretch of a film, in frames: what it shows and what curation should make of it.

    Args:
        kind: `plain`, `static`, `text` or `duplicate`.
        transition: how it begins: `start`, `cut` or `dissolve`; for a dissolve `begin` is its first mixed frame.
    """

    begin: int
    end: int
    kind: str
    transition: str
    episode: str


def make_films(episodes: Sequence[Episode], folder: Path, camera: str = "front", per_film: int = 6) -> list[Path]:
    """Write `folder/film-*.mp4` from `episodes` (at least eight) and `folder/truth.json` with the shots of each.

    The first film also holds a dissolve, a static stretch and burnt-in text; the second, of a smaller picture and compressed harder,
    repeats an episode of the first; the last file is cut off in the middle.
    """
    shown = [(e.id, media.resize(e.frames[camera], (SIZE, SIZE))) for e in episodes]
    fps = episodes[0].fps
    truth: dict[str, list[dict]] = {}
    paths: list[Path] = []

    def write(name: str, parts: Sequence[tuple[str, str, str, np.ndarray]], size: int = SIZE, crf: int = 16) -> None:
        film, shots = _join(parts)
        paths.append(Path(media.write_video(folder / name, media.resize(film, (size, size)), fps, crf=crf)))
        truth[name] = [asdict(s) for s in shots]

    (a, first), (b, second), (c, third), (d, fourth), (e, fifth), (f, sixth) = shown[:6]
    write(
        "film-flaws.mp4",
        [
            (a, "plain", "start", first),
            (b, "plain", "cut", second),
            (c, "plain", "dissolve", third),
            (f, "static", "cut", _still(sixth[0], 30)),
            (d, "text", "cut", _burn(fourth, "CAM 02  REC  22:14")),
            (e, "plain", "cut", fifth),
        ],
    )
    write("film-repeat.mp4", [(f, "plain", "start", sixth), (a, "duplicate", "cut", first[1:])], SIZE * 5 // 8, crf=26)
    rest = shown[6:]
    for k in range(0, len(rest), per_film):
        group = rest[k : k + per_film]
        write(f"film-{k // per_film:02d}.mp4", [(i, "plain", "cut" if n else "start", f) for n, (i, f) in enumerate(group)])
    whole = paths[0].read_bytes()
    paths.append(write_bytes(folder / "film-broken.mp4", whole[: len(whole) * 3 // 5]))
    write_json(folder / "truth.json", {"fps": fps, "films": truth, "broken": ["film-broken.mp4"]})
    return paths


def _join(parts: Sequence[tuple[str, str, str, np.ndarray]], mix: int = 8) -> tuple[np.ndarray, list[Shot]]:
    frames: list[np.ndarray] = []
    shots: list[Shot] = []
    for episode, kind, transition, clip in parts:
        begin = sum(map(len, frames))
        if transition == "dissolve":
            old, begin = frames[-1], begin - mix
            weight = (np.arange(1, mix + 1) / (mix + 1))[:, None, None, None]
            frames[-1] = old[:-mix]
            mixed = old[-mix:] * (1 - weight) + clip[:mix] * weight
            clip = np.concatenate([mixed.round().astype(np.uint8), clip[mix:]])
        frames.append(clip)
        shots.append(Shot(begin, begin + len(clip), kind, transition, episode))
    return np.concatenate(frames), shots


def _still(frame: np.ndarray, num: int) -> np.ndarray:
    """A frozen picture with a little sensor noise, so that a byte comparison would not find it."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1.5, size=(num, *frame.shape))
    return np.clip(frame[None] + noise, 0, 255).round().astype(np.uint8)


def _burn(frames: np.ndarray, words: str) -> np.ndarray:
    """`frames` with a caption bar's text burnt in at a fixed place."""
    font = ImageFont.load_default(size=22)

    def marked() -> Iterator[np.ndarray]:
        for frame in frames:
            picture = Image.fromarray(frame)
            ImageDraw.Draw(picture).text((12, SIZE - 38), words, font=font, fill="white", stroke_width=2, stroke_fill="black")
            yield np.asarray(picture)

    return np.stack(list(marked()))
