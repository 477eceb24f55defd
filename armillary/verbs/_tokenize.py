"""`armillary tokenize`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from armillary.errors import BadInput
from armillary.progress import Progress, say

if TYPE_CHECKING:
    from torch import Tensor

    from armillary.tokenizers import Tokenizer
    from armillary.types import Latents, Tokens

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def tokenize(
    source: Path,
    /,
    *,
    tokenizer: str = "frame-c8-tabletop",
    out: Path | None = None,
    reconstruction: Path | None = None,
    size: int = 0,
    max_frames: int = 0,
    tile: int = 0,
    history: int = 0,
    device: str = "cpu",
    engine: Literal["auto", "plain", "folded", "int8", "compiled"] = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> dict[str, Any]:
    """A video (or image) to latents or tokens; a .safetensors of them back to a video. Of any length: frames pass through one by one.

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
        tile: larger frames run in tiles of so many pixels; 0 for whole frames.
        history: latent frames that attention over time looks back on; 0 for all (memory then grows by a little with each).
        device: cpu, cuda, cuda:1 or mps.
        engine: how the network is arranged: `int8` for wide networks on CPUs with VNNI, `compiled` for GPUs; docs/tokenizers.md says more.
        precision: of weights and products; bfloat16 is for GPUs.
    """
    import torch
    from safetensors.torch import save

    from armillary import media, tokenizers
    from armillary.rollout.placement import check_device
    from armillary.store import write_bytes

    if min(size, max_frames, tile, history) < 0:
        raise BadInput(
            f"--size, --max-frames, --tile and --history are 0 or a positive number; got {size}, {max_frames}, {tile} and {history}."
        )
    check_device(device)
    model = tokenizers.load(tokenizer, device)
    model.tile, model.history, model.engine = tile, history, engine
    if precision == "bfloat16":
        model = model.to(torch.bfloat16)
    if source.suffix == ".safetensors":
        return _back(source, model, tokenizer, reconstruction)
    said: list[str] = []
    if source.suffix.lower() in PICTURES:
        fps, total, frames = 1.0, 1, iter([media.read_image(source, behind=0)])
        if media.is_transparent(source):
            said.append("What is transparent lies on black.")
    else:
        info = media.probe(source)
        fps, total = info.fps, math.ceil(info.duration * info.fps)
        frames = (frame for _, frame in media.iter_frames(source))
    if max_frames:
        frames, total = itertools.islice(frames, max_frames), min(total, max_frames)
    if size:
        frames = (media.fit(f[None], (size, size))[0] for f in frames)
    trip = _Trip(model, frames)
    with Progress("tokenize", total) as bar:
        shown = trip.run(bar)
        written = None if reconstruction is None else str(media.write_video(reconstruction, shown, fps))
        for _ in shown:  # nobody looked yet
            pass
    said += trip.notes()
    for line in said:
        say(line)
    t, (h, w) = trip.count, trip.size
    tensors = trip.tensors()
    facts = {"tokenizer": tokenizer, "tokenizer_sha256": model.sha256, "fps": str(fps), "source": source.name}
    facts |= {"frames": str(t), "height": str(h), "width": str(w)}
    out = out or source.with_suffix(".safetensors")
    write_bytes(out, save(tensors, metadata=facts))
    result: dict[str, Any] = {
        "out": str(out),
        "made": "tokens" if "ids" in tensors else "latents",
        "shape": list(next(iter(tensors.values())).shape),
        "frames": t,
        "size": [h, w],
        "psnr": float(np.mean(trip.psnr)),
        "tokenizer": {"name": tokenizer, "sha256": model.sha256},
    }
    if said:
        result["notes"] = said
    if written is not None:
        result["reconstruction"] = written
    return result


class _Trip:
    """Frames there and back, a few at a time. Latents and the quality of every frame are collected on the way."""

    def __init__(self, model: Tokenizer, frames: Iterable[np.ndarray]) -> None:
        self.model, self.frames = model, frames
        self.parts: list[Latents | Tokens] = []
        self.count, self.missing, self.size, self.whole = 0, 0, (0, 0), (0, 0)
        self.psnr: list[float] = []

    def run(self, bar: Progress) -> Iterator[np.ndarray]:
        """What came back, frame by frame."""
        from armillary import media
        from armillary.evaluate.pixels import psnr
        from armillary.evaluate.reconstruct import padded
        from armillary.tokenizers import Stream

        stream, temporal = Stream(self.model), self.model.temporal
        for some in _groups(self.frames, temporal):
            if self.count and some.shape[1:3] != self.size:
                raise BadInput(
                    f"Frames change their size from {self.size} to {some.shape[1:3]}; give --size to bring them to one."
                )
            self.size = some.shape[1:3]
            self.missing = 0 if not self.count else -len(some) % temporal
            held = np.concatenate([some, np.repeat(some[-1:], self.missing, 0)])
            video = padded(held, 1, self.model.spatial)
            self.whole = video.shape[1:3]
            coded = stream.encode(media.to_tensor(video))
            self.parts.append(coded)
            back = media.to_frames(stream.decode(coded).float().cpu())[: len(some), : self.size[0], : self.size[1]]
            self.count += len(some)
            self.psnr += [float(v) for v in psnr(some, back)]
            for frame in back:
                bar.advance()
                yield frame
        if not self.count:
            raise BadInput("There is no frame to encode.")

    def notes(self) -> list[str]:
        """Whether anything was padded, in one sentence."""
        if not self.missing and self.size == self.whole:
            return []
        (h, w), (high, wide) = self.size, self.whole
        return [
            f"{self.count} frames of {w}x{h} are padded to {self.count + self.missing} of {wide}x{high}, what this tokenizer divides; "
            "decoding cuts back."
        ]

    def tensors(self) -> dict[str, Tensor]:
        import torch

        from armillary.types import Tokens

        name, axis = ("ids", 1) if isinstance(self.parts[0], Tokens) else ("latents", 2)
        values = [p.ids if isinstance(p, Tokens) else p.values for p in self.parts]
        return {name: torch.cat(values, axis).cpu().contiguous()}


def _groups(frames: Iterable[np.ndarray], temporal: int) -> Iterator[np.ndarray]:
    """`t h w 3`: the first frame, then some latent frames' worth at a time."""
    frames = iter(frames)
    size = 1
    while group := list(itertools.islice(frames, size)):
        if len({f.shape for f in group}) > 1:
            raise BadInput("Frames change their size on the way; give --size to bring them to one.")
        yield np.stack(group)
        size = temporal * max(1, 8 // temporal)


def _back(source: Path, model: Tokenizer, name: str, reconstruction: Path | None) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    from armillary import media
    from armillary.tokenizers import Stream
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
    values, axis = (held.ids, 1) if isinstance(held, Tokens) else (held.values, 2)
    stream, latents = Stream(model), values.shape[axis]
    t = int(facts.get("frames", model.latents_to_frames(latents)))
    count = 0

    def shown() -> Iterator[np.ndarray]:
        nonlocal count
        with Progress("decode", latents) as bar:
            for i in range(latents):
                for frame in media.to_frames(stream.decode(values.narrow(axis, i, 1)).float().cpu()):
                    if count < t:
                        count += 1
                        yield frame[: int(facts.get("height", len(frame))), : int(facts.get("width", frame.shape[1]))]
                bar.advance()

    written = media.write_video(reconstruction, shown(), float(facts.get("fps", 10)))
    return {"out": str(written), "frames": count}
