"""The recipe: folding changes nothing that is said, distortions compare, and the same run gives the same bytes."""

from __future__ import annotations

import pytest
import torch

from armillary import features
from armillary.features.small_network import SmallConfig
from armillary.recipes import distort
from armillary.recipes import features as recipe

TINY = recipe.FeaturesConfig(
    scenes=1, views=1, drawn=4, size=48, crop=32, batch=2, steps=2, network=SmallConfig(widths=(4, 4, 8))
)


def test_folding_keeps_the_maps_up_to_a_scale():
    torch.manual_seed(0)
    net = recipe.Trained(TINY.network)
    x = torch.rand(6, 3, 32, 32) * 2 - 1
    for _ in range(3):
        net(x)
    small = net.eval().folded(x)
    for mine, theirs in zip(small(x), net(x)):
        assert float(mine.mean()) == pytest.approx(1, rel=1e-4)
        torch.testing.assert_close(mine, theirs / theirs.mean(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", distort.DISTORTIONS)
def test_a_stronger_distortion_has_the_greater_error(kind):
    x = recipe.pictures(0, 1, 1, 64)[0].float() / 255
    errors = [float((distort.distort(x, kind, s, 3) - x).square().mean()) for s in (0.2, 0.6, 1.0)]
    assert 0 < errors[0] < errors[1] < errors[2]
    a, b = distort.matched(x, distort.distort(x, kind, 0.5, 3), distort.distort(x, "noise", 0.5, 4))
    assert float((a - x).square().mean()) == pytest.approx(float((b - x).square().mean()), rel=1e-3)


def test_the_same_run_gives_the_same_bytes_and_is_loaded(tmp_path):
    pool = recipe.pictures(1, 1, 4, 48)
    made = [recipe.fit(pool, TINY).state_dict() for _ in range(2)]
    assert all(torch.equal(made[0][k], made[1][k]) for k in made[0])
    figures = recipe.ranked(lambda a, b: (a - b).square().mean((1, 2, 3)), pool[:3, :, :32, :32])
    assert figures["order"] == {
        "trained kinds": 0.5,
        "held-out kinds": 0.5,
    }  # squared error tells nothing at equal squared error


def test_the_shipped_extractor_is_what_its_card_says():
    network = features.load("small")
    assert sum(p.numel() for p in network.parameters()) < 1_100_000 and network.sha256
    x = recipe.pictures(0, 1, 3, 64, first=77).float() / 127.5 - 1
    assert all(0.2 < float(m.mean()) < 5 for m in network(x))  # maps of a like size: no layer rules the distance
    held = recipe.pictures(0, 1, 6, 64, first=800_000)
    order = recipe.ranked(lambda a, b: features.apart(network, a, b), held)["order"]
    assert order["trained kinds"] > 0.7
