"""Whether a post-trained world does what it was trained for, on episodes that it was not trained on: gate, evaluation, baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data import DrivingConfig, EpisodesConfig, PosedConfig
from armillary.data.pixels import Pixels
from armillary.errors import BadInput
from armillary.rollout.dreamer import Dreamer
from armillary.types import Episode, Report
from armillary.verbs._driving_judge import judge_driving

PROBED = 160  # entries that a probe learns from
HORIZONS = (1, 8, 16)


@dataclass(frozen=True)
class Asked:
    """What is judged on.

    Args:
        source: the data; of its held-out split at most `episodes` are dreamed, or of all of it where its `held_out` is 0.
        base: the world that the judged one began from, empty where it is not known. steps: frames to dream, at most. seed: of the dreams.
    """

    source: EpisodesConfig | PosedConfig | DrivingConfig
    base: str = ""
    episodes: int = 24
    steps: int = 16
    seed: int = 0

    def split(self, which: str) -> Pixels:
        """`train` or `held-out`; both are all there is where nothing is held out."""
        assert which in ("train", "held-out")
        return self.source.build(which if self.source.held_out else "train")  # type: ignore[arg-type]


Judge = Callable[[Dreamer, Asked], dict[str, Any]]


def held_out(asked: Asked, data: Pixels) -> tuple[list[Episode], str]:
    """The episodes of a LeRobot dataset's split, with one camera's frames, and the camera's name."""
    from armillary.data.lerobot.read import LeRobotDataset

    source = LeRobotDataset(Path(asked.source.path))
    camera = getattr(asked.source, "camera", "") or next(iter(source.cameras))
    numbers = [int(e.key.rsplit("_", 1)[1]) for e in data.entries][: asked.episodes]
    return [source.episode(i, cameras=(camera,)) for i in numbers], camera


def reach(lengths: Sequence[int], past: int, steps: int, temporal: int) -> int:
    """Frames to dream: as many as asked, or as three quarters of the episodes have.

    Raises:
        BadInput: they have none.
    """
    long = int(np.quantile(np.asarray(lengths), 0.25)) if len(lengths) else 0
    found = min(steps, long - past) // temporal * temporal
    if found < 1:
        raise BadInput(
            f"The world is given {past} frames and dreams {temporal} at a time; most episodes have {long} frames or fewer."
        )
    return found


