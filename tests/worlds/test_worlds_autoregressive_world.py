"""The autoregressive world: training, rolling out, saving."""

import dataclasses

import pytest
import torch

from armillary import worlds
from armillary.errors import BadInput
from armillary.presets import from_json, to_json
from armillary.types import ActionSpec, Batch, Conditioning
from armillary.worlds import Setting, TokenizerRef
from armillary.worlds.autoregressive.transformer import TransformerConfig
from armillary.worlds.autoregressive.world import AUTOREGRESSIVE, AutoregressiveConfig

NETWORK = TransformerConfig(vocab=0, dim=48, layers=2, heads=4, kv_heads=2, hidden=96, theta=10_000.0)
CONFIG = AutoregressiveConfig(NETWORK, frames=3)
SPEC = ActionSpec(("x", "y"), ("m/s", "m/s"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.1), (0.5, 0.5))


def setting(temporal: int = 1, actions: ActionSpec | None = None, text: int = 0, vocab: int = 20) -> Setting:
    ref = TokenizerRef("letters", "0" * 64, temporal, 8, 6, vocab, (16, 16))
    return Setting(ref, actions, "hash" if text else "", text, 10.0)


def world_of(config: AutoregressiveConfig = CONFIG, **kinds):
    torch.manual_seed(0)
    world = config.build(setting(**kinds))
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in world.parameters():  # nothing is silent
            p.add_(torch.randn(p.shape, generator=rng) * (0.2 if p.ndim == 1 else 0.15))
    return world.eval()


def ids_of(rows: int = 2, frames: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 20, (rows, frames, 2, 2), generator=torch.Generator().manual_seed(seed))


def roll(world, given, frames, conditioning=None, seed=0, **sampling):
    return world.extend(
        given, frames, conditioning or Conditioning(), generator=torch.Generator().manual_seed(seed), **sampling
    )


def fit(world, batch: Batch, steps: int, lr: float = 3e-3) -> list[float]:
    world.train()
    optimizer, rng = torch.optim.AdamW(world.parameters(), lr=lr, weight_decay=0.0), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        loss, _ = world(batch, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    world.eval()
    return losses


def test_a_repeating_pattern_is_learned_and_said_again():
    torch.manual_seed(0)
    world = CONFIG.build(setting())
    place = torch.arange(4).reshape(1, 1, 2, 2)
    start, frame = torch.arange(10).reshape(10, 1, 1, 1), torch.arange(3).reshape(1, 3, 1, 1)
    clips = (start + 3 * frame + 5 * place) % 20  # where a clip starts decides all of it
    losses = fit(world, Batch(tokens=clips), 120)
    assert losses[0] > 2.9 and losses[-1] < 0.25 * losses[0]
    assert torch.equal(roll(world, clips[:, :1], 2, temperature=0.0), clips[:, 1:])
    assert torch.equal(roll(world, clips[:, :1], 2, temperature=0.0, cached=False), clips[:, 1:])


def test_actions_and_text_steer_what_is_said():
    torch.manual_seed(0)
    world = dataclasses.replace(CONFIG, action_dropout=0.0, text_dropout=0.0).build(setting(actions=SPEC, text=8))
    rng = torch.Generator().manual_seed(0)
    bits, word = torch.randint(0, 2, (32, 2), generator=rng), torch.randint(0, 2, (32,), generator=rng)
    tokens = torch.zeros(32, 3, 2, 2, dtype=torch.long)
    tokens[:, 1:] = (1 + bits + 10 * word[:, None])[..., None, None]  # frame j shows action j - 1 and the word
    actions = (bits * 2.0 - 1.0)[..., None].expand(-1, -1, 2)
    context = torch.where(word[:, None, None] == 1, 1.0, -1.0).expand(-1, 1, 8).contiguous()
    fit(world, Batch(tokens=tokens, actions=actions, context=context), 90)
    conditioning = Conditioning(actions=actions, context=context)
    assert torch.equal(roll(world, tokens[:, :1], 2, conditioning, temperature=0.0), tokens[:, 1:])
    swapped = dataclasses.replace(conditioning, actions=-actions)
    wanted = tokens[:, 1:] + (1 - 2 * bits)[..., None, None]
    assert torch.equal(roll(world, tokens[:, :1], 2, swapped, temperature=0.0), wanted)


def test_new_conditions_are_silent():
    torch.manual_seed(0)
    bare = CONFIG.build(setting())
    torch.manual_seed(0)
    conditioned = CONFIG.build(setting(actions=SPEC, text=8))
    conditioned.load_state_dict(bare.state_dict(), strict=False)
    batch = Batch(tokens=ids_of())
    full = dataclasses.replace(batch, actions=torch.ones(2, 2, 2), context=torch.ones(2, 3, 8))
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(bare(batch, rng)[0], conditioned(full, rng)[0])


@torch.no_grad()
def test_an_action_reaches_its_own_frame_and_none_before():
    world = world_of(actions=SPEC)
    seen = []
    world.network.register_forward_hook(lambda *parts: seen.append(parts[-1]))
    actions = torch.zeros(1, 2, 2)
    for changed in (actions, actions.index_fill(1, torch.tensor(1), 1.0)):
        world(Batch(tokens=ids_of(1), actions=changed), torch.Generator())
    different = (seen[0] != seen[1]).any(-1)[0]
    # Inputs 0-3 predict frame 0, 4-7 frame 1, 8-11 frame 2: action 1 leads to frame 2, its first token included.
    assert not different[:8].any() and different[8:].all()


@pytest.mark.parametrize("begin", [True, False])
def test_shapes_ranges_and_seeds(begin):
    world = world_of(dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, begin=begin)))
    made = roll(world, ids_of(frames=2), 4)
    assert made.shape == (2, 4, 2, 2) and made.dtype == torch.int64 and made.min() >= 0 and made.max() < 20
    assert torch.equal(made, roll(world, ids_of(frames=2), 4))
    assert not torch.equal(made, roll(world, ids_of(frames=2), 4, seed=1))
    if begin:
        assert roll(world, ids_of(frames=0), 2).shape == (2, 2, 2, 2)
    else:
        with pytest.raises(BadInput, match="begin-of-video"):
            roll(world, ids_of(frames=0), 2)


