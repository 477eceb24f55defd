"""`armillary eval`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def eval(
    model: str,
    /,
    *,
    data: Path,
    episodes: int = 40,
    horizons: tuple[int, ...] = (1, 8, 16, 28),
    given: int | None = None,
    long: float = 0.0,
    steps: int | None = None,
    seed: int = 0,
    refine: str = "",
    sampling: tuple[str, ...] = (),
    out: Path | None = None,
) -> tuple[dict[str, Any], int]:
    """Measure a tokenizer or a world against the truth.

    A tokenizer: what its reconstruction loses. A world: PSNR and SSIM of open-loop rollouts against truth, against copying the last frame
    (paired, at every horizon up to 16) and against the tokenizer's own reconstruction, whether the objects are still there, and, when it
    takes actions, whether they matter: a world that ignores its actions is ACTION-BLIND and ends with exit code 1. With `--long 10` also
    ten times the length it was trained on: what is lost, what is made up, how the picture drifts, and when it collapses.

    Example: armillary eval tabletop --data held-out --long 10 --out eval-tabletop

    Args:
        model: a shipped name or a checkpoint folder.
        data: a LeRobot dataset that the model was not trained on, or (for a tokenizer) a folder of videos.
        episodes: at most so many.
        horizons: frames after the last given one at which values are read.
        given: frames of each episode that are given, as 1 or 9; none named: what the world looks back on.
        long: times the trained length to dream on; the episodes must be as long. 0 leaves it out.
        steps: denoising steps a frame.
        seed: of the dreams.
        refine: a diffusion decoder that draws the pixels of an autoregressive world's tokens.
        sampling: further name=value settings of the world's own sampler, such as temperature=0.
        out: a folder for report.html and result.json.
    """
    from armillary.evaluate import present
    from armillary.evaluate.blocks import Page
    from armillary.evaluate.page import write_page
    from armillary.presets import to_json
    from armillary.store import check_writable, find_weights, read_json, write_json
    from armillary.verbs._generate import _setting

    if not data.is_dir():
        raise BadInput(f"--data {data} is no folder.")
    if long < 0 or episodes < 1:
        raise BadInput(f"--long is a number of lengths, 0 for none, and --episodes at least 1; got {long:g} and {episodes}.")
    if out is not None:
        check_writable(out)
    family = read_json(find_weights(model, "model") / "config.json").get("family")
    if family == "tokenizer":
        if given is not None or long or refine or sampling:
            raise BadInput(f"{model!r} is a tokenizer: --given, --long, --refine and --sampling are for worlds.")
        report = _tokenizer(model, data, episodes)
        reports, sections, code = {"reconstruction": report}, [present.tokenizer_section(report)], 0
    else:
        options = dict(map(_setting, sampling)) | ({} if steps is None else {"steps": steps})
        reports, sections = _world(model, data, episodes, horizons, given, long, options, seed, refine)
        code = int("control" in reports and reports["control"].metrics["verdict"] == "ACTION-BLIND")
    result: dict[str, Any] = {"model": model, "family": family, "data": str(data), "refine": refine, "sampling": list(sampling)}
    result |= {name: {"metrics": to_json(dict(r.metrics)), "notes": list(r.notes)} for name, r in reports.items()}
    if out is not None:
        page = Page(f"Evaluation of {Path(model).name}", f"Against {data.name}.", sections)
        write_page(page, out / "report.html")
        write_json(out / "result.json", result)
        result["out"] = str(out / "report.html")
    return result, code


def _tokenizer(model: str, data: Path, count: int) -> Any:
    from armillary import media, tokenizers
    from armillary.data.clips import VIDEO
    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.evaluate.reconstruct import evaluate_tokenizer

    if (data / "meta" / "info.json").is_file():
        held = LeRobotDataset(data)
        camera = next(iter(held.cameras))
        videos = {}
        for i in range(min(count, len(held))):
            episode = held.episode(i, cameras=(camera,))
            videos[episode.id] = episode.frames[camera]
        return evaluate_tokenizer(tokenizers.load(model), videos, size=64)
    files = sorted(p for p in data.rglob("*") if p.suffix.lower() in VIDEO)[:count]
    if not files:
        raise BadInput(f"{data} holds neither a LeRobot dataset nor video files.")
    return evaluate_tokenizer(tokenizers.load(model), {p.name: media.read_video(p, max_frames=65) for p in files}, size=64)


def _world(
    model: str,
    data: Path,
    count: int,
    horizons: tuple[int, ...],
    given: int | None,
    long: float,
    options: dict[str, Any],
    seed: int,
    refine: str,
) -> tuple[dict[str, Any], list[Any]]:
    """The reports on a world and their sections."""
    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.evaluate import present, present_long
    from armillary.evaluate.blocks import Videos
    from armillary.evaluate.control import evaluate_control, sim_twin
    from armillary.evaluate.long import evaluate_long
    from armillary.evaluate.reconstruct import reconstructor
    from armillary.evaluate.rollouts import evaluate_world
    from armillary.rollout.dreamer import Dreamer
    from armillary.verbs._judge import as_dream, as_long_dream, past_of, replayable, trained_frames

    dreamer = Dreamer(model, refiner=refine or None)
    past, trained, step = past_of(dreamer, given), trained_frames(dreamer), dreamer.temporal
    held = LeRobotDataset(data)
    kept = _held(held, count, dreamer.size)
    camera = next(iter(held.cameras))
    lasting = -(-(round(trained * long) - past) // step) * step
    if long:
        _long_enough(kept, camera, past + lasting)
    common: dict[str, Any] = {"past": past, "size": dreamer.size[0], "camera": camera, "seed": seed}
    # With a diffusion decoder the most there is to reach is what that makes of the truth's tokens.
    redrawn = (lambda x: dreamer.decode(dreamer.encode(x), seed, x[:past])) if refine else reconstructor(dreamer.tokenizer)
    common |= {"reconstruct": redrawn, "multiple": step}
    shown = _Shown(past)
    made = as_dream(dreamer, -(-max(horizons) // step) * step, **options)
    reports = {"rollouts": evaluate_world(made, kept, horizons, watch=shown.watch, **common)}
    sections = [
        present.world_section(reports["rollouts"], before=[Videos(shown.films)]),
        present_long.versus_section(reports["rollouts"].metrics["versus"]),
    ]
    if long:
        far = _Shown(past, 4)
        reports["long"] = evaluate_long(
            as_long_dream(dreamer, lasting, **options), kept, trained=trained, times=long, watch=far.watch, **common
        )
        sections.append(present_long.long_section(reports["long"], before=far.blocks()))
    if dreamer.world.action_spec is not None:
        length = 16 // step * step
        twin = sim_twin if replayable(kept) else None
        asked = {k: v for k, v in common.items() if k not in ("reconstruct", "multiple")}
        reports["control"] = evaluate_control(as_dream(dreamer, length, **options), kept, steps=length, twin=twin, **asked)
        sections.append(present.control_section(reports["control"]))
    return reports, sections


def _held(data: Any, count: int, size: tuple[int, int]) -> list[Any]:
    """The episodes, their first camera's frames at the world's size: long ones would not fit into memory otherwise."""
    from armillary import media

    camera = next(iter(data.cameras))
    out = []
    for i in range(min(count, len(data))):
        episode = data.episode(i, cameras=(camera,))
        out.append(dataclasses.replace(episode, frames={camera: media.fit(episode.frames[camera], size)}))
    return out


def _long_enough(episodes: list[Any], camera: str, frames: int) -> None:
    """Raises BadInput with the command that records longer ones, where a simulator of this package recorded these."""
    from armillary.verbs._judge import replayable

    longest = max(min(len(e.frames[camera]), len(e.actions) + 1) for e in episodes)
    if longest < frames:
        sim = episodes[0].id.rpartition("-")[0]
        how = f" `armillary sim record {sim} --frames {frames} --seed 900000` makes some." if replayable(episodes) else ""
        raise BadInput(f"--long wants episodes of {frames} frames; the longest has {longest}.{how}")


class _Shown:
    """The first few rollouts as films and sheets of truth, dream and difference."""

    def __init__(self, given: int, most: int = 8) -> None:
        self.given, self.most = given, most
        self.films: list[Any] = []
        self.sheets: list[Any] = []

    def watch(self, episode: Any, truth: Any, dream: Any) -> None:
        from armillary import media
        from armillary.evaluate.blocks import Group, Movie, Picture
        from armillary.evaluate.sheet import difference, make_sheet

        if len(self.films) >= self.most:
            return
        rows, labels = [truth, dream, difference(truth, dream)], ["truth", "dream", "difference"]
        movies = [Movie(label, row, episode.fps) for label, row in zip(labels, rows)]
        self.films.append(Group(movies, episode.id, self.given))
        times = [f"{i / episode.fps:.1f} s" for i in range(len(truth))]
        # Cells of 64 pixels: as many as a page is wide.
        small = [media.fit(row, (64, round(64 * row.shape[2] / row.shape[1]))) if row.shape[1] > 64 else row for row in rows]
        sheet = make_sheet(small, labels, columns=11, times=times, given=self.given, cell=64)
        self.sheets.append(Picture(f"{episode.id}, to {times[-1]}", sheet))

    def blocks(self) -> list[Any]:
        from armillary.evaluate.blocks import Details, Images, Videos

        return [
            Videos(self.films[:2]),
            Images(self.sheets[:1]),
            Details("More episodes", [Videos(self.films[2:]), Images(self.sheets[1:])]),
        ]