def judge_action(dreamer: Dreamer, asked: Asked) -> dict[str, Any]:
    """Other actions, other futures; rollouts against truth, under shuffled actions, and copied."""
    from armillary.evaluate.control import evaluate_control, sim_twin
    from armillary.evaluate.probe import Pairs, fit_probe
    from armillary.evaluate.reconstruct import reconstructor
    from armillary.evaluate.rollouts import evaluate_world
    from armillary.verbs._judge import as_dream, past_of, replayable

    spec = dreamer.world.action_spec
    if spec is None:
        raise BadInput(f"World {dreamer.world.name!r} takes no actions; there is nothing to control.")
    data = asked.split("held-out")
    kept, camera = held_out(asked, data)
    if differing := [d for d in spec.differences(kept[0].spec) if not d.startswith(("mean:", "std:"))]:
        raise BadInput(
            f"The actions of world {dreamer.world.name!r} differ from the data's (world's != data's): {'; '.join(differing)}."
        )
    past = past_of(dreamer)
    steps = reach([len(e) for e in kept], past, asked.steps, dreamer.temporal)
    common: dict[str, Any] = {"past": past, "size": dreamer.size[0], "camera": camera, "seed": asked.seed}
    twin, probe = (partial(sim_twin, size=8), None) if replayable(kept) else (None, None)
    if twin is None:
        train = asked.split("train")
        pairs, other = (
            Pairs.of((d.read(e), e.actions) for e in d.entries[:PROBED] if e.actions is not None) for d in (train, data)
        )
        probe = fit_probe(pairs, other, steps=min(600, 4 * len(pairs.done)))
    dream = as_dream(dreamer, steps)
    control = evaluate_control(dream, kept, steps=steps, twin=twin, probe=probe, **common)
    horizons = tuple(sorted({*(h for h in HORIZONS if h < steps), steps}))
    seen = Seen()
    own = evaluate_world(
        dream,
        kept,
        horizons,
        reconstruct=reconstructor(dreamer.tokenizer),
        multiple=dreamer.temporal,
        watch=seen.watch(past),
        **common,
    )
    swapped = [dataclasses.replace(e, actions=f.actions) for e, f in zip(kept, [*kept[1:], kept[0]]) if len(e) == len(f)]
    shuffled = (
        evaluate_world(dream, swapped, horizons, multiple=dreamer.temporal, **common).metrics if len(swapped) > 1 else None
    )
    baseline: dict[str, Any] = {
        "copy": {name: own.metrics[name]["copy"] for name in ("psnr", "ssim")},
        "shuffled": None if shuffled is None else _dreamed(shuffled),
    }
    if asked.base and dreamer.world.name != asked.base:
        began = Dreamer(asked.base)
        if began.world.action_spec is None:
            without = evaluate_world(as_dream(began, steps), kept, horizons, multiple=began.temporal, **common)
            baseline["base"] = _dreamed(without.metrics)
    figures = {k: v for k, v in control.metrics.items() if k not in ("verdict", "per_episode")}
    gained = None if shuffled is None else {h: _less(own.metrics["psnr"], shuffled["psnr"], h) for h in map(str, horizons)}
    return {
        "gate": {"verdict": control.metrics["verdict"], "figures": figures},
        "evaluation": {
            **_dreamed(own.metrics),
            "psnr_over_copy": own.metrics["over_copy"],
            "psnr_over_shuffled": gained,
            "reconstruction_psnr": own.metrics["psnr"]["reconstruction"],
            "latent_l2": seen.latent_l2(dreamer),
            "fvd": seen.fvd(),
            "episodes": len(kept),
            "steps": steps,
        },
        "baseline": baseline,
    }


def judge_camera(dreamer: Dreamer, asked: Asked) -> dict[str, Any]:
    """Poses read off dreams, beside the base's, which is told no path."""
    from armillary.evaluate.camera import Posed, evaluate_camera, steps_of
    from armillary.evaluate.probe import Pairs, fit_probe
    from armillary.types import Camera
    from armillary.verbs._judge import past_of

    data, train = asked.split("held-out"), asked.split("train")
    if "poses" not in data.fields:
        raise BadInput(f"{asked.source.path} does not say where its camera was.")
    pairs, other = (
        Pairs.of((d.read(e), steps_of(np.asarray(e.cameras[0].pose, np.float64))) for e in d.entries[:PROBED])
        for d in (train, data)
    )
    probe = fit_probe(pairs, other, steps=min(1200, 4 * len(pairs.done)))
    clips = [Posed(e.key, data.read(e), e.cameras[0], e.texts[0] if e.texts else "") for e in data.entries[: asked.episodes]]
    past = past_of(dreamer)
    steps = reach([len(c.frames) for c in clips], past, asked.steps, dreamer.temporal)

    def along(which: Dreamer) -> Callable[[np.ndarray, Camera | None, str, int], np.ndarray]:
        def dream(given: np.ndarray, camera: Camera | None, text: str, seed: int) -> np.ndarray:
            return which.dream(given, steps, prompt=text, seed=seed, cut=True, camera=camera)

        return dream

    report = evaluate_camera(
        along(dreamer),
        clips,
        probe,
        past=past,
        steps=steps,
        baseline=along(Dreamer(asked.base)) if asked.base else None,
        seed=asked.seed,
    )
    m = report.metrics
    return {
        "gate": _gate(report, ("why", "swap", "probe")),
        "evaluation": {**m["dream"], "truth_as_read": m["truth"], "clips": m["clips"], "steps": steps},
        "baseline": m.get("baseline", {}),
    }


