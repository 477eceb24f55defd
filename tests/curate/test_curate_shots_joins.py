"""Joins: the truth they claim is the truth they made; the features and the network hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary.curate.shots import SmallFrames, detect
from armillary.curate.shots.features import features
from armillary.curate.shots.footage import shot, slide, texture
from armillary.curate.shots.joins import join, transit
from armillary.curate.shots.network import Network, NetworkConfig, expected, load
from armillary.curate.shots.score import Score
from armillary.errors import BadInput
from armillary.store import find_weights

POOL = [texture(k) for k in range(5)]


def test_joins_are_a_function_of_the_seed():
    a, b = (join(POOL, np.random.default_rng(3), 200) for _ in range(2))
    assert np.array_equal(a.small.y, b.small.y)
    assert a.truth == b.truth
    assert not np.array_equal(a.small.y[:50], join(POOL, np.random.default_rng(4), 200).small.y[:50])


def test_truth_is_in_order_and_inside():
    for seed in range(6):
        made = join(POOL, np.random.default_rng(seed), 300)
        n = len(made.small)
        assert len(made.sure) == n
        assert all(0 < t.start <= t.end < n for t in made.truth)
        assert all(a.end < b.start for a, b in zip(made.truth, made.truth[1:]))
        assert all(t.start == t.end for t in made.truth if t.kind == "cut")


@pytest.mark.parametrize("kind", ["dissolve", "fade", "wipe", "push"])
def test_a_transit_goes_from_one_picture_to_the_other(kind):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a, b = (shot(POOL[k], np.random.default_rng(9), 24, calm=True) for k in (0, 1))
        out = transit(a, b, kind, rng)[0]
        to_a = [np.abs(x - p).mean() for x, p in zip(out, a[0])]
        to_b = [np.abs(x - q).mean() for x, q in zip(out, b[0])]
        if kind != "fade" or min(np.abs(out[0] - a[0][0]).mean(), 99) < 40:  # a fade may begin with a jump
            assert to_a[0] <= to_a[-1] + 1e-3
        assert to_b[-1] <= to_b[0] + 1e-3
        assert out.min() >= -1 and out.max() <= 256


def test_drawn_transitions_are_found():
    pool = [texture(500 + k) for k in range(6)]
    total = Score()
    for seed in range(8):
        made = join(pool, np.random.default_rng(100 + seed), 300)
        total.add(detect(made.small, made.fps), made.truth, made.sure)
    figures = total.figures()
    assert figures["hard_recall"] >= 0.9, figures
    assert figures["gradual_recall"] >= 0.8, figures
    assert figures["precision"] >= 0.8, figures


def test_pages_that_change_are_cuts():
    frames = [slide(k) for k in (40, 44, 48)]
    small = SmallFrames(*(np.concatenate([np.repeat(_tiny(getattr(s, k), 4), 40, 0) for s in frames]) for k in "yuv"))
    assert [(t.kind, t.start) for t in detect(small, 20)] == [("cut", 40), ("cut", 80)]


def _tiny(p: np.ndarray, k: int) -> np.ndarray:
    n, h, w = p.shape
    return p.reshape(n, h // k, k, w // k, k).mean((2, 4)).astype(np.uint8)


def test_features_are_finite_and_bounded_on_anything():
    rng = np.random.default_rng(0)
    noise = SmallFrames(*(rng.integers(0, 256, (30, *s), np.uint8) for s in ((28, 48), (14, 24), (14, 24))))
    flat = SmallFrames(*(np.full((30, *s), 255, np.uint8) for s in ((28, 48), (14, 24), (14, 24))))
    for small in (noise, flat):
        rows = features(small)
        assert rows.shape == (30, NetworkConfig().features)
        assert rows.dtype == np.float32
        assert np.abs(rows).max() < 200
    assert detect(noise, 25) == []
    assert detect(flat, 25) == []


def test_numpy_and_torch_compute_the_same():
    torch = pytest.importorskip("torch")
    from armillary.recipes.shots import Trainable

    network = load("curate-shots")
    net = Trainable(network.config)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in network.tensors.items() if k not in ("mean", "scale")})
    rows = features(join(POOL, np.random.default_rng(1), 200).small)
    x = np.clip((rows - network.tensors["mean"]) * network.tensors["scale"], -6, 6)
    with torch.no_grad():
        out = torch.sigmoid(net(torch.from_numpy(x)[None])[0, :, :2]).numpy()
    ours = network(rows)
    assert np.abs(out[:, 0] - ours.cut).max() < 1e-4
    assert np.abs(out[:, 1] - ours.gradual).max() < 1e-4


def test_weights_are_small_strict_and_have_a_card(tmp_path):
    folder = find_weights("curate-shots")
    assert sum(p.stat().st_size for p in folder.iterdir()) < 300_000
    assert json.loads((folder / "card.json").read_text())["name"] == "curate-shots"
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(BadInput, match="damaged"):
        load(str(tmp_path))


def test_a_misshapen_tensor_is_refused():
    c = NetworkConfig(features=4, width=3, dilations=(1,))
    tensors = {k: np.zeros(s, np.float32) for k, s in expected(c).items()}
    Network(c, tensors)
    with pytest.raises(BadInput, match=r"enter\.bias"):
        Network(c, tensors | {"enter.bias": np.zeros(2, np.float32)})
