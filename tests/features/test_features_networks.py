"""What every extractor keeps: maps fine to coarse that pass gradients, one vector a clip, strict weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armillary import features
from armillary.errors import BadInput
from armillary.features import table
from armillary.features.base import Maps


def frames(n: int = 2, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("name", ["small", "vgg19"])
def test_maps_run_fine_to_coarse_and_pass_gradients(name):
    network = features.untrained(name)
    assert isinstance(network, features.Features) and network.name == f"{name}, untrained" and network.sha256 == ""
    x = frames(1).requires_grad_()
    maps = network(x)
    sizes = [m.shape[-1] for m in maps]
    assert len(maps) == len(network.weights) and sizes == [32, 16, 8, 4, 2]
    features.apart(network, x, frames(1, seed=1)).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert not any(p.requires_grad for p in network.parameters())
    assert not features.apart(network, x, x).any()


def test_a_clip_is_one_vector_that_knows_time():
    network = features.untrained("small")
    clips = torch.stack([frames(5), frames(5, seed=1)]).transpose(1, 2)
    whole = network.embed(clips)
    assert whole.shape == (2, 2 * sum(network.config.widths)) and whole.dtype == torch.float32
    torch.testing.assert_close(whole[1:], network.embed(clips[1:]))
    held = network.embed(clips[:, :, :1].expand(-1, -1, 5, -1, -1))  # nothing moves
    still = network.embed(clips[:, :, :1])
    torch.testing.assert_close(held, torch.cat([still, torch.zeros_like(still)], 1))
    shuffled = network.embed(clips[:, :, [0, 2, 4, 1, 3]])
    half = still.shape[1]
    torch.testing.assert_close(shuffled[:, :half], whole[:, :half])
    assert float((shuffled[:, half:] - whole[:, half:]).abs().max()) > 1e-4


def test_i3d_sees_clips_and_says_so():
    network = features.untrained("i3d")
    assert network.weights == () and network.embed(torch.zeros(1, 3, 9, 16, 16)).shape == (1, 400)
    with pytest.raises(BadInput, match="at least 9 frames"):
        network.embed(torch.zeros(1, 3, 8, 16, 16))
    with pytest.raises(BadInput, match="clips, not single frames"):
        network(frames())


def test_what_cannot_be_seen_is_said():
    network = features.untrained("small")
    for wrong in (frames()[0], frames().byte(), frames(2, 8), torch.zeros(0, 3, 32, 32)):
        with pytest.raises(BadInput, match="small"):
            network(wrong)
    for wrong in (frames(), frames()[:, None].byte(), torch.zeros(1, 3, 0, 32, 32)):
        with pytest.raises(BadInput):
            network.embed(wrong)


class Dot(Maps):
    weights = (1.0,)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, frames):
        return [self.conv(self.check(frames))]


@pytest.fixture
def dot(monkeypatch):
    monkeypatch.setitem(table.FEATURES, "dot", table.Kind(Dot, "one convolution", unused=r"^classifier\."))


def test_weights_are_read_strictly_from_every_form(dot, tmp_path):
    from safetensors.torch import save_file

    own = features.untrained("dot").state_dict()
    good = own | {"classifier.0.weight": torch.zeros(3)}
    save_file(good, tmp_path / "a.safetensors")
    torch.save(good, tmp_path / "a.pt")
    torch.save({"state_dict": good}, tmp_path / "nested.pth")
    torch.save(good, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for file in ("a.safetensors", "a.pt", "old.pt"):
        network = features.load("dot", tmp_path / file)
        assert torch.equal(network.conv.weight, own["conv.weight"]) and len(network.sha256) == 64 and network.name == "dot"
    assert features.load(f"dot={tmp_path / 'a.pt'}").sha256 == features.load("dot", tmp_path / "a.pt").sha256
    bad = {
        "missing": {"conv.weight": own["conv.weight"]},
        "unexpected": own | {"head": torch.zeros(1)},
        "misshapen": own | {"conv.bias": torch.zeros(5)},
        "finite": own | {"conv.bias": torch.full((2,), torch.nan)},
    }
    for word, tensors in bad.items():
        save_file(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(BadInput, match=word):
            features.load("dot", tmp_path / "bad.safetensors")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(BadInput, match="not readable"):
        features.load("dot", tmp_path / "text.pt")


def test_missing_weights_name_the_embedded_extractor(tmp_path):
    with pytest.raises(BadInput, match="'small'"):
        features.load("vgg19", tmp_path / "vgg19.pt")
    with pytest.raises(BadInput, match="Did you mean 'vgg19'"):
        features.load("vgg16")
