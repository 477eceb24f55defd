"""`armillary tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armillary.errors import BadInput


def tokenize(
    source: Path,
    /,
    *,
    tokenizer: str = "frame-c8-tabletop",
    out: Path | None = None,
    reconstruction: Path | None = None,
    size: int | None = 64,
    max_frames: int = 257,
) -> dict[str, Any]:
    """A video (or image) to latents or tokens; a .safetensors of them back to a video.

    Example: armillary tokenize clip.mp4 --tokenizer video-d4x8x8-tabletop --out clip.safetensors --reconstruction back.mp4

    Args:
        source: a video, an image, or a .safetensors that this verb wrote.
        tokenizer: a shipped name or a checkpoint folder.
        out: where the latents or tokens go (beside the source by default).
        reconstruction: an mp4 of what the tokenizer makes of them.
        size: frames are cropped to a square of so many pixels; 0 keeps theirs, cropped to what the tokenizer divides.
        max_frames: no more than so many are read.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    from armillary import media, tokenizers
    from armillary.evaluate.pixels import psnr
    from armillary.store import write_bytes
    from armillary.types import Latents, Tokens

    model = tokenizers.load(tokenizer)
    if source.suffix == ".safetensors":
        if reconstruction is None:
            raise BadInput("To decode latents say where the video goes: --reconstruction back.mp4")
        try:
            with safe_open(source, "pt") as f:
                facts = f.metadata() or {}
                tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{source} is not readable: {error}") from error
        if facts.get("tokenizer_sha256") != model.sha256:
            raise BadInput(f"{source} was made by tokenizer {facts.get('tokenizer', '?')!r}; {tokenizer!r} is another.")
        held = Tokens(tensors["ids"], model.vocab) if "ids" in tensors else Latents(tensors["latents"])
        with torch.no_grad():
            frames = media.to_frames(model.decode(held))
        return {"out": str(media.write_video(reconstruction, frames, float(facts.get("fps", 10)))), "frames": len(frames)}

    image = source.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp")
    fps, frames = 1.0, media.read_image(source)[None] if image else None
    if frames is None:
        film = media.read_video(source, max_frames=max_frames)
        fps, frames = film.fps, film.frames
    side = size or 0
    h, w = (side, side) if side else tuple(x // model.spatial * model.spatial for x in frames.shape[1:3])
    if min(h, w) < model.spatial:
        raise BadInput(
            f"{source} is {frames.shape[2]}x{frames.shape[1]}; tokenizer {tokenizer!r} wants at least {model.spatial} pixels a side."
        )
    kept = 1 + (len(frames) - 1) // model.temporal * model.temporal
    frames = media.fit(frames[:kept], (h, w))
    with torch.no_grad():
        made = model.encode(media.to_tensor(frames))
        back = media.to_frames(model.decode(made))
    tensors = {"ids": made.ids} if isinstance(made, Tokens) else {"latents": made.values}
    facts = {"tokenizer": tokenizer, "tokenizer_sha256": model.sha256, "fps": str(fps), "source": source.name}
    out = out or source.with_suffix(".safetensors")
    write_bytes(out, save({k: v.contiguous() for k, v in tensors.items()}, metadata=facts))
    result: dict[str, Any] = {
        "out": str(out),
        "made": "tokens" if "ids" in tensors else "latents",
        "shape": list(next(iter(tensors.values())).shape),
        "frames": len(frames),
        "size": [h, w],
        "psnr": float(psnr(frames, back).mean()),
        "tokenizer": {"name": tokenizer, "sha256": model.sha256},
    }
    if reconstruction is not None:
        result["reconstruction"] = str(media.write_video(reconstruction, back, fps))
    return result
