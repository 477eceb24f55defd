"""`armillary info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def info(name: str = "", /) -> dict[str, Any]:
    """What a checkpoint, a dataset, a video or a shipped name is; with no name, everything that can be named.

    Example: armillary info tabletop

    Args:
        name: a shipped name, a checkpoint folder, the name of a size (`dit-7b`, `predict2-2b-video2world`, `cv8x8x8`), the folder of a
            published tokenizer or world, a LeRobot dataset, a folder of curated clips, a video.
    """
    if not name:
        return _everything()
    path = Path(name)
    if (path / "meta" / "info.json").is_file():
        return _dataset(path)
    if (path / "clips.parquet").is_file():
        return _clips(path)
    if path.is_file() and path.suffix.lower() not in (".pt", ".safetensors", ".jit"):
        from armillary import media
        from armillary.presets import to_json

        facts = to_json(media.probe(path))
        facts.pop("kind", None)
        return {"what": "video", "path": name} | facts
    from armillary.tokenizers.published import is_published
    from armillary.worlds.diffusion.published import is_published_world

    if path.exists() and is_published_world(path):
        return _published_world(path)
    if is_published(path):
        return _published(path)
    return _size(name) or _checkpoint(name)


def _everything() -> dict[str, Any]:
    from armillary.recipes import RECIPES
    from armillary.sims import SIMS
    from armillary.store import read_json, weights_root
    from armillary.tokenizers import TOKENIZERS
    from armillary.worlds import WORLDS
    from armillary.worlds.diffusion.published_member import MEMBERS

    shipped = [
        {
            "name": p.parent.name,
            "family": read_json(p).get("family", "?"),
            "MB": round((p.parent / "model.safetensors").stat().st_size / 1e6, 1),
        }
        for p in sorted(weights_root().glob("*/config.json"))
        if (p.parent / "model.safetensors").is_file()
    ]
    return {
        "shipped weights": shipped,
        "recipes": sorted(RECIPES),
        "world sizes": sorted(WORLDS),
        "published worlds": sorted(MEMBERS),
        "tokenizer sizes": sorted(TOKENIZERS),
        "simulators": sorted(SIMS),
    }


def _size(name: str) -> dict[str, Any] | None:
    """Of a line in a table of sizes, unless weights of that name are shipped."""
    from armillary.presets import to_json
    from armillary.rollout.wanted import wanted
    from armillary.store import weights_root
    from armillary.tokenizers import TOKENIZERS, build
    from armillary.worlds import WORLDS
    from armillary.worlds.diffusion.published_member import MEMBERS

    if Path(name).exists() or (weights_root() / name).is_dir():
        return None
    if name in TOKENIZERS:
        return {
            "what": "tokenizer size",
            "name": name,
            "parameters": _numbers(lambda: build(name)),
            "vocabulary": TOKENIZERS[name].vocab,
            "config": to_json(TOKENIZERS[name]),
        }
    if name not in WORLDS and name not in MEMBERS:
        return None
    held = wanted(name)
    return {
        "what": "world size" if name in WORLDS else "published world",
        "name": name,
        "parameters": _numbers(held.build),
        "trained on": f"{held.frames} frames of {held.size[0]} x {held.size[1]}, tokenizer {held.setting.tokenizer.name}",
        "text encoder": f"{held.setting.text} ({held.setting.text_dim})" if held.setting.text_dim else "none",
        "config": to_json(held.config),
        "memory": f"armillary doctor --plan {name} --gpu GIB",
    }


def _numbers(build: Any) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


def _published_world(path: Path) -> dict[str, Any]:
    from armillary.presets import to_json
    from armillary.worlds.diffusion.published import read_world
    from armillary.worlds.diffusion.published_member import config_of

    held = read_world(path, hashed=False)
    return {
        "what": "published world",
        "path": str(path),
        "world": held.member,
        "layout": held.layout,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "precision": ", ".join(sorted({str(t.dtype).removeprefix("torch.") for t in held.tensors.values()})),
        "files": [name for name, _ in held.files],
        "config": to_json(config_of(held.shape, held.objective)),
        "next": f"armillary convert {path} --out WORLD",
    }


def _checkpoint(name: str) -> dict[str, Any]:
    from armillary.store import find_weights, load_folder

    folder = load_folder(find_weights(name, "checkpoint, dataset or video"))
    return {
        "what": folder.family,
        "path": str(folder.path),
        "sha256": folder.sha256,
        "parameters": sum(t.numel() for t in folder.tensors.values()),
        "tensors": len(folder.tensors),
        **_distilled(folder.config.get("few")),
        "config": dict(folder.config),
        **dict(folder.extra),
    }


def _distilled(few: Any) -> dict[str, Any]:
    from armillary.presets import from_json
    from armillary.worlds.diffusion.few import Few

    return {"distilled": from_json(Few, few).record()} if few else {}


def _published(path: Path) -> dict[str, Any]:
    from armillary.presets import to_json
    from armillary.tokenizers import read_published

    held = read_published(path)
    return {
        "what": "published tokenizer",
        "path": str(path),
        "tokenizer": held.member,
        "parameters": sum(t.numel() for t in held.tensors.values()),
        "source": held.source["files"],
        "statistics": {kind: f"{s.mean.shape[1]} latent frames" for kind, s in held.statistics.items()},
        "config": to_json(held.config),
    }


def _dataset(path: Path) -> dict[str, Any]:
    from armillary.data.lerobot.read import LeRobotDataset
    from armillary.presets import to_json

    data = LeRobotDataset(path)
    return {
        "what": "LeRobot dataset",
        "path": str(path),
        "episodes": len(data),
        "fps": data.fps,
        "cameras": list(data.cameras),
        "tasks": len(data.tasks),
        "actions": to_json(data.spec),
    }


def _clips(path: Path) -> dict[str, Any]:
    from armillary.curate import load_clips

    clips = load_clips(path)
    kept = [c for c in clips if not c.rejected]
    return {
        "what": "curated clips",
        "path": str(path),
        "clips": len(clips),
        "kept": len(kept),
        "kept seconds": round(sum(c.end - c.start for c in kept), 2),
    }