def judge_instruction(dreamer: Dreamer, asked: Asked) -> dict[str, Any]:
    """The named thing moves, with the text and without."""
    from armillary.evaluate.instruction import evaluate_instruction, said
    from armillary.verbs._judge import as_dream, past_of

    data = asked.split("held-out")
    kept, camera = held_out(asked, data)
    if mute := [e.id for e in kept if not said(e)]:
        raise BadInput(f"{len(mute)} episodes have no instruction or caption (first: {mute[0]}); every one wants a sentence.")
    past = past_of(dreamer)
    steps = reach([len(e) for e in kept], past, max(asked.steps, 28), dreamer.temporal)
    report = evaluate_instruction(
        as_dream(dreamer, steps), kept, steps=steps, past=past, size=dreamer.size[0], camera=camera, seed=asked.seed
    )
    m = report.metrics
    return {
        "gate": _gate(report, ("why", "heard", "gain", "own_truth")),
        "evaluation": {
            **m["told"],
            "swapped": m["swapped"]["moves"],
            "truth": m["truth"]["moves"],
            "own_truth": m["own_truth"],
            "unnamed": m["unnamed"],
            "not_done_in_truth": m["not_done_in_truth"],
            "episodes": m["episodes"],
            "steps": steps,
        },
        "baseline": m["silent"],
    }


JUDGES: dict[str, Judge] = {
    "camera": judge_camera,
    "action": judge_action,
    "instruction": judge_instruction,
    "driving": judge_driving,
}


def _gate(report: Report, shown: Sequence[str]) -> dict[str, Any]:
    return {"verdict": report.metrics["verdict"], "figures": {k: report.metrics[k] for k in shown}}


def _dreamed(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a rollout: pixels, and with a simulator's truth tip and objects."""
    out = {name: metrics[name]["dream"] for name in ("psnr", "ssim", "psnr_changed")}
    for name in ("tip", "objects"):
        if name in metrics:
            out["end_effector" if name == "tip" else name] = metrics[name]["dream"]
    return out


def _less(own: Mapping[str, Any], other: Mapping[str, Any], h: str) -> float | None:
    a, b = own["dream"][h]["mean"], other["dream"][h]["mean"]
    return None if a is None or b is None else a - b


class Seen:
    """Dreams and truths side by side, for what is measured over all of them."""

    def __init__(self) -> None:
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def watch(self, past: int) -> Callable[[Episode, np.ndarray, np.ndarray], None]:
        def look(episode: Episode, truth: np.ndarray, dream: np.ndarray) -> None:
            self.pairs.append((truth, np.asarray(dream)))

        return look

    def latent_l2(self, dreamer: Dreamer) -> float:
        """Root mean square distance of latents, in the world's own normalisation where it has one; of tokens, the share that differ."""
        apart = []
        for truth, dream in self.pairs:
            a, b = (dreamer.encode(x) for x in (truth, dream))
            if a.is_floating_point():
                normalise = getattr(getattr(dreamer.world, "world", dreamer.world), "normalise")  # noqa: B009
                apart.append(float((normalise(a) - normalise(b)).square().mean().sqrt()))
            else:
                apart.append(float((a != b).float().mean()))
        return float(np.mean(apart))

    def fvd(self) -> dict[str, Any]:
        """The Fréchet distance of whole clips, by the embedded extractor."""
        from armillary import features, media
        from armillary.evaluate.frechet import frechet

        if len(self.pairs) < 3:
            return {"value": None, "extractor": "small", "clips": len(self.pairs)}
        eyes = features.load("small")
        a, b = (np.concatenate([eyes.embed(media.to_tensor(p[i])).cpu().numpy() for p in self.pairs]) for i in (0, 1))
        return {"value": frechet(a, b), "extractor": "small", "clips": len(self.pairs)}
