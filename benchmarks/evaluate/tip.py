"""Does the judge of dreams see the tool's tip? Where it is known to be, once a tokenizer has drawn it, and where it was painted out.

    python benchmarks/evaluate/tip.py [--tokenizer frame-c8-tabletop] [--episodes 16] [--save] [--json]

Tabletop frames of seeds that nobody trained on go through a tokenizer; the tracker learned its colours from the true ones. Right is a tip
found within 3 px of the simulator's; false is one found where a disc around it has been given the colour of what lies around that.
`colour` is the tracker's other way, a radius around the learned colour, which is how larger things are found.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness

from armillary import media, sims, tokenizers
from armillary.evaluate.objects import ColourTracker, Scene
from armillary.evaluate.reconstruct import reconstructor

SIZE, SEED, NEAR = 64, 900_000, 3.0


def painted_out(frame: np.ndarray, tip: np.ndarray) -> np.ndarray:
    """`frame` without what lies within 5 px of `tip`."""
    y, x = np.mgrid[: len(frame), : frame.shape[1]]
    away = (x + 0.5 - tip[0]) ** 2 + (y + 0.5 - tip[1]) ** 2
    out = frame.copy()
    out[away <= 25] = np.median(frame[(away > 25) & (away <= 64)], axis=0)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", default="frame-c8-tabletop")
    parser.add_argument("--episodes", type=int, default=16)
    for flag in ("json", "quick", "save"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    draw = reconstructor(tokenizers.load(options.tokenizer))
    rows: dict[str, list[tuple[float, bool, bool]]] = {"direction": [], "colour": []}
    for seed in range(SEED, SEED + (2 if options.quick else options.episodes)):
        episode = sims.record_episode(sims.make("tabletop"), seed, "mix", 33, size=128, cameras=("front",))
        truth, scene = media.fit(episode.frames["front"], (SIZE, SIZE)), Scene.read(episode.truth, SIZE)
        assert scene is not None and scene.tip is not None
        learned = scene.learn(truth)
        by = {
            "direction": learned,
            "colour": ColourTracker([dataclasses.replace(c, around=None) for c in learned.colours]),
        }
        shown = draw(truth)
        without = np.stack([painted_out(f, p) for f, p in zip(shown, scene.tip)])
        for name, tracker in by.items():
            there, not_there = tracker.track(shown), tracker.track(without)
            # A radius finds a pixel or two of anything: a tip is what has three tenths of its size in the truth.
            least = 0.3 * tracker.track(truth).area[:, -1] if name == "colour" else np.zeros(len(truth))
            found, passed = (t.area[:, -1] > np.maximum(least, 0) for t in (there, not_there))
            off = np.linalg.norm(there.position[:, -1] - scene.tip[: len(shown)], axis=-1)
            rows[name] += list(zip(np.where(found, off, np.inf), found, passed))
    figures = {
        name: {
            "frames": len(r),
            "found within 3 px": float(np.mean([o <= NEAR for o, _, _ in r])),
            "found": float(np.mean([f for _, f, _ in r])),
            "median px off": float(np.median([o for o, f, _ in r if f])),
            "found where painted out": float(np.mean([p for _, _, p in r])),
        }
        for name, r in rows.items()
    }
    harness.report(__file__, {}, figures, options, stem="tip")


if __name__ == "__main__":
    main()
