"""What no other layout has a place for, beside an episode: a simulator's exact arrays, camera poses, the caption. One safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput
from armillary.types import Camera, Episode


def save_truth(path: Path, episode: Episode) -> Path:
    """Write the arrays of `episode.truth`, its cameras and its facts (id, caption, success)."""
    from safetensors.numpy import save_file

    arrays = {f"truth/{k}": np.ascontiguousarray(v) for k, v in episode.truth.items()}
    for camera in episode.cameras:
        arrays[f"camera/{camera.name}/intrinsics"] = np.ascontiguousarray(camera.intrinsics, np.float64)
        arrays[f"camera/{camera.name}/pose"] = np.ascontiguousarray(camera.pose, np.float64)
    facts = {
        "id": episode.id,
        "caption": episode.caption,
        "success": episode.success,
        "camera_sizes": {c.name: [c.width, c.height] for c in episode.cameras},
        **({"captions": dict(episode.captions)} if episode.captions else {}),
    }
    # One entry: several would be written in an order that differs from run to run.
    save_file(arrays, path, metadata={"armillary": json.dumps(facts)})
    return path


def load_truth(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], list[Camera]]:
    """(truth, facts, cameras); all empty where there is no file.

    Raises:
        BadInput: for a damaged one.
    """
    if not path.is_file():
        return {}, {}, []
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            facts = json.loads((file.metadata() or {}).get("armillary", "{}"))
            arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
        views = [
            Camera(name, int(w), int(h), arrays[f"camera/{name}/intrinsics"], arrays[f"camera/{name}/pose"])
            for name, (w, h) in facts.get("camera_sizes", {}).items()
        ]
    except (SafetensorError, json.JSONDecodeError, KeyError, OSError) as error:
        raise BadInput(f"{path} is damaged: {error}") from error
    return {k.removeprefix("truth/"): v for k, v in arrays.items() if k.startswith("truth/")}, facts, views
