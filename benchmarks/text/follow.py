"""Does a dreamed tabletop do what a short prompt says, more often with the prompt upsampled than without?

    python benchmarks/text/follow.py [--prompts 40] [--world tabletop-words] [--then runs/instruction/model] [--save]

Prompts are short held-out wordings of held-out scenes (`recipes/text.py`); each names one thing, its colour and the side it goes to. The
world paints a frame from the prompt alone, and one that carries out sentences (`--then`, as `armillary posttrain instruction` makes it)
goes on for 16 frames, told in the plain words that it was trained on; without it nothing can move. Judged is, by colours learned from
rendered scenes (`evaluate/objects.py`), whether the named colour is there at all, and whether what has it ends up shifted to the named
side. `simulator` is the same judgement of the simulator's own clips: the most there is to reach.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from colours import SIZE, tracker

from armillary import media, sims
from armillary.evaluate.objects import ColourTracker
from armillary.recipes.text import HELD_SEED
from armillary.rollout.dreamer import Dreamer
from armillary.sims.language import SIDES
from armillary.sims.words.tell import tell
from armillary.text import upsampler

FRAMES = 17
THERE, MOVED = 12, 1.5  # pixels of the colour, and pixels of way, at 64


def clip(seed: int) -> tuple[np.ndarray, Any, Any]:
    """(frames of a played episode, its simulator, its truth)."""
    sim = sims.make("tabletop")
    episode = sims.record_episode(sim, seed, "expert", FRAMES, size=128)
    return media.fit(episode.frames["front"], (SIZE, SIZE)), sim, episode.truth


def judged(track: ColourTracker, frames: np.ndarray, colour: str, side: str) -> tuple[bool, bool]:
    """Whether the colour is there in the first frames, and whether it ends up shifted to the side."""
    found = track.track(frames)
    k = track.names.index(colour)
    first, last = slice(0, 3), slice(-3, None)
    there = bool(np.median(found.area[first, k]) >= THERE)
    if not there or np.median(found.area[last, k]) < THERE / 2:
        return there, False
    shift = np.nanmedian(found.position[last, k], 0) - np.nanmedian(found.position[first, k], 0)
    towards = np.array(SIDES[side]) * (1, -1)  # the far side is up in the picture
    way = float(shift @ towards)
    return there, way >= MOVED and way >= 0.7 * float(np.hypot(*shift))


def painted(dreamer: Dreamer, text: str, seed: int) -> np.ndarray:
    """One frame, `1 h w 3`; what moves a painter's scene is not asked for."""
    spec = dreamer.world.action_spec
    still = None if spec is None else np.zeros((0, spec.dim))
    return dreamer.dream(None, 1, prompt=text, actions=still, seed=seed, cut=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--world", default="tabletop-words")
    parser.add_argument("--then", help="a world that goes on from the painted frame")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    dreamer, track, up = Dreamer(options.world), tracker(), upsampler("small")
    then = Dreamer(options.then) if options.then else None
    rows: dict[str, list[tuple[bool, bool]]] = {"short prompt": [], "plain words": [], "upsampled": [], "simulator": []}
    shown, seed = [], HELD_SEED
    while len(shown) < options.prompts:
        seed += 1
        truth, sim, _ = clip(seed)
        pushes = sim.facts.of("push")
        if len(pushes) != 1 or pushes[0].whom is None:
            continue
        fact = pushes[0]
        prompt = tell(sim.facts, "short", seed, "held")
        texts = {
            "short prompt": prompt,
            "plain words": f"push the {fact.whom.colour} {fact.whom.shape} to the {fact.way} edge",
            "upsampled": up.upsample(prompt, fits=dreamer.fits),
        }
        for name, text in texts.items():
            made = painted(dreamer, text, seed)
            if then is not None:
                made = np.concatenate([made, then.dream(made, FRAMES - 1, prompt=texts["plain words"], seed=seed)])
            rows[name].append(judged(track, made, fact.whom.colour, fact.way))
        rows["simulator"].append(judged(track, truth, fact.whom.colour, fact.way))
        shown.append(texts)
    figures = {
        name: {"colour there": float(np.mean([a for a, _ in r])), "moved as asked": float(np.mean([b for _, b in r]))}
        for name, r in rows.items()
    }
    result = {
        "date": datetime.date.today().isoformat(),
        "world": dreamer.world.name,
        "sha256": dreamer.world.sha256,
        "then": then and {"name": then.world.name, "sha256": then.world.sha256},
        "prompts": len(shown),
        "figures": figures,
    }
    for name, row in figures.items():
        print(f"{name:13} {row}")
    for texts in shown[:5]:
        print(texts)
    if options.save:
        path = Path(__file__).parent / f"follow-{options.world}-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
