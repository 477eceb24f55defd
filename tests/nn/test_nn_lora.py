"""Adapters: nothing at first, exact in and out, trained alone, kept alone, and refused by other weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from armillary.errors import BadInput
from armillary.nn import lora


class Net(nn.Module):
    """Every kind of layer that can have an adapter, and two that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1))
        self.plane = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 8, 1, groups=4)
        self.point = nn.Conv2d(8, 6, 1)
        self.norm = nn.GroupNorm(2, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6, bias=i == 0) for i in range(2))

    def forward(self, x):
        y = self.clip(x).transpose(1, 2).flatten(0, 1)
        y = self.norm(self.point(self.grouped(self.plane(y)))).mean((2, 3))
        for block in self.blocks:
            y = y + torch.tanh(block(y))
        return y


@pytest.fixture
def net():
    torch.manual_seed(3)
    return Net()


@pytest.fixture
def x():
    return torch.randn(2, 3, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def spoken(net, scale=0.3):
    """With adapters that say something."""
    with torch.no_grad():
        for _, adapter in lora.adapters(net).values():
            adapter.up.normal_(0, scale)
    return net


def test_nothing_changes_at_first_and_names_stay(net, x):
    before, names = net(x), set(net.state_dict())
    config = lora.attach(net, 2, 4.0)
    assert torch.equal(net(x), before)
    assert set(config.layers) == {"clip", "plane", "point", "blocks.0", "blocks.1"}
    assert names < set(net.state_dict()) and len(net.state_dict()) == len(names) + 2 * len(config.layers)


def test_only_adapters_train(net, x):
    lora.attach(net, 2)
    frozen = {n: p.detach().clone() for n, p in net.named_parameters() if ".lora." not in n}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # at the first step `down` has no gradient yet, for `up` is zero
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(dict(net.named_parameters())[n], v) for n, v in frozen.items())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for n, p in net.named_parameters() if ".lora." in n)


def test_merged_equals_unmerged_and_unmerging_is_exact(net, x):
    plain = copy.deepcopy(net.state_dict())
    lora.attach(net, 2, 3.0)
    apart = spoken(net)(x)
    with lora.merged(net):
        assert not torch.equal(net.point.weight, plain["point.weight"])
        assert (net(x) - apart).abs().max() < 1e-6
        with lora.merged(net):
            assert (net(x) - apart).abs().max() < 1e-6
    assert all(torch.equal(net.state_dict()[k], v) for k, v in plain.items())
    assert torch.equal(net(x), apart)
    lora.fold(net)
    assert set(net.state_dict()) == set(plain) and (net(x) - apart).abs().max() < 1e-6


def test_half_precision_comes_back_bit_for_bit(net):
    net = net.bfloat16()
    plain = copy.deepcopy(net.state_dict())
    lora.attach(net, 2, targets=("blocks.*",))
    assert lora.adapters(spoken(net))["blocks.0"][1].up.dtype == torch.float32
    lora.merge(net)
    lora.unmerge(net)
    assert all(torch.equal(net.state_dict()[k], v) for k, v in plain.items())


def test_kept_alone_and_refused_by_other_weights(net, x, tmp_path):
    fresh, base = copy.deepcopy(net), lora.Base("mine", "a" * 64)
    config = lora.attach(net, 2, targets=("blocks.*", "point"))
    lora.save(spoken(net), tmp_path / "adapter", config, base)
    assert (tmp_path / "adapter" / "model.safetensors").stat().st_size < 2000
    worn = lora.load(tmp_path / "adapter", fresh, base)
    assert len(worn.sha256) == 64 and torch.equal(fresh(x), net(x))
    with pytest.raises(BadInput, match=r"adapter of 'mine' \(aaaaaaaaaaaa\); this is 'theirs' \(bbbbbbbbbbbb\)"):
        lora.load(tmp_path / "adapter", Net(), lora.Base("theirs", "b" * 64))
    with pytest.raises(BadInput, match="has no layer 'point'"):
        lora.load(tmp_path / "adapter", nn.Sequential(nn.Linear(2, 2)), base)


def test_what_cannot_be_adapted_is_said(net):
    with pytest.raises(BadInput, match=r"'blcks\.\*' names no linear layer"):
        lora.attach(net, 2, targets=("blcks.*",))
    with pytest.raises(BadInput, match="at least 1"):
        lora.attach(net, 0)
    lora.attach(net, 1, targets=("point",))
    with pytest.raises(BadInput, match="'point' has an adapter"):
        lora.attach(net, 1)
