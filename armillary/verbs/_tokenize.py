"""`armillary tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def tokenize(
    source: Path,
    /,
    *,
    tokenizer: str = "frame-c8-tabletop",
    out: Path | None = None,
    reconstruction: Path | None = None,
    size: int = 0,
    max_frames: int = 257,
) -> dict[str, Any]:
    """A video (or image) to latents or tokens; a .safetensors of them back to a video.

    A size or length that the tokenizer does not divide is padded with its last row, column and frame, which decoding cuts off again. What
    is transparent in an image lies on black.

    Example: armillary tokenize clip.mp4 --tokenizer video-d4x8x8-tabletop --out clip.safetensors --reconstruction back.mp4

    Args:
        source: a video, an image, or a .safetensors that this verb wrote.
        tokenizer: a shipped name or a checkpoint folder.
        out: where the latents or tokens go (beside the source by default).
        reconstruction: an mp4 of what the tokenizer makes of them.
        size: frames are cropped and resized to a square of so many pixels; 0 keeps their size.
        max_frames: no more than so many are read; 0 reads all.
    """
    from armillary import media, tokenizers

    if size < 0 or max_frames < 0:
        raise BadInput(f"--size and --max-frames are 0 or a positive number; got {size} and {max_frames}.")
    model = tokenizers.load(tokenizer)
    if source.suffix == ".safetensors":
        return _back(source, model, tokenizer, reconstruction)
    said: list[str] = []
    if source.suffix.lower() in PICTURES:
        fps, frames = 1.0, media.read_image(source, behind=0)[None]
        if media.is_transparent(source):
            said.append("What is transparent lies on black.")
    else:
        film = media.read_video(source, max_frames=max_frames or None)
        fps, frames = film.fps, film.frames
    if size:
        frames = media.fit(frames, (size, size))
    return _there(source, frames, fps, model, tokenizer, out, reconstruction, said)


def _there(
    source: Path,
    frames: Any,
    fps: float,
    model: Any,
    name: str,
    out: Path | None,
    reconstruction: Path | None,
    said: list[str],
) -> dict[str, Any]:
    from safetensors.torch import save

    from armillary import media
    from armillary.evaluate.pixels import psnr
    from armillary.evaluate.reconstruct import padded, there_and_back
    from armillary.progress import say
    from armillary.store import write_bytes
    from armillary.types import Tokens

    t, h, w = frames.shape[:3]
    whole = padded(frames[:, :, :, :1], model.temporal, model.spatial).shape
    if whole[:3] != (t, h, w):
        said.append(
            f"{t} frames of {w}x{h} are padded to {whole[0]} of {whole[2]}x{whole[1]}, what this tokenizer divides; decoding cuts back."
        )
    for line in said:
        say(line)
    trip = there_and_back(model, frames)
    made = trip.coded
    tensors = {"ids": made.ids} if isinstance(made, Tokens) else {"latents": made.values}
    facts = {"tokenizer": name, "tokenizer_sha256": model.sha256, "fps": str(fps), "source": source.name}
    facts |= {"frames": str(t), "height": str(h), "width": str(w)}
    out = out or source.with_suffix(".safetensors")
    write_bytes(out, save({k: v.contiguous() for k, v in tensors.items()}, metadata=facts))
    result: dict[str, Any] = {
        "out": str(out),
        "made": "tokens" if "ids" in tensors else "latents",
        "shape": list(next(iter(tensors.values())).shape),
        "frames": t,
        "size": [h, w],
        "psnr": float(psnr(frames, trip.frames).mean()),
        "tokenizer": {"name": name, "sha256": model.sha256},
    }
    if said:
        result["notes"] = said
    if reconstruction is not None:
        result["reconstruction"] = str(media.write_video(reconstruction, trip.frames, fps))
    return result


def _back(source: Path, model: Any, name: str, reconstruction: Path | None) -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError, safe_open

    from armillary import media
    from armillary.types import Latents, Tokens

    if reconstruction is None:
        raise BadInput("To decode latents say where the video goes: --reconstruction back.mp4")
    try:
        with safe_open(source, "pt") as f:
            facts = f.metadata() or {}
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{source} is not readable: {error}") from error
    if facts.get("tokenizer_sha256") != model.sha256:
        raise BadInput(f"{source} was made by tokenizer {facts.get('tokenizer', '?')!r}; {name!r} is another.")
    held = Tokens(tensors["ids"], model.vocab) if "ids" in tensors else Latents(tensors["latents"])
    with torch.no_grad():
        frames = media.to_frames(model.decode(held))
    t, h, w = (int(facts.get(key, full)) for key, full in zip(("frames", "height", "width"), frames.shape))
    frames = frames[:t, :h, :w]
    return {"out": str(media.write_video(reconstruction, frames, float(facts.get("fps", 10)))), "frames": len(frames)}
