"""Attached conditions: who hears what when, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from armillary import conditioning
from armillary.conditioning import ActionCondition, Conditions, FramesCondition, TextCondition, attach, condition
from armillary.errors import BadInput
from armillary.types import ActionSpec, Conditioning
from armillary.worlds.base import Setting, TokenizerRef
from armillary.worlds.diffusion.common import Ports
from armillary.worlds.diffusion.unet import UNetConfig
from armillary.worlds.diffusion.world import LIVE, DiffusionConfig

SPEC = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-2.0, -2.0), (2.0, 2.0))
PORTS = Ports(modulation=32, context=0, channels=16, patch=2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def filled(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.add_(0.3 * draw(*p.shape, seed=i))
    return module


def world(actions: ActionSpec | None = None):
    torch.manual_seed(0)
    made = DiffusionConfig(UNetConfig(16, 16, 1, 1, 2, 32), LIVE, past=2).build(
        Setting(TokenizerRef("synthetic", "0" * 64, 1, 8, 4, 0, (64, 64)), actions)
    )
    filled(made)
    return made


@pytest.mark.parametrize("have", [0, 2])
def test_an_action_is_heard_by_the_frame_it_leads_to_and_those_after(have):
    pair = attach(world(), {"action": ActionCondition(SPEC)})
    filled(pair.conditions)
    given, actions = draw(1, 4, have, 8, 8), draw(1, 3, 2)
    plain = pair.extend(given, 3, Conditioning(actions=actions), generator=seeded())
    for i in range(3):
        turned = actions.clone()
        turned[:, i] += 1
        other = pair.extend(given, 3, Conditioning(actions=turned), generator=seeded())
        changed = [(plain[:, :, f] != other[:, :, f]).any().item() for f in range(3)]
        assert changed == [f >= i + (have == 0) for f in range(3)]


def test_actions_are_folded_as_the_tokenizer_folds_frames_and_normalised_by_bounds():
    module = filled(ActionCondition(SPEC, temporal=2).build(PORTS))
    out = module(Conditions(actions=draw(3, 7, 2)))
    assert out.shape == (3, 3, 32)
    own = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-9.0,) * 2, (9.0,) * 2, (0.0, 0.0), (2.0, 2.0))
    other = ActionCondition(own, temporal=2).build(PORTS)
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(Conditions(actions=draw(3, 7, 2))), out)  # bounds of 2 and a deviation of 2 scale alike


def test_maps_are_read_frame_by_frame_on_the_patched_grid():
    module = filled(FramesCondition(3).build(PORTS))
    maps = draw(2, 3, 4, 8, 8)
    out = module(Conditions(maps=maps))
    assert out.shape == (2, 16, 4, 4, 4)
    changed = maps.clone()
    changed[:, :, 2] += 1
    differs = (module(Conditions(maps=changed)) != out).flatten(3).any(-1).any(1).any(0)
    assert differs.tolist() == [False, False, True, False]


def test_padding_of_text_is_not_heard():
    module = filled(TextCondition(6).build(PORTS))
    text, mask = draw(2, 5, 6), torch.tensor([[True] * 5, [False] * 5])
    out = module(Conditions(context=text, context_mask=mask))
    assert out.shape == (2, 32) and torch.isfinite(out).all()
    padded = text.clone()
    padded[1] = 9.0
    assert torch.equal(module(Conditions(context=padded, context_mask=mask)), out)


def test_nothing_said_is_nothing_added():
    for config in (ActionCondition(SPEC), FramesCondition(3), TextCondition(6)):
        assert config.build(PORTS)(Conditions()) is None


def test_several_conditions_add_up_and_only_they_learn_when_the_world_is_kept():
    pair = attach(world(), {"action": ActionCondition(SPEC), "text": TextCondition(6)}, train_world=False)
    assert {n.split(".")[0] for n, p in pair.named_parameters() if p.requires_grad} == {"conditions"}
    filled(pair.conditions)
    given, actions, text = draw(1, 4, 2, 8, 8), draw(1, 2, 2), draw(1, 5, 6)
    both = pair.extend(given, 2, Conditioning(actions=actions, context=text), generator=seeded())
    assert not torch.equal(both, pair.extend(given, 2, Conditioning(actions=actions), generator=seeded()))
    assert not torch.equal(both, pair.extend(given, 2, Conditioning(actions=-actions, context=text), generator=seeded()))


def test_what_a_world_says_of_itself_the_pair_says():
    bare = world()
    pair = attach(bare, {"action": ActionCondition(SPEC)})
    assert pair.family == "diffusion" and pair.tokenizer == bare.tokenizer and pair.setting is bare.setting
    assert pair.action_spec == SPEC and bare.action_spec is None
    with pytest.raises(AttributeError):
        pair.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: condition("actions"), "Did you mean 'action'"),
        (lambda: attach(nn.Linear(2, 2), {}), "no ports"),
        (lambda: attach(world(SPEC), {"action": ActionCondition(SPEC)}), "of its own"),
        (lambda: ActionCondition(SPEC).build(PORTS)(Conditions(actions=draw(1, 2, 3))), "got width 3"),
        (lambda: TextCondition(6).build(PORTS)(Conditions(context=draw(1, 2, 3))), "got width 3"),
        (lambda: FramesCondition(3).build(PORTS)(Conditions(maps=draw(1, 3, 1, 7, 8))), "multiples of 2"),
        (
            lambda: attach(world(), {"f": FramesCondition(3)}).extend(
                draw(1, 4, 1, 8, 8), 3, Conditioning(), generator=seeded(), maps=draw(1, 3, 2, 8, 8)
            ),
            "speaks of 2 frames; 3",
        ),
        (
            lambda: attach(world(), {"a": ActionCondition(SPEC)}).extend(
                draw(1, 4, 1, 8, 8), 3, Conditioning(actions=draw(1, 2, 2)), generator=seeded()
            ),
            "3 frames want 3 actions; got 2",
        ),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def test_conditions_belong_to_the_world_they_were_trained_on(tmp_path):
    pair = attach(world(), {"action": ActionCondition(SPEC)})
    conditioning.save(pair, tmp_path / "attached")
    stranger = world()
    stranger.sha256 = "f" * 64
    with pytest.raises(BadInput, match="was trained on world"):
        conditioning.load(tmp_path / "attached", stranger)
