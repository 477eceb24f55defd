"""`armillary demo`: the whole chain, end to end, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def demo(
    *,
    out: Path = Path("runs/demo"),
    videos: Path | None = None,
    episodes: int = 36,
    held_out: int = 12,
    effort: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """The whole chain: record, curate, tokenize, train two worlds, guard, generate, evaluate, report.

    Takes about five minutes on two cores and ends in OUT/report.html and OUT/summary.json. Ctrl-C (or worse) at any point: the same
    command goes on where it was, to the same numbers.

    Example: armillary demo --out runs/demo

    Args:
        out: the folder that everything is written to.
        videos: a folder of your own videos to use instead of simulated episodes; there are no actions then, only text and frames.
        episodes: recorded for training.
        held_out: recorded for evaluation only.
        effort: factor on all training steps.
        seed: of everything.
    """
    from armillary.verbs import _demo_report, _demo_stages
    from armillary.verbs._story import Stage, Story

    if videos is not None and not videos.is_dir():
        raise BadInput(f"--videos wants a folder of video files; {videos} is none.")
    if episodes < 12 or held_out < 4:
        raise BadInput(f"The demo wants at least 12 episodes and 4 held out; got {episodes} and {held_out}.")
    if not 0.01 <= effort <= 100:
        raise BadInput(f"--effort is a factor between 0.01 and 100; got {effort}.")
    settings: dict[str, Any] = {
        "videos": str(videos.resolve()) if videos else "",
        "episodes": episodes,
        "held_out": held_out,
        "effort": effort,
        "seed": seed,
    }
    made = _demo_stages
    stages: list[Stage] = []
    if videos is None:
        stages += [
            Stage("record", "record episodes in the simulated tabletop", made.record, 30),
            Stage("film", "join them into raw footage with flaws", made.film, 6),
        ]
    stages += [
        Stage("curate", "curate the raw footage", made.curate, 25 if videos is None else 60),
        Stage("tokenizer-continuous", "continuous tokenizer", made.tokenizer_continuous, 40),
        Stage("tokenizer-discrete", "discrete tokenizer", made.tokenizer_discrete, 45),
        Stage("world-diffusion", "diffusion world", made.world_diffusion, 60),
        Stage("world-autoregressive", "autoregressive world", made.world_autoregressive, 60),
        Stage("guard", "ask the guard, blur a face", made.guard, 12),
        Stage("generate", "generate from a prompt, an image, actions", made.generate, 15),
        Stage("evaluate", "evaluate against the truth", made.evaluate, 35),
        Stage("report", "write the report", _demo_report.write, 5),
    ]
    story = Story(out, settings)
    story.tell(stages)
    return _demo_report.summary(story, stages)
