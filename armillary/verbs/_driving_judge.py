"""Whether a world of several views drives where it is told, and shows one street in all of them, on drives it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer

if TYPE_CHECKING:
    from armillary.verbs._posttrain_judge import Asked

READ = 120  # drives that reading motion is learned from, at most


def judge_driving(dreamer: Dreamer, asked: Asked) -> dict[str, Any]:
    """Gate, evaluation and baseline: from one frame of all views, told the way that was driven, another one, and none."""
    from armillary.evaluate.odometry import Odometer
    from armillary.evaluate.rides import rides
    from armillary.evaluate.trajectory import Reader, evaluate_trajectory
    from armillary.evaluate.twin import Twins
    from armillary.evaluate.views import dream_rides, evaluate_views
    from armillary.rollout.drive import drive, views_of
    from armillary.verbs._posttrain_judge import reach

    views = views_of(dreamer)
    if views < 2:
        raise BadInput(f"World {dreamer.world.name!r} has no views attached; `armillary posttrain driving` attaches them.")
    data: Any = asked.split("held-out")
    if data.views != views:
        raise BadInput(f"World {dreamer.world.name!r} takes {views} views; the data show {data.views}.")
    k, clip = dreamer.temporal, dreamer.world.config.clip
    steps = reach([e.length for e in data.entries], 1, min(asked.steps, k * (clip - 1)), k)
    kept = rides(data, 1 + steps)
    root = Path(asked.source.path)
    reader: Reader
    if (root / "meta" / "info.json").is_file():
        reader, kept = Twins(root), kept[: asked.episodes]
    else:
        if asked.source.held_out:
            learn, kept = rides(asked.split("train"), most=READ), kept[: asked.episodes]
        else:  # nothing is held out: motion is read by half of the drives on the other half
            learn, kept = kept[::2], kept[1::2][: asked.episodes]
        if len(learn) < 2:
            raise BadInput(f"Judging wants two drives to learn to read motion from; got {len(learn)}.")
        reader = odometer = Odometer(learn)
        odometer.measure(kept)
    if len(kept) < 2:
        raise BadInput(f"Judging wants two drives to dream; got {len(kept)}.")

    def dream(given: np.ndarray, way: np.ndarray | None, texts: tuple[str, ...], seed: int) -> np.ndarray:
        return drive(dreamer, given, steps, trajectory=way, texts=texts if dreamer.encoder is not None else (), seed=seed)

    def reconstruct(frames: np.ndarray) -> np.ndarray:
        return np.stack([dreamer.decode(dreamer.encode(view)) for view in frames])

    dreamed = dream_rides(dream, kept, past=1, steps=steps, seed=asked.seed, reconstruct=reconstruct)
    seen, way = evaluate_views(dreamed).metrics, evaluate_trajectory(dreamed, reader).metrics

    def of(arm: str) -> dict[str, Any]:
        parts = {name: seen[name][arm] for name in ("quality", "temporal", "cross", "agreement") if arm in seen[name]}
        return parts | {name: way[name][arm] for name in ("error_cm", "aside_cm", "final_cm") if arm in way[name]}

    return {
        "gate": {
            "verdict": way["verdict"],
            "figures": {name: way[name] for name in ("why", "ratio", "swapped_ratio")},
        },
        "evaluation": {**of("dream"), "swapped": of("swapped"), "drives": len(kept), "steps": steps},
        "baseline": {arm: of(arm) for arm in ("truth", "reconstruction", "free", "deaf", "copy", "usual", "chance")},
    }
