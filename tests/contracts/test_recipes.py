"""Every line of RECIPES is documented and returns a config that survives JSON and fits its model to its data."""

from __future__ import annotations

import inspect
import json

import pytest

from armillary import tokenizers, worlds
from armillary.data import LatentsConfig, MixtureConfig
from armillary.presets import from_json, to_json
from armillary.recipes import RECIPES, diffusion
from armillary.train import RunConfig, TokenizerRun, WorldRun
from armillary.train.config import check
from armillary.train.derived import HeadsRun, RefinerRun
from armillary.train.distilled import DistillRun
from armillary.worlds.autoregressive.refine import REFINERS


def call(name, **more):
    recipe = RECIPES[name]
    wanted = {"tokenizer": "some/tokenizer"} if "tokenizer" in inspect.signature(recipe).parameters else {}
    return recipe("some/data", **wanted, **more)


@pytest.mark.parametrize("name", RECIPES)
def test_contract(name):
    config = call(name)
    assert config.name == name and RECIPES[name].__doc__
    check(config)
    assert from_json(RunConfig, json.loads(json.dumps(to_json(config)))) == config
    assert call(name, steps=7).steps == 7 and config.eval_every and config.steps > 100
    source = config.data.source if isinstance(config.data, LatentsConfig) else config.data
    sources = source.sources if isinstance(source, MixtureConfig) else (source,)
    encoded = [s for s in (config.data, *sources) if isinstance(s, LatentsConfig)]
    sources = tuple(s.source if isinstance(s, LatentsConfig) else s for s in sources)
    assert all(s.path == "some/data" or s.path.startswith("some/data/") for s in sources)
    source, size_of = sources[0], lambda s: getattr(s, "crop", (0, 0)) if any(getattr(s, "crop", (0, 0))) else s.size
    assert all(e.tokenizer == "some/tokenizer" for e in encoded)
    if isinstance(config.model, TokenizerRun):
        size = tokenizers.TOKENIZERS[config.model.size]
        assert all((s.frames - 1) % size.temporal == 0 for s in sources)
        assert all(side % size.spatial == 0 for s in sources for side in size_of(s)) and len(set(map(size_of, sources))) == 1
    elif isinstance(config.model, RefinerRun):
        assert config.model.size in REFINERS and config.model.tokens == "some/tokenizer"
    elif isinstance(config.model, HeadsRun | DistillRun):
        assert config.model.start
    else:
        assert isinstance(config.model, WorldRun)
        size = worlds.WORLDS[config.model.size]
        assert encoded, "a world learns from what a tokenizer says"
        fold = 4 if "ar" in name.split("-") else 8 if name.removeprefix("dit-") in diffusion.STEPS else 1
        latents = 1 + (source.frames - 1) // fold
        paints = getattr(size, "none_prob", 0) == 1  # and is given nothing to look back on
        assert latents > (1 if paints else getattr(size, "reach", size.past)), (
            "a window holds what the world looks back on and a frame to learn"
        )


def test_start_takes_the_place_of_size():
    config = RECIPES["unet-tabletop"]("d", start="some/world")
    assert config.model.start == "some/world" and config.model.size == ""
