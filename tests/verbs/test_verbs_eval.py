"""`armillary eval` on a world: given frames, copying, long dreams; the page and the JSON beside it. The weights are random."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from armillary import tokenizers, worlds
from armillary.data.record import record
from armillary.errors import BadInput
from armillary.presets import override
from armillary.rollout import Dreamer
from armillary.tokenizers import TOKENIZERS
from armillary.types import ActionSpec
from armillary.verbs import eval
from armillary.verbs._judge import as_dream, trained_frames
from armillary.worlds.base import Setting, TokenizerRef

UNET = (
    "network.fine=16",
    "network.coarse=32",
    "network.dim=32",
    "network.fine_blocks=1",
    "network.coarse_blocks=1",
    "past=2",
    "unroll=2",
)
DIT = ("network.dim=48", "network.layers=1", "network.heads=2", "network.lora=8", "clip=3", "past=1")
AR = ("network.dim=48", "network.layers=1", "network.hidden=32", "frames=3")
MOVES = ActionSpec(("ee_vx", "ee_vy"), ("0.28 m/s", "0.28 m/s"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0))


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    return record("tabletop", tmp_path_factory.mktemp("held") / "data", 2, seed=900000, frames=26, size=64, workers=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A stepping world, a clip world and an autoregressive one, each on a tokenizer of its own, untrained."""
    root = tmp_path_factory.mktemp("worlds")
    torch.manual_seed(0)
    out = {}
    for name, tokenizer, size, changes in (
        ("step", "frame-c8", "unet-nano", UNET),
        ("clip", "video-c4x8x8", "dit-nano", DIT),
        ("tokens", "video-d4x8x8", "ar-nano", AR),
    ):
        config = override(TOKENIZERS[tokenizer], ("width=8",))
        tokenizers.save(tokenizers.build(config), root / f"{name}-tok")
        made = tokenizers.load(root / f"{name}-tok")
        c = made.config
        ref = TokenizerRef(f"../{name}-tok", made.sha256, c.temporal, c.spatial, c.channels, made.vocab or 0, (64, 64))
        setting = Setting(ref, MOVES if name == "step" else None, "hash", 64, 10.0)
        worlds.save(worlds.build(override(worlds.WORLDS[size], changes), setting), root / name)
        out[name] = root / name
    return out


def measured(folder, episodes, tmp_path, **more):
    result, code = eval(str(folder), data=episodes, horizons=(1, 4), out=tmp_path, **more)
    assert json.loads((tmp_path / "result.json").read_text())["rollouts"] == result["rollouts"]
    return result, code, (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("name", "given", "trained"), [("step", 9, 5), ("clip", 1, 9), ("tokens", 9, 9)])
def test_every_kind_of_world_is_held_against_copying_and_dreams_long(folders, episodes, tmp_path, name, given, trained):
    more = {"steps": 2} if name != "tokens" else {"sampling": ("temperature=0",)}
    result, code, page = measured(folders[name], episodes, tmp_path, given=given, long=20 / trained, **more)
    v = result["rollouts"]["metrics"]["versus"]
    assert v["horizons"] == [1, 2, 3, 4] and v["verdict"] == "INCONCLUSIVE" and set(v["kept"]) == {"1", "2", "3", "4"}
    m = result["long"]["metrics"]
    assert m["past"] == given and m["trained"] == trained and 20 <= given + m["steps"] <= 22 + 2 and m["verdict"]
    assert ("control" in result) == (name == "step") and (code == 1) == (name == "step")  # untrained, it is deaf to actions
    assert "Against copying, frame by frame" in page and "times the trained length" in page and "data:image/png" in page


def test_what_cannot_be_is_said_before_anything_is_dreamed(folders, episodes, tmp_path):
    with pytest.raises(BadInput, match="--given 1 or --given 5 would work"):
        eval(str(folders["tokens"]), data=episodes, given=4)
    with pytest.raises(BadInput, match=r"armillary sim record tabletop --frames 50 "):
        eval(str(folders["step"]), data=episodes, long=10)
    with pytest.raises(BadInput, match="is a tokenizer"):
        eval(str(folders["step"].parent / "step-tok"), data=episodes, long=10)
    with pytest.raises(BadInput, match="--episodes at least 1"):
        eval(str(folders["step"]), data=episodes, episodes=0)


def test_a_clip_world_is_given_a_beginning_and_no_middle(folders):
    dreamer = Dreamer(folders["clip"])
    given = []
    dreamer.dream = lambda frames, *rest, **more: given.append(frames) or frames  # type: ignore[method-assign,assignment]
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    as_dream(dreamer, 4)(frames, None, "", 0)
    assert given[0][:, 0, 0, 0].tolist() == [8], "one latent frame: the last picture alone"


def test_the_trained_length_of_shipped_worlds():
    assert trained_frames(Dreamer("tabletop")) == 29 and trained_frames(Dreamer("tabletop-ar")) == 17
