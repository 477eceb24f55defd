"""Where a generated video comes from: the record beside it, and the check that file and record still belong together.

The record is the sidecar `name.json` of `name.mp4`: sha256 of the raw pixels before encoding and of the file, versions of what made it,
and every verdict of the guard, those of rails that did not run included. It is no signature: whoever can write the file can write the
sidecar. It says what ran, and shows damage and mix-ups. A signature goes into the file itself (`guard/c2pa.py`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary import __version__
from armillary.errors import BadInput, MissingExtra
from armillary.guard.rail import verdicts_json
from armillary.store import read_json, sha256_file, write_json
from armillary.types import Verdict

FORMAT = 1
_PACKAGES = ("numpy", "torch", "av", "onnxruntime")


def sha256_pixels(frames: np.ndarray) -> str:
    """Of uint8 `t h w 3`: shape and bytes, so that the same bytes in another shape differ."""
    frames = np.ascontiguousarray(frames, np.uint8)
    digest = hashlib.sha256(f"uint8 {' '.join(map(str, frames.shape))}\n".encode())
    for frame in frames:
        digest.update(frame.data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of this package, Python and what touches pixels; what is not installed is left out."""
    out = {
        "armillary": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def record(
    frames: np.ndarray, fps: float, verdicts: Sequence[Verdict], guard: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The guard's part of a sidecar, JSON-able.

    Args:
        frames: uint8 `t h w 3` as they are handed to the encoder.
        guard: what `Gate.describe()` or `Open.describe()` says.
    """
    return {
        "format": FORMAT,
        "synthetic": True,
        "pixels": {"sha256": sha256_pixels(frames), "shape": [int(n) for n in frames.shape], "fps": float(fps)},
        "guard": dict(guard or {}),
        "verdicts": verdicts_json(verdicts),
        "versions": versions(),
    }


def sidecar_of(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")


def seal(path: str | Path, sidecar: Mapping[str, Any]) -> Path:
    """Write the sidecar of a finished video file: `sidecar`, whose key `provenance` is a `record`, plus the file's own digest.

    Raises:
        BadInput: no such file, or a sidecar without a record.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist; a sidecar is written after its video.")
    if "provenance" not in sidecar:
        raise BadInput("A sidecar holds the guard's record under the key 'provenance'.")
    provenance = dict(sidecar["provenance"]) | {
        "file": {"name": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
    }
    return write_json(sidecar_of(path), {**sidecar, "provenance": provenance})


def verify(path: str | Path, trust: Path | None = None) -> dict[str, Any]:
    """Compare a video with its sidecar, and read the C2PA manifest in it where there is one; a signed file may have lost its sidecar.

    Args:
        trust: certificates (PEM) that the signer must hang on.

    Returns:
        `{"path", "sidecar", "ok", "checks": [{"name", "ok", "told"}], "verdicts": [...]}` and what the sidecar says of world, prompt and
        seed; `ok` when every check is. `c2pa` is what `c2pa.read` says, None when there is no manifest. A manifest that cannot be read,
        for want of the package too, is a check that fails.

    Raises:
        BadInput: the video or its sidecar is missing, or the sidecar holds no record.
    """
    from armillary.guard import c2pa
    from armillary.media import read_video

    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist.")
    checks: list[dict[str, Any]] = []

    def check(name: str, ok: bool, told: str) -> None:
        checks.append({"name": name, "ok": bool(ok), "told": told})

    signed: dict[str, Any] | None = None
    if c2pa.has_manifest(path):
        try:
            signed = c2pa.read(path, trust)
            check("c2pa", signed["ok"], signed["told"])
        except (BadInput, MissingExtra) as error:
            check("c2pa", False, str(error))
        if not sidecar_of(path).is_file():
            return {
                "path": str(path), "sidecar": "", "ok": all(c["ok"] for c in checks), "checks": checks, "verdicts": [], "c2pa": signed,
            }  # fmt: skip
    elif trust is not None:
        check("c2pa", False, "there is no C2PA manifest in the file")
    sidecar = read_json(sidecar_of(path))
    made = sidecar.get("provenance") if isinstance(sidecar, dict) else None
    if not isinstance(made, dict) or made.get("format") != FORMAT or "file" not in made:
        raise BadInput(f"{sidecar_of(path)} holds no provenance record of format {FORMAT}.")
    if made.get("c2pa") and not checks:
        check("c2pa", False, "the record says that the file was signed; there is no C2PA manifest in it")
    if signed and signed["record"]:
        same = signed["record"].get("pixels", {}).get("sha256") == made["pixels"].get("sha256")
        check("c2pa-record", same, "manifest and record are " + ("of the same pixels" if same else "of different pixels"))
    digest, wanted = sha256_file(path), str(made["file"].get("sha256"))
    check(
        "file",
        digest == wanted,
        "the file is the one that was sealed" if digest == wanted else f"sha256 {digest[:12]}, sealed {wanted[:12]}",
    )
    shape = [int(n) for n in made["pixels"]["shape"]]
    try:
        video = read_video(path)
        t, h, w = video.frames.shape[:3]
        # 4:2:0 has even sizes only, so an odd one grew by a row or column.
        same = t == shape[0] and h in (shape[1], shape[1] + shape[1] % 2) and w in (shape[2], shape[2] + shape[2] % 2)
        check("frames", same, f"{t} frames of {w}x{h}, recorded {shape[0]} of {shape[2]}x{shape[1]}")
        check(
            "rate",
            abs(video.fps - made["pixels"]["fps"]) < 0.05 * max(1.0, made["pixels"]["fps"]) or t < 2,
            f"{video.fps:.3f} frames/s",
        )
    except BadInput as error:
        check("frames", False, str(error))
    listed = made.get("verdicts") or []
    check("guard", bool(listed), f"{len(listed)} verdicts recorded" if listed else "no verdict is recorded")
    refused = [v["rail"] for v in listed if v.get("blocked")]
    check("verdicts", not refused, f"refused by {', '.join(refused)}" if refused else "no rail refused")
    told = {k: sidecar[k] for k in ("world", "prompt", "upsampled", "negative", "seed") if k in sidecar}
    return {
        "path": str(path), "sidecar": str(sidecar_of(path)), "ok": all(c["ok"] for c in checks), "checks": checks, **told,
        "verdicts": listed, "c2pa": signed,
    }  # fmt: skip