def test_from_nothing_with_actions():
    world = world_of(actions=SPEC)
    a = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0))
    made = roll(world, ids_of(frames=0), 3, Conditioning(actions=torch.cat([a[:, :1], a], 1)))
    other = roll(world, ids_of(frames=0), 3, Conditioning(actions=torch.cat([a[:, :1] + 9, a], 1)))
    assert torch.equal(made, other)  # the action before the first frame leads nowhere
    assert not torch.equal(made, roll(world, ids_of(frames=0), 3, Conditioning(actions=torch.cat([a[:, :1], a + 2], 1))))


def test_a_row_with_a_seed_does_not_depend_on_its_neighbours():
    world = world_of(actions=SPEC, text=8)
    rng = torch.Generator().manual_seed(2)
    actions, context = torch.rand(3, 4, 2, generator=rng), torch.randn(3, 5, 8, generator=rng)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    together = roll(world, ids_of(3, 1), 4, Conditioning(context, mask, actions=actions), seeds=[5, 6, 7])
    for i in range(3):
        alone = Conditioning(context[i : i + 1], mask[i : i + 1], actions=actions[i : i + 1])
        assert torch.equal(together[i : i + 1], roll(world, ids_of(3, 1)[i : i + 1], 4, alone, seeds=[5 + i]))


def test_a_long_rollout_equals_short_ones():
    world = world_of(actions=SPEC)
    actions = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(2))
    whole = roll(world, ids_of(2, 1), 5, Conditioning(actions=actions), temperature=0.0)
    video = ids_of(2, 1)
    for j in range(5):
        known = min(video.shape[1], world.config.past)
        history = Conditioning(actions=actions[:, j + 1 - known : j + 1])
        if video.shape[1] > known:  # the dropped frame's action is known to the long rollout: hand it over too
            break
        video = torch.cat([video, roll(world, video[:, -known:], 1, history, temperature=0.0)], 1)
    assert video.shape[1] == 3 and torch.equal(video[:, 1:], whole[:, :2])
    bare = world_of()
    whole, video = roll(bare, ids_of(2, 1), 5, temperature=0.0), ids_of(2, 1)
    for _ in range(5):
        video = torch.cat([video, roll(bare, video[:, -bare.config.past :], 1, temperature=0.0)], 1)
    assert torch.equal(video[:, 1:], whole)


