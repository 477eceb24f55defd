"""`armillary train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.errors import BadInput


def train(
    recipe: str,
    /,
    *,
    data: Path | None = None,
    more: Path | None = None,
    out: Path | None = None,
    start: str = "",
    tokenizer: str = "",
    steps: int | None = None,
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
    print_config: bool = False,
    resume: bool = True,
) -> dict[str, Any]:
    """Run a recipe: a tokenizer, a diffusion world or an autoregressive world, by one training loop.

    Ctrl-C finishes the step, saves, and says how to go on; the same command goes on from there, bit for bit on a CPU. The resolved
    config lies with the run. A tokenizer is measured at the end on what was held out (whole files, where there are several), beside
    the one it started from. `torchrun --nproc-per-node 8 -m armillary train ...` spreads a run over GPUs (docs/scale-training.md).

    Example: armillary train video-c4x8x8-videos --data my-videos --start video-c4x8x8-mixed --out runs/mine --steps 2000

    Args:
        recipe: a name in `recipes.RECIPES` (see `armillary info`).
        data: the dataset's folder: LeRobot episodes, curated clips, or a folder of videos.
        more: a second dataset, for recipes that learn from two.
        out: the run's folder (runs/RECIPE by default).
        start: weights to go on from, a shipped name or a checkpoint folder; without it a run begins from nothing.
        tokenizer: for a world: the one whose latents it learns.
        steps: instead of the recipe's own number.
        set: settings to override.
        print_config: only print the resolved config.
        resume: go on from the run's last checkpoint.
    """
    import dataclasses
    import inspect
    import os

    from armillary.errors import lookup
    from armillary.presets import override, to_json
    from armillary.recipes import RECIPES
    from armillary.train.loop import train as run
    from armillary.train.models import TokenizerRun
    from armillary.verbs._train_measure import measure

    make = lookup(RECIPES, recipe, "recipe")
    for name, folder in (("data", data), ("more", more)):
        if folder is not None and not folder.exists():
            raise BadInput(f"--{name} {folder} does not exist.")
    given = {"start": start, "tokenizer": tokenizer, "more": "" if more is None else str(more)}
    given = {name: value for name, value in given.items() if value}
    takes = inspect.signature(make).parameters
    for name in given:
        if name not in takes:
            raise BadInput(f"Recipe {recipe!r} takes no --{name}.")
    needed = [n for n, p in takes.items() if p.default is p.empty and n not in given and not (n == "data" and data is not None)]
    if needed:
        raise BadInput(f"Recipe {recipe!r} wants {' and '.join(f'--{name}' for name in needed)}.")
    config = make(*([str(data)] if data is not None else []), **given)
    config = override(config, set)
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    if print_config:
        return to_json(config)
    result = run(config, out or Path("runs") / recipe, resume=resume)
    told = to_json(result)
    if result.finished and isinstance(config.model, TokenizerRun) and not int(os.environ.get("RANK", "0")):
        told["held_out"] = measure(config, result.folder)
    return told
