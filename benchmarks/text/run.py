"""The embedded text encoder and prompt upsampler on scenes and wordings that nothing was trained on; the hash encoder beside.

    python benchmarks/text/run.py [--save]

* retrieval: a held-out wording asks for its scene among 100; right is a scene in which all that it states is so.
* one fact: a held-out wording is nearer to its own caption than to that of a scene which differs in one fact.
* not in training: the same for the worlds whose words the encoder has never met.
* prompts: 75 short held-out wordings of held-out scenes and the 52 of `prompts.json`, written by hand with their facts noted by hand: how
  many upsampled prompts lose or contradict a fact, and how many facts of the scene that the prompt did not name were met (nearest scene
  against one drawn at random).
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from armillary import text
from armillary.recipes.text import LENGTHS, TRAINED, retrieval, scenes_of, told_apart
from armillary.sims.words.facts import WORLDS, Facts, contradicted, lost
from armillary.sims.words.read import read
from armillary.sims.words.tell import chosen, tell
from armillary.text.encoders import HashEncoder
from armillary.text.upsample_small import SmallUpsampler, from_rows

BLIND_SEED = 970_000  # scenes that no choice of the recipe was made on
ROOT = Path(__file__).resolve().parent


def prompts(held: dict[str, list[Facts]]) -> list[tuple[str, Facts, Facts | None]]:
    """(prompt, what it states, the scene it was made of)."""
    out: list[tuple[str, Facts, Facts | None]] = []
    for scenes in held.values():
        out += [(tell(f, "short", (i, 77), "held"), chosen(f, "short"), f) for i, f in enumerate(scenes[:15])]
    written = json.loads((ROOT / "prompts.json").read_text())
    return out + [(r["prompt"], from_rows(r["world"], r["facts"]), None) for r in written]


def upsampled(up: SmallUpsampler, rows: list[tuple[str, Facts, Facts | None]]) -> dict[str, Any]:
    """Counts over prompts, and the share of the scene's further facts that were met."""
    losing, against, met, own = [], [], [], 0
    for prompt, stated, scene in rows:
        made = up.upsample(prompt)
        said = read(made, stated.world).facts
        losing += [prompt] if lost(stated, said) else []
        against += [prompt] if contradicted(stated, said) else []
        own += made.startswith(prompt[0].upper() + prompt[1:].rstrip("."))
        if scene is not None:
            further = [f for f in scene if f not in chosen(scene, "short").facts]
            met.append(1 - len(lost(Facts(scene.world, tuple(further)), said)) / max(1, len(further)))
    return {
        "prompts": len(rows),
        "lost a fact": len(losing),
        "contradicted": len(against),
        "keeps own words": own,
        "further facts met": round(float(np.mean(met)), 3),
        "which": losing + against,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    held = {world: scenes_of(world, 100, BLIND_SEED) for world in WORLDS}
    known = {world: held[world] for world in TRAINED}
    new = {world: scenes for world, scenes in held.items() if world not in TRAINED}
    result: dict[str, Any] = {"date": datetime.date.today().isoformat(), "scenes": 100, "encoders": {}}
    for name in ("small", "hash"):
        encoder: Any = text.load(name) if name == "small" else HashEncoder(length=128)
        began = time.process_time()
        rows: dict[str, Any] = {f"retrieval, {length}": retrieval(encoder, known, length) for length in LENGTHS}
        rows["one fact"] = told_apart(encoder, known)
        rows["not in training"] = {f"retrieval, {length}": retrieval(encoder, new, length) for length in LENGTHS}
        rows["not in training"]["one fact"] = told_apart(encoder, new)
        encoder.pooled(["a red block"])
        took = time.process_time()
        encoder.encode([tell(held["tabletop"][0], "long")])
        rows["ms a caption"] = round(1e3 * (time.process_time() - took), 2)
        rows["cpu_s"] = round(time.process_time() - began, 1)
        result["encoders"][encoder.name] = rows
        print(encoder.name, json.dumps(rows, indent=1))
    asked = prompts(held)
    result["upsampler"] = {
        n: upsampled(SmallUpsampler(nearest=near), asked) for n, near in (("nearest", True), ("random", False))
    }
    print(json.dumps(result["upsampler"], indent=1))
    if options.save:
        (ROOT / f"result-{result['date']}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
