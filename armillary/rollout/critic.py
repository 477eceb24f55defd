"""A critic: does a picture show what its prompt names, no thing less and no thing more? Chooses among several dreams.

A small network reads off a picture how many things it shows of each colour, of each shape, and of each colour and shape: none, one or more
(`counter.py`). The prompt is read by rules (`sims.words.read`). How well they agree is a probability. `recipes/critic.py` trains the
network on simulator scenes, half of them with a second thing of a colour, and mostly as a tokenizer shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from armillary import media
from armillary.errors import BadInput
from armillary.presets import from_json
from armillary.rollout.counter import Counter, CriticConfig
from armillary.sims.words.read import read
from armillary.store import find_weights, load_folder

FAMILY = "critic"
DEFAULT_CRITIC = "critic-tabletop"
ENOUGH = 0.5  # probability that all is right, from which on no other picture is asked for
SHAPES = 0.1  # weight of shapes in the ranking; up to 0.25 chooses the same pictures


class Agreement(NamedTuple):
    """Log-probabilities that there are as many things of each colour as the prompt says, and that each has its shape.

    Both are sums over counts, as if these did not depend on each other.
    """

    number: float
    shapes: float

    @property
    def score(self) -> float:
        """What pictures are ranked by: the number first, shapes, of which the critic is less sure, among those that have it right."""
        return self.number + SHAPES * self.shapes

    @property
    def enough(self) -> bool:
        return math.exp(self.number + self.shapes) >= ENOUGH


class Critic:
    """Args:
    counter: trained. name, sha256: of its weights, for records.
    """

    def __init__(self, counter: Counter, name: str = "", sha256: str = "") -> None:
        self.counter, self.name, self.sha256 = counter.eval().requires_grad_(False), name, sha256

    def asked(self, prompt: str) -> dict[int, int]:
        """Which counts (places in `config.counted`) a prompt settles, and at what: as many as it names, none of what it does not name.

        Raises:
            BadInput: it names no thing that this critic counts, or one that it does not, or it counts or denies (`two`, `no`), which is
                not read.
        """
        c = self.counter.config
        reading = read(prompt, c.world)
        things = reading.facts.things
        known = f"It looks for things of the colours {', '.join(c.colours)} and the shapes {', '.join(c.shapes)}."
        if reading.denied:
            raise BadInput(f"The critic does not read counts and denials; got the prompt {prompt!r}. {known}")
        strange = [t for t in things if t.colour not in ("", *c.colours) or t.shape not in ("", *c.shapes)]
        if strange or not things:
            what = f"{strange[0].colour} {strange[0].shape}".strip() if strange else "nothing"
            raise BadInput(f"The critic finds {what} to look for in the prompt {prompt!r}. {known}")
        out = {}
        for k, (kind, there) in enumerate(zip(c.counted, c.counts(things))):
            # A thing whose shape is not said may have any: then only what is said to be there is asked for.
            loose = any((kind.colour and not t.colour) or (kind.shape and not t.shape) for t in things)
            if there or not loose:
                out[k] = there
        return out

    @torch.no_grad()
    def agreement(self, picture: np.ndarray, prompt: str) -> Agreement:
        """How likely uint8 `h w 3` shows what `prompt` names and nothing more."""
        asked, config = self.asked(prompt), self.counter.config
        frames = media.fit(picture[None], (config.size, config.size))
        log = self.counter(torch.from_numpy(frames))[0].log_softmax(-1)
        sums = [0.0, 0.0]
        for k, count in asked.items():
            sums[bool(config.counted[k].shape)] += float(log[k, count])
        return Agreement(*sums)


class Best(NamedTuple):
    """What was chosen: the dream of `seeds[taken]`, and how the first frame of each agreed."""

    frames: np.ndarray
    taken: int
    seeds: list[int]
    agreements: list[Agreement]

    @property
    def seed(self) -> int:
        return self.seeds[self.taken]

    def record(self, most: int, critic: Critic) -> dict[str, Any]:
        """For a sidecar."""
        return {
            "of": most,
            "critic": {"name": critic.name, "sha256": critic.sha256},
            "taken": self.seed,
            "dreams": [{"seed": s, **a._asdict()} for s, a in zip(self.seeds, self.agreements)],
        }


def best_of(most: int, draw: Callable[[int], np.ndarray], critic: Critic, prompt: str, seed: int) -> Best:
    """The best of at most `most` (1 or more) dreams; fewer are dreamed when one is good enough.

    Args:
        draw: a dream of that seed, uint8 `t h w 3`; its first frame is judged.
        seed: of the first; further ones are made from it.

    Raises:
        BadInput: the critic cannot read the prompt.
    """
    critic.asked(prompt)
    kept, taken = draw(seed), 0
    seeds, said = [seed], [critic.agreement(kept[0], prompt)]
    while len(seeds) < most and not said[-1].enough:
        seeds.append(int(np.random.default_rng([seed % (1 << 64), len(seeds)]).integers(1 << 31)))
        dream = draw(seeds[-1])
        said.append(critic.agreement(dream[0], prompt))
        if said[-1].enough or said[-1].score > said[taken].score:
            kept, taken = dream, len(said) - 1
    return Best(kept, taken, seeds, said)


def load_critic(name: str | Path = DEFAULT_CRITIC) -> Critic:
    """A shipped critic by name, or the checkpoint folder that `python -m armillary.recipes.critic` writes.

    Raises:
        BadInput: no such folder, or one that holds something else.
    """
    folder = load_folder(find_weights(name, FAMILY), FAMILY)
    counter = Counter(from_json(CriticConfig, folder.config))
    folder.load_into(counter)
    return Critic(counter, Path(name).name, folder.sha256)
