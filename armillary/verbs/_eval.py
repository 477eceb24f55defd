"""`armillary eval`."""

from __future__ import annotations

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
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> tuple[dict[str, Any], int]:
    """Measure a tokenizer or a world against the truth.

    A tokenizer: what its reconstruction loses. A world: PSNR and SSIM of open-loop rollouts against truth, against copying the last frame
    and against the tokenizer's own reconstruction, whether the objects are still there, and, when it takes actions, whether they matter: a
    world that ignores its actions is ACTION-BLIND and ends with exit code 1.

    Example: armillary eval tabletop --data held-out --out eval-tabletop

    Args:
        model: a shipped name or a checkpoint folder.
        data: a LeRobot dataset that the model was not trained on, or (for a tokenizer) a folder of videos.
        episodes: at most so many.
        horizons: frames after the last given one at which values are read.
        steps: denoising steps a frame.
        seed: of the dreams.
        out: a folder for report.html and result.json.
    """
    from armillary.evaluate import present
    from armillary.evaluate.blocks import Group, Movie, Page, Videos
    from armillary.evaluate.page import write_page
    from armillary.evaluate.sheet import difference
    from armillary.presets import to_json
    from armillary.store import check_writable, find_weights, read_json, write_json

    if not data.is_dir():
        raise BadInput(f"--data {data} is no folder.")
    if out is not None:
        check_writable(out)
    family = read_json(find_weights(model, "model") / "config.json").get("family")
    shown: list[Group] = []
    if family == "tokenizer":
        report = _tokenizer(model, data, episodes)
        reports, sections, code = {"reconstruction": report}, [present.tokenizer_section(report)], 0
    else:

        def watch(episode: Any, truth: Any, dream: Any) -> None:
            if len(shown) < 8:
                shown.append(
                    Group(
                        [Movie("truth", truth), Movie("dream", dream), Movie("difference", difference(truth, dream))],
                        episode.id,
                    )
                )

        reports = _world(model, data, episodes, horizons, steps, seed, watch)
        sections = [present.world_section(reports["rollouts"], before=[Videos(shown)])]
        if "control" in reports:
            sections.append(present.control_section(reports["control"]))
        code = int("control" in reports and reports["control"].metrics["verdict"] == "ACTION-BLIND")
    result: dict[str, Any] = {"model": model, "family": family, "data": str(data)}
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
    model: str, data: Path, count: int, horizons: tuple[int, ...], steps: int | None, seed: int, watch: Any
) -> dict[str, Any]:
    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.evaluate.control import evaluate_control, sim_twin
    from armillary.evaluate.reconstruct import reconstructor
    from armillary.evaluate.rollouts import evaluate_world
    from armillary.rollout.dreamer import Dreamer
    from armillary.verbs._judge import as_dream, past_of, replayable

    held = LeRobotDataset(data)
    camera = next(iter(held.cameras))
    kept = [held.episode(i, cameras=(camera,)) for i in range(min(count, len(held)))]
    dreamer = Dreamer(model)
    common: dict[str, Any] = {"past": past_of(dreamer), "size": dreamer.size[0], "camera": camera, "seed": seed}
    options = {} if steps is None else {"steps": steps}
    longest = -(-max(horizons) // dreamer.temporal) * dreamer.temporal
    reports = {
        "rollouts": evaluate_world(
            as_dream(dreamer, longest, **options),
            kept,
            horizons,
            reconstruct=reconstructor(dreamer.tokenizer),
            multiple=dreamer.temporal,
            watch=watch,
            **common,
        )
    }
    if dreamer.world.action_spec is not None:
        length = 16 // dreamer.temporal * dreamer.temporal
        reports["control"] = evaluate_control(
            as_dream(dreamer, length, **options), kept, steps=length, twin=sim_twin if replayable(kept) else None, **common
        )
    return reports
