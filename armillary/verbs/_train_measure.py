"""What a tokenizer that was just trained does to video it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.base import Dataset
from armillary.data.mixture import Mixture
from armillary.data.pixels import Pixels
from armillary.train import RunConfig

CLIPS = 24  # of the held-out split, from as many sources as there are
SHOWN = ("psnr", "psnr_foreground", "ssim", "sharpness")


def measure(config: RunConfig, folder: Path, clips: int = CLIPS) -> dict[str, Any]:
    """Reconstruction of held-out windows by the trained tokenizer and, where it went on from one, by that one: also `held-out.json`.

    Args:
        folder: of the finished run. What was measured there before is not measured again.
    """
    from armillary import tokenizers
    from armillary.evaluate.reconstruct import evaluate_tokenizer
    from armillary.progress import say
    from armillary.store import read_json, write_json
    from armillary.train.models import TokenizerRun

    assert isinstance(config.model, TokenizerRun)
    path = folder / "held-out.json"
    if path.is_file():
        return read_json(path)
    videos = dict(windows(config.data.build("held-out"), clips))
    told: dict[str, Any] = {"clips": list(videos)}
    for name, which in (("model", str(folder / "model")), ("start", config.model.start)):
        if which:
            made = evaluate_tokenizer(tokenizers.load(which, config.device), videos, max_frames=None).metrics
            told[name] = {k: made[k]["mean"] for k in SHOWN} | ({"codes": made["codes"]} if "codes" in made else {})
    before = f" ({told['start']['psnr']:.2f} dB before)" if "start" in told else ""
    say(f"On {len(videos)} held-out clips: PSNR {told['model']['psnr']:.2f} dB{before}; {path} says more.")
    write_json(path, told)
    return told


def windows(data: Dataset, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """Named windows, uint8 `t h w 3`: one of each source in turn until there are `most`."""
    members = data.members if isinstance(data, Mixture) else [data]
    queues = []
    for number, member in enumerate(members):
        assert isinstance(member, Pixels)
        name = f"{number}/" if len(members) > 1 else ""
        groups: dict[str, list] = {}
        for entry in member.entries:
            places = max(1, entry.length // (2 * member.frames))
            for start in np.linspace(0, entry.length - member.frames, places).round().astype(int).tolist():
                groups.setdefault(entry.group, []).append((member, name, entry, start))
        queues += list(groups.values())
    done = 0
    for turn in range(max(map(len, queues))):
        for queue in queues:
            if turn >= len(queue) or done == most:
                continue
            member, name, entry, start = queue[turn]
            frames = member.cropped(member.window(entry, start), 0, 0, 0)
            for view, part in enumerate(np.split(frames, member.views)):
                yield f"{name}{entry.key}@{start}" + (f"/{view}" if member.views > 1 else ""), part
            done += 1
