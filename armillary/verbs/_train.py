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
    out: Path | None = None,
    steps: int | None = None,
    set: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")]] = (),
    print_config: bool = False,
    resume: bool = True,
) -> dict[str, Any]:
    """Run a recipe: a tokenizer, a diffusion world or an autoregressive world, by one training loop.

    Ctrl-C finishes the step, saves, and says how to go on; the same command goes on from there, bit for bit on a CPU. The resolved
    config lies with the run.

    Example: armillary train frame-c8-tabletop --data episodes --out runs/tokenizer --set optim.lr=1e-3 batch=32

    Args:
        recipe: a name in `recipes.RECIPES` (see `armillary info`).
        data: the dataset's folder: LeRobot episodes, curated clips, or a folder of videos.
        out: the run's folder (runs/RECIPE by default).
        steps: instead of the recipe's own number.
        set: settings to override.
        print_config: only print the resolved config.
        resume: go on from the run's last checkpoint.
    """
    import dataclasses

    from armillary.errors import lookup
    from armillary.presets import override, to_json
    from armillary.recipes import RECIPES
    from armillary.train.loop import train as run

    make = lookup(RECIPES, recipe, "recipe")
    if data is not None and not data.exists():
        raise BadInput(f"--data {data} does not exist.")
    config = make(str(data)) if data is not None else make()
    config = override(config, set)
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    if print_config:
        return to_json(config)
    result = run(config, out or Path("runs") / recipe, resume=resume)
    return to_json(result)
