"""Every line of `features.FEATURES` keeps the contract of `Features`."""

from __future__ import annotations

import pytest
import torch

from armillary import features
from armillary.errors import BadInput
from armillary.features import FEATURES


@pytest.mark.parametrize("name", FEATURES)
def test_features(name):
    network = features.untrained(name)
    assert isinstance(network, features.Features) and FEATURES[name].line
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    length = max(2, network.shortest)
    clips = torch.rand(2, 3, length, 20, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vectors = network.embed(clips)
    assert vectors.dtype == torch.float32 and len(vectors) == 2 and bool(torch.isfinite(vectors).all())
    alone = network.embed(clips[:1])  # sums run in another order for a batch
    torch.testing.assert_close(vectors[:1], alone, rtol=1e-3, atol=1e-4 * float(vectors.abs().max()))
    assert float((vectors[0] - vectors[1]).abs().max()) > 0
    if network.weights:
        frames = clips[:, :, 0]
        assert len(network(frames)) == len(network.weights)
        assert not features.apart(network, frames, frames).any() and bool(
            (features.apart(network, frames, frames.flip(0)) > 0).all()
        )
    for wrong in (clips[0], clips.byte(), clips[:, :2]):
        with pytest.raises(BadInput, match=name):
            network.embed(wrong)
