"""The tabletop's colours, as a tracker knows them that learned each from a picture of the simulator."""

from __future__ import annotations

import numpy as np

from armillary import media, sims
from armillary.evaluate.objects import ColourTracker, Scene

SIZE = 64  # pixels a side


def tracker() -> ColourTracker:
    """The four colours, each learned from the first scene in which it shows."""
    pictures, points, areas, names = [], [], [], []
    for seed in range(20):
        episode = sims.record_episode(sim := sims.make("tabletop"), seed, "expert", 1, size=128)
        frames, scene = media.fit(episode.frames["front"], (SIZE, SIZE)), Scene.read(episode.truth, SIZE)
        assert scene is not None
        for k, thing in enumerate(sim.objects):
            if thing.colour not in names and not scene.hidden[0, k] and scene.area[0, k] > 40:
                pictures.append(frames[0])
                points.append(scene.position[0, k])
                areas.append(scene.area[0, k])
                names.append(thing.colour)
    return ColourTracker.learn(np.stack(pictures), np.stack(points), np.array(areas), names)
