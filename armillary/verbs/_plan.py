"""`armillary doctor --plan`: the memory plan as a verb's answer."""

from __future__ import annotations

from typing import Any

from armillary.errors import BadInput


def memory_plan(
    name: str, gpu: float, frames: int, size: tuple[int, int] | None, steps: int, train: bool, batch: int
) -> dict[str, Any]:
    """See `doctor`.

    Raises:
        BadInput: no such world, a size it cannot dream, or numbers that cannot be.
    """
    from armillary.rollout import memory
    from armillary.rollout.wanted import wanted
    from armillary.worlds import WORLDS
    from armillary.worlds.diffusion.published_member import MEMBERS

    if gpu < 0 or frames < 0 or steps < 0 or batch < 1:
        raise BadInput(
            f"--gpu, --frames and --steps are positive, --batch is at least 1; got {gpu}, {frames}, {steps}, {batch}."
        )
    w = wanted(name, frames, size)
    whose, device = _device(gpu)
    parts, ways = memory.training(w, batch) if train else memory.dreaming(w)
    t, h, wd = w.latents
    result: dict[str, Any] = {
        "world": w.name,
        "plan": "one training step" if train else "dreaming",
        "video": f"{w.frames} frames of {w.size[0]} x {w.size[1]}: {t} latent frames of {h} x {wd}, {w.at_once} at once",
        "device": whose,
        "device GiB": round(device / memory.GIB, 1),
        "parts": [
            {"part": p.name, "weights GiB": _gib(p.weights), "working GiB": _gib(p.working), "of": p.note} for p in parts
        ],
        "ways": [
            {"way": x.name, "GiB": _gib(x.bytes), "fits": "yes" if x.fits(device) else "no", "flags": x.flags} for x in ways
        ],
    }
    if not train:
        if cache := memory.cache_bytes(w):
            result["KV cache GiB"] = _gib(cache)
        result["evaluations"] = evaluations(w, steps)
        if w.tokenizer is None:
            result["not counted"] = f"tokenizer {w.setting.tokenizer.name}, which is not in this package"
    fitting = next((x for x in ways if x.fits(device)), None)
    verb = "armillary train RECIPE --start" if train else "armillary generate"
    said = "WORLD" if name in WORLDS or name in MEMBERS else name  # a size is none that could be run
    if fitting is not None:
        result["next"] = f"{verb} {said} {fitting.flags}".rstrip()
    else:
        least = min(ways, key=lambda x: x.bytes)
        less = "A smaller size or fewer frames take less." if not train else "A smaller size, fewer frames or FSDP take less."
        result["next"] = f"Nothing fits: {least.name} wants {_gib(least.bytes + memory.MARGIN)} GiB. {less}"
    return result


def evaluations(w: Any, steps: int) -> str:
    """How often the network is asked, in words; guidance doubles it."""
    t = w.latents[0]
    if w.setting.tokenizer.vocab:
        return f"{t * w.latents[1] * w.latents[2]} tokens"
    if not hasattr(w.config.network, "patch"):
        return f"{t * (steps or 1)} ({steps or 1} a latent frame)"
    clips = done = 0
    while done < t:
        done += min(max(1, w.config.clip - min(w.config.past, done)), t - done)
        clips += 1
    return f"{clips * (steps or 35)} ({clips} clips of {steps or 35} steps)"


def _device(gpu: float) -> tuple[str, int]:
    import torch

    from armillary.verbs._doctor import memory_gb

    if gpu:
        return "as asked", int(gpu * 2**30)
    if torch.cuda.is_available():
        held = torch.cuda.get_device_properties(0)
        return held.name, held.total_memory
    return "this machine's memory", int(memory_gb() * 2**30)


def _gib(size: int) -> float:
    return round(size / 2**30, 2 if size >= 2**28 else 4)