def test_keep_forgets_more():
    world = world_of()
    long = roll(world, ids_of(2, 2), 4, temperature=0.0)
    short = roll(world, ids_of(2, 2), 4, temperature=0.0, keep=1)
    assert torch.equal(long[:, 0], short[:, 0])  # until the window moves they are the same
    with pytest.raises(BadInput, match="keep"):
        roll(world, ids_of(2, 2), 1, keep=3)


def test_temporal_tokenizer_joins_its_actions():
    world = world_of(temporal=4, actions=SPEC)
    assert world.actions[0].in_features == 8
    made = roll(world, ids_of(2, 1), 2, Conditioning(actions=torch.rand(2, 8, 2)))
    assert made.shape == (2, 2, 2, 2)
    with pytest.raises(BadInput, match="2 further latent frames want 8 actions"):
        roll(world, ids_of(2, 1), 2, Conditioning(actions=torch.rand(2, 9, 2)))
    loss, _ = world(Batch(tokens=ids_of(), actions=torch.rand(2, 9, 2)), torch.Generator())
    assert loss.isfinite()


def test_history_that_is_handed_over_is_read():
    world = world_of(actions=SPEC)
    actions = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0))
    fresh, whole = world._planned(actions[:, 1:], 2, 2, 2), world._planned(actions, 2, 2, 2)
    assert not fresh[:, :2].any() and not whole[:, 0].any()
    assert whole[:, 1].any() and torch.equal(fresh[:, 2:], whole[:, 2:])


def test_training_after_a_rollout():
    world = world_of()
    roll(world, ids_of(), 1)
    world(Batch(tokens=ids_of()), torch.Generator())[0].backward()
    assert world.network.embed.weight.grad is not None


def test_guidance():
    world = world_of(text=8)
    rng = torch.Generator().manual_seed(4)
    context, negative = torch.randn(2, 3, 8, generator=rng), torch.randn(2, 3, 8, generator=rng)
    plain = roll(world, ids_of(2, 1), 2, Conditioning(context))
    assert torch.equal(plain, roll(world, ids_of(2, 1), 2, Conditioning(context, negative=context), guidance=3.0))
    assert not torch.equal(plain, roll(world, ids_of(2, 1), 2, Conditioning(context), guidance=3.0))
    assert not torch.equal(plain, roll(world, ids_of(2, 1), 2, Conditioning(context, negative=negative), guidance=3.0))
    with pytest.raises(BadInput, match="takes none"):
        roll(world_of(), ids_of(2, 1), 1, guidance=1.0)


def test_text_dropout_is_drawn_from_the_generator_and_only_in_training():
    world = dataclasses.replace(CONFIG, text_dropout=0.5).build(setting(text=8))
    with torch.no_grad():
        for block in world.network.blocks:
            block.text.to_out.weight.normal_()
    batch = Batch(tokens=ids_of(), context=torch.randn(2, 3, 8))

    def losses(n):
        return {round(world(batch, torch.Generator().manual_seed(s))[0].item(), 6) for s in range(n)}

    world.train()
    assert 2 < len(losses(12)) <= 4  # each of two rows has its text or not
    assert world(batch, torch.Generator().manual_seed(3))[0] == world(batch, torch.Generator().manual_seed(3))[0]
    world.eval()
    assert len(losses(4)) == 1
    silent = dataclasses.replace(batch, context_mask=torch.zeros(2, 3, dtype=torch.bool))
    none = dataclasses.replace(batch, context=None)
    assert torch.allclose(world(silent, torch.Generator())[0], world(none, torch.Generator())[0])


def test_longer_clips_are_cropped_together_with_their_actions():
    world = dataclasses.replace(CONFIG, action_dropout=0.0).build(setting(actions=SPEC)).train()
    seen = {}
    world.network.register_forward_pre_hook(lambda _, args, kwargs: seen.update(ids=args[0], **kwargs), with_kwargs=True)
    with torch.no_grad():
        world.actions[2].weight.normal_()
    tokens = torch.arange(6).reshape(1, 6, 1, 1).expand(4, -1, 2, 2)
    actions = torch.arange(5.0).reshape(1, 5, 1).expand(4, -1, 2)
    world(Batch(tokens=tokens, actions=actions), torch.Generator().manual_seed(0))
    first = seen["ids"][:, 1]
    assert len(first.unique()) > 1
    codes = world._act(*world._per_frame(actions, 1, 6))[0]  # one for each latent frame of the whole clip
    for row, f in enumerate(first.tolist()):
        assert seen["ids"][row, 1:].tolist() == [f] * 4 + [f + 1] * 4 + [f + 2] * 3
        assert torch.allclose(seen["extra"][row], codes[f : f + 3].repeat_interleave(4, 0))


