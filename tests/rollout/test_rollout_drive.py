"""A drive goes clip by clip: of each, the frames given, the views, and the way as seen from its own first frame."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from armillary.conditioning import ViewsCondition, onward
from armillary.errors import BadInput
from armillary.rollout.drive import drive, views_of
from armillary.types import Conditioning

VIEWS, K, PAST, CLIP, FPS = 3, 4, 2, 5, 10.0


class Counting:
    """Stands in for a dreamer whose frames are numbers: each further latent frame is one more than the last, in every view."""

    def __init__(self) -> None:
        self.temporal, self.fps, self.said = K, FPS, []
        self.world = SimpleNamespace(config=SimpleNamespace(past=PAST, clip=CLIP), configs={"views": ViewsCondition(VIEWS)})

    def usable(self, frames):
        return 0 if frames < 1 else 1 + (frames - 1) // K * K

    def encode(self, frames):
        latents = frames[[0, *range(K, len(frames), K)], 0, 0, 0].astype(np.float32)
        return torch.from_numpy(latents)[None, None, :, None, None]

    def decode(self, latents):
        values = latents.flatten().round().numpy().astype(np.uint8)
        frames = np.concatenate([values[:1], *(np.full(K, v) for v in values[1:])])
        return np.broadcast_to(frames[:, None, None, None], (len(frames), 2, 2, 3)).copy()

    def condition(self, texts, cut=False):
        assert cut
        context = torch.arange(len(texts) * 2.0).view(len(texts), 2, 1)
        return Conditioning(context=context, context_mask=torch.ones(len(texts), 2, dtype=torch.bool))

    def extend(self, given, frames, said, seed, **sampling):
        self.said.append((given.shape[2] // VIEWS, frames, said, seed, sampling))
        last = given.unflatten(2, (VIEWS, -1))[:, :, :, -1:]
        return (last + torch.arange(1, frames + 1)[:, None, None]).flatten(2, 3)


def given(frames: int) -> np.ndarray:
    out = np.zeros((VIEWS, frames, 2, 2, 3), np.uint8)
    out[:] = (10 * np.arange(VIEWS))[:, None, None, None, None]
    return out


def test_clip_after_clip_each_with_what_is_left_of_the_way():
    dreamer, way = Counting(), np.zeros((64, 3), np.float32)
    way[:, 0] = np.linspace(0.1, 20.0, 64) ** 1.3
    made = drive(dreamer, given(1), 30, trajectory=way, texts=("a", "b", "c"), steps=2)
    assert made.shape == (VIEWS, 30, 2, 2, 3)
    assert [(have, more) for have, more, *_ in dreamer.said] == [(1, 4), (2, 3), (2, 3)]
    for view in range(VIEWS):
        assert made[view, :, 0, 0, 0].tolist() == [10 * view + 1 + i // K for i in range(30)], "each view goes on from its own"
    for said, first in zip(dreamer.said, (0, 12, 24)):
        told = said[2]
        assert told.views == VIEWS and told.context.shape == (1, VIEWS, 2, 1) and told.context_mask.shape == (1, VIEWS, 2)
        torch.testing.assert_close(told.trajectory, onward(torch.from_numpy(way)[None], first / FPS))
        assert said[3] == first and said[4] == {"steps": 2}


def test_of_many_given_frames_the_last_are_used_and_the_way_begins_with_them():
    dreamer, way = Counting(), np.tile(np.arange(1, 65, dtype=np.float32)[:, None], (1, 3))
    drive(dreamer, given(12), 4, trajectory=way)
    have, _, said, *_ = dreamer.said[0]
    assert have == 2 and said.context is None
    torch.testing.assert_close(said.trajectory, onward(torch.from_numpy(way)[None], 0.7))
    free = Counting()
    drive(free, given(5), 4)
    assert free.said[0][2].trajectory is None


def test_views_and_texts_are_counted():
    dreamer = Counting()
    assert views_of(dreamer) == VIEWS and views_of(SimpleNamespace(world=SimpleNamespace())) == 1
    for call in (lambda: drive(dreamer, given(1)[:2], 4), lambda: drive(dreamer, given(0), 4)):
        with pytest.raises(BadInput, match="frames of 3 views"):
            call()
    with pytest.raises(BadInput, match="want 3 texts or none; got 2"):
        drive(dreamer, given(1), 4, texts=("a", "b"))
