"""Scenes from which the prompt upsampler completes prompts of worlds that `text-small` was made without.

    python -m armillary.recipes.scenes --out OUT

Played by the simulators' scripted policies, like those beside the encoder (`recipes.text`), from seed 0 on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from armillary.progress import say
from armillary.recipes.text import TRAINED, TextConfig, scenes_of
from armillary.sims.words.facts import WORLDS
from armillary.store import write_text
from armillary.text.upsample_small import to_rows


def run(out: str | Path, count: int = TextConfig.shown) -> Path:
    """Write `scenes.json`, `count` scenes of each of those worlds, into the folder `out`."""
    shown = {w: [to_rows(f) for f in scenes_of(w, count)] for w in WORLDS if w not in TRAINED}
    path = Path(out) / "scenes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(shown, separators=(",", ":")) + "\n")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", required=True, help="folder to write scenes.json into")
    parser.add_argument("--count", type=int, default=TextConfig.shown, help="scenes of each world")
    given = parser.parse_args(arguments)
    say(str(run(given.out, given.count)))


if __name__ == "__main__":
    main()