def test_save_and_load(tmp_path):
    world = world_of(actions=SPEC, text=8)
    worlds.save(world, tmp_path / "w")
    again = worlds.load(tmp_path / "w")
    assert again.config == world.config and again.action_spec == SPEC and again.family == "autoregressive"
    conditioning = Conditioning(torch.ones(2, 3, 8), actions=torch.ones(2, 3, 2))
    assert torch.equal(roll(world, ids_of(2, 1), 3, conditioning), roll(again, ids_of(2, 1), 3, conditioning))
    assert again.sha256 and again.blocks is again.network.blocks


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_every_size_builds_and_its_config_survives_json(name):
    config = AUTOREGRESSIVE[name]
    large = config.network.vocab > 0
    ref = TokenizerRef("letters", "", 8 if large else 4, 16 if large else 8, 6, 64_000, (640, 1024) if large else (64, 64))
    with torch.device("meta"):
        world = config.build(Setting(ref, SPEC, "t5" if config.network.context_dim else "", config.network.context_dim))
    assert from_json(AutoregressiveConfig, to_json(world.config)) == world.config
    assert world.config.past == 4 and world.grid.n == 5 * world.cells
    assert world.cells == (2560 if large else 64)


def test_nano_is_small():
    world = AUTOREGRESSIVE["ar-nano"].build(setting(text=64, vocab=1000))
    assert 2.5e6 < sum(p.numel() for p in world.parameters()) < 4e6


BAD = {
    "floats": (lambda w: roll(w, ids_of().float(), 1), "whole numbers"),
    "wrong grid": (lambda w: roll(w, torch.zeros(1, 1, 3, 2, dtype=torch.long), 1), "2 x 2 cells; got 3 x 2"),
    "too large an id": (lambda w: roll(w, ids_of() + 15, 1), r"0\.\.19"),
    "negative id": (lambda w: w(Batch(tokens=ids_of() - 5), torch.Generator()), r"0\.\.19"),
    "no frames": (lambda w: roll(w, ids_of(), 0), "At least one"),
    "no tokens": (lambda w: w(Batch(), torch.Generator()), "trains on tokens"),
    "uninvited actions": (lambda w: roll(w, ids_of(), 1, Conditioning(actions=torch.ones(2, 1, 2))), "takes no actions"),
    "uninvited text": (lambda w: roll(w, ids_of(), 1, Conditioning(context=torch.ones(2, 1, 8))), "takes no text"),
    "another family's setting": (lambda w: roll(w, ids_of(), 1, steps=4), "No sampling setting .* named 'steps'"),
    "misspelled setting": (lambda w: roll(w, ids_of(), 1, temprature=0.5), "Did you mean 'temperature'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises(BadInput, match=message):
        call(world_of())


def test_bad_conditions():
    world = world_of(actions=SPEC, text=8)
    for conditioning, message in (
        (Conditioning(), "takes actions"),
        (Conditioning(actions=torch.ones(2, 1, 3)), "width 2"),
        (Conditioning(actions=torch.ones(1, 1, 2)), "2 rows of actions"),
        (Conditioning(actions=torch.ones(2, 1, 2), context=torch.ones(2, 3, 9)), "2 x n x 8"),
    ):
        with pytest.raises(BadInput, match=message):
            roll(world, ids_of(2, 1), 1, conditioning)
    for kinds, message in (({"vocab": 0}, "continuous"), ({"text": 16}, "width 8")):
        with pytest.raises(BadInput, match=message):
            dataclasses.replace(CONFIG, network=dataclasses.replace(NETWORK, context_dim=8)).build(setting(**kinds))
    with pytest.raises(BadInput, match="vocabulary of 64000"):
        AUTOREGRESSIVE["ar-5b"].build(setting())
