"""The command line of recipes that are run by themselves: `python -m armillary.recipes.NAME --out OUT --set NAME=VALUE`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch

from armillary.presets import override
from armillary.progress import say


def alone(doc: str | None, run: Callable[[str, Any], Any], config: Any, arguments: Sequence[str] | None = None) -> None:
    """Runs `run(out, config)` on one thread, then says its figures and where the result lies.

    Args:
        doc: of the recipe's module; its first line is the help.
        config: the defaults, which `--set` changes.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--out", required=True, help="checkpoint folder to write")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help=f"settings of {type(config).__name__}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    say(json.dumps(run(given.out, override(config, given.set))))
    say(str(given.out))
