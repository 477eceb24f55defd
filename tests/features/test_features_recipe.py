"""The recipe: folding changes nothing that is said, distortions compare, and the same run gives the same bytes."""

from __future__ import annotations

import pytest
import torch

from armillary import features
from armillary.features.small_network import SmallConfig
from armillary.recipes import distort
from armillary.recipes import features as recipe

NETWORK = SmallConfig((4, 4, 8), (0.3, 0.3, 0.4))
TINY = recipe.FeaturesConfig(scenes=1, views=1, drawn=4, size=48, crop=32, batch=2, steps=2, network=NETWORK)


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
    x = recipe.pictures(0, 1, 4, 64, first=800_000).float() / 255
    assert all(0.2 < float(m.mean()) < 5 for m in network(x * 2 - 1))  # maps of a like size: no layer rules the distance
    for mild, bad in (
        ("shift", "blur"),
        ("brightness", "missing"),
        ("noise", "blocks"),
        ("turn", "smear"),
        ("gamma", "shrunk"),
    ):
        pairs = [torch.stack(distort.matched(y, *(distort.distort(y, k, 0.6, 5) for k in (mild, bad)))) for y in x]
        near, far = (features.apart(network, x * 2 - 1, torch.stack([p[i] for p in pairs]) * 2 - 1) for i in (0, 1))
        assert float((near < far).float().mean()) >= 0.75, (mild, bad)
