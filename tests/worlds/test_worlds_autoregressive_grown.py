"""Autoregressive worlds that say several tokens a pass, and that go on with other settings than they began with."""

import dataclasses

import pytest
import torch
from test_worlds_autoregressive_world import CONFIG, NETWORK, SPEC, fit, ids_of, roll, setting, world_of

from armillary import worlds
from armillary.errors import BadInput
from armillary.types import Batch, Conditioning
from armillary.worlds.autoregressive.heads import HeadsConfig, HeadsObjective, load_heads, save_heads

TOLD = Conditioning(context=torch.ones(2, 3, 8), actions=torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(9)))


def pattern() -> torch.Tensor:
    """Clips that their first frame decides, `10 3 2 2`."""
    place, frame = torch.arange(4).reshape(1, 1, 2, 2), torch.arange(3).reshape(1, 3, 1, 1)
    return (torch.arange(10).reshape(10, 1, 1, 1) + 3 * frame + 5 * place) % 20


def counted(world, given, frames, **sampling):
    passes = []
    return roll(world, given, frames, progress=passes.append, **sampling), len(passes)


def test_trained_heads_save_passes_and_change_no_token(tmp_path):
    torch.manual_seed(0)
    world = CONFIG.build(setting())
    clips = pattern()
    fit(world, Batch(tokens=clips), 120)
    worlds.save(world, tmp_path / "world")
    world = worlds.load(tmp_path / "world")
    before = {k: v.clone() for k, v in world.state_dict().items()}
    objective = HeadsObjective(world, HeadsConfig(3, own=True))
    learner, rng = torch.optim.AdamW(objective.heads.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(80):
        loss, _ = objective(Batch(tokens=clips), rng)
        learner.zero_grad()
        loss.backward()
        learner.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(v, before[k]) for k, v in world.state_dict().items())
    save_heads(objective.heads, world, tmp_path / "heads")
    plain, each = counted(world, clips[:1, :1], 4, temperature=0.0)
    fast, few = counted(world, clips[:1, :1], 4, temperature=0.0, heads=str(tmp_path / "heads"))
    assert torch.equal(plain, fast) and each == 16 and few <= 10
    drawn = [roll(world, clips[:4, :1], 4, top_p=1.0, heads=h) for h in (None, load_heads(tmp_path / "heads", world))]
    assert torch.equal(*drawn)
    with pytest.raises(BadInput, match="trained on world"):
        load_heads(tmp_path / "heads", world_of())
    with pytest.raises(BadInput, match="one token at a time"):
        HeadsObjective(world.grown(["network.block=4"], world.setting), HeadsConfig(3))


def test_heads_with_text_actions_and_guidance():
    world = world_of(actions=SPEC, text=8)
    heads = HeadsObjective(world, HeadsConfig(5)).heads
    torch.nn.init.normal_(heads.mix.weight, std=0.1)
    for sampling in ({"temperature": 0.0}, {"guidance": 2.0, "seeds": [4, 5]}, {"keep": 1, "top_k": 4}):
        assert torch.equal(*(roll(world, ids_of(2, 1), 4, TOLD, heads=h, **sampling) for h in (None, heads)))


@pytest.mark.parametrize("begin", [True, False])
def test_a_world_of_blocks_learns_and_says_frames_in_fewer_passes(begin):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, block=4, begin=begin))
    world, clips = config.build(setting()), pattern()
    losses = fit(world, Batch(tokens=clips), 120)
    # The first frame is drawn at random, one of ten: with a begin token a third of the tokens cannot be known.
    assert losses[-1] < 0.25 * losses[0] + (0.1 if begin else 0.0)
    made, passes = counted(world, clips[:, :1], 2, temperature=0.0)
    assert torch.equal(made, clips[:, 1:]) and passes == 2
    assert roll(world, clips[:, :1], 4).shape == (10, 4, 2, 2)
    if begin:
        assert roll(world, clips[:, :0], 2).shape == (10, 2, 2, 2)


@pytest.mark.parametrize("begin", [True, False])
@torch.no_grad()
def test_an_action_reaches_the_block_that_says_its_frame(begin):
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, block=2, begin=begin))
    world, seen = world_of(config, actions=SPEC), []
    world.network.head.register_forward_hook(lambda *parts: seen.append(parts[-1]))
    actions = torch.zeros(1, 2, 2)
    for changed in (actions, actions.index_fill(1, torch.tensor(1), 1.0)):
        world(Batch(tokens=ids_of(1), actions=changed), torch.Generator())
    different, first = (seen[0] != seen[1]).any(-1)[0], 8 if begin else 6  # where tokens of frame 2 are said
    assert not different[:first].any() and different[first:].all()


def test_int8_says_nearly_the_same():
    torch.manual_seed(0)
    world, clips = CONFIG.build(setting()), pattern()
    fit(world, Batch(tokens=clips), 120)
    assert torch.equal(roll(world, clips[:, :1], 2, temperature=0.0, int8=True), clips[:, 1:])


def test_the_published_stages_go_on_from_each_other():
    torch.manual_seed(0)
    small = dataclasses.replace(CONFIG, frames=2, text_dropout=0.0)
    first = world_of(small)
    longer = first.grown(['network.yarn={"scale": 2.0, "original": [2, 2, 2]}', "frames=3"], first.setting)
    assert longer.config.frames == 3 and longer.config.network.yarn is not None
    assert all(torch.equal(v, longer.state_dict()[k]) for k, v in first.state_dict().items())
    told = longer.grown([], setting(text=8))
    batch = Batch(tokens=ids_of(), context=torch.randn(2, 3, 8))
    silent = longer(Batch(tokens=ids_of()), torch.Generator())[0]
    assert torch.equal(told(batch, torch.Generator())[0], silent)  # new cross-attention changes nothing at first
    loss, _ = told(batch, torch.Generator())
    loss.backward()
    assert all(block.text.to_out.weight.grad.abs().sum() > 0 for block in told.network.blocks)
    losses = fit(told, batch, 20)
    assert losses[-1] < losses[0]
    with pytest.raises(BadInput, match=r"would lose .*embed"):
        first.grown(["network.begin=false"], first.setting)
