"""What is done to blocks from outside changes what they keep and not what they compute; and what cannot work is said."""

from __future__ import annotations

import copy

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput, Failed
from armillary.parallel import ParallelConfig, Ranks, parallelise, started
from armillary.parallel.config import check
from armillary.parallel.mesh import sizes
from armillary.types import Batch


@pytest.fixture(scope="module")
def world():
    from armillary.presets import override

    torch.manual_seed(0)
    small = override(worlds.WORLDS["dit-nano"], ("network.dim=48", "network.heads=4", "network.layers=2", "network.lora=8"))
    made = worlds.build(small, worlds.Setting(worlds.TokenizerRef("none", "", 1, 8, 4, 0, (32, 32)), None, "hash", 16))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def step(world) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Loss, gradients, and bytes kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = Batch(latents=torch.randn(2, 4, 4, 6, 6, generator=torch.Generator().manual_seed(1)), context=torch.ones(2, 3, 16))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = world(batch, torch.Generator().manual_seed(2))
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in world.named_parameters()}, sum(kept.values())


def test_checkpointing_gives_equal_gradients_and_keeps_less(world):
    plain = step(copy.deepcopy(world))
    assert all(g is not None and g.isfinite().all() for g in plain[1].values())
    sizes_kept = [plain[2]]
    for how in ("selective", "full"):
        other = step(parallelise(copy.deepcopy(world), ParallelConfig(checkpointing=how), Ranks(), "cpu"))
        assert torch.equal(other[0], plain[0]) and other[1].keys() == plain[1].keys()
        for name, grad in plain[1].items():
            assert torch.equal(other[1][name], grad), name
        sizes_kept.append(other[2])
    assert sizes_kept[2] < sizes_kept[0] / 2  # of `selective`, torch keeps what it keeps outside these hooks


def test_names_and_weights_stay(world):
    other = parallelise(copy.deepcopy(world), ParallelConfig(checkpointing="full"), Ranks(), "cpu")
    assert other.state_dict().keys() == world.state_dict().keys()
    assert all(torch.equal(v, world.state_dict()[k]) for k, v in other.state_dict().items())


def test_a_model_without_blocks_cannot_be_taken_apart():
    with pytest.raises(BadInput, match=r"parallel\.checkpointing, parallel\.compile work on a world's blocks; Linear has none"):
        parallelise(torch.nn.Linear(2, 2), ParallelConfig(checkpointing="full", compile=True), Ranks(), "cpu")


@pytest.mark.parametrize(
    ("world_size", "config", "expected"),
    [
        (8, ParallelConfig(), (8, 1)),
        (8, ParallelConfig(shard=0), (1, 8)),
        (8, ParallelConfig(shard=4, context=2), (2, 4)),
        (8, ParallelConfig(shard=2, context=8), (4, 2)),
        (1, ParallelConfig(shard=0), (1, 1)),
    ],
)
def test_sizes(world_size, config, expected):
    assert sizes(world_size, config) == expected


@pytest.mark.parametrize(("world_size", "config"), [(8, ParallelConfig(shard=3)), (6, ParallelConfig(context=4))])
def test_sizes_that_do_not_factor_are_an_error_that_says_what_would(world_size, config):
    fit = {8: "1, 2, 4, 8", 6: "1, 2, 3, 6"}[world_size]
    with pytest.raises(BadInput, match=f"does not divide the number of processes of this run, {world_size}; it may be {fit}"):
        sizes(world_size, config)


def test_settings_that_never_work_are_an_error():
    for config in (ParallelConfig(shard=-1), ParallelConfig(context=0), ParallelConfig(shares=-2)):
        with pytest.raises(BadInput, match=r"parallel\.\w+ is at least"):
            check(config)
    with pytest.raises(BadInput, match="torchrun"), started(ParallelConfig(shard=2), "cpu"):
        pass


def test_an_error_of_the_first_process_is_its_own():
    def fails():
        raise BadInput("no such folder")

    with pytest.raises(BadInput, match="no such folder"):
        Ranks().first(fails)
    assert not issubclass(BadInput, Failed)


def test_compiled_blocks_share_one_graph_and_compute_the_same(world, monkeypatch):
    """Captured by the compiler but run without its code generator, which takes a minute on a CPU."""
    from functools import partial

    from torch._dynamo.utils import counters

    plain = step(copy.deepcopy(world))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    torch._dynamo.reset()
    counters.clear()
    other = step(parallelise(copy.deepcopy(world), ParallelConfig(checkpointing="full", compile=True), Ranks(), "cpu"))
    assert counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close(other[0], plain[0])
    for name, grad in plain[1].items():
        torch.testing.assert_close(other[1][name], grad, rtol=1e-4, atol=1e-6)
