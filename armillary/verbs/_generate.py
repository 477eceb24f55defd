"""`armillary generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from armillary.errors import BadInput
from armillary.rollout.placement import Offload, Placement, Precision
from armillary.types import Rollout


def generate(
    world: str = "tabletop",
    /,
    *,
    prompt: str = "",
    image: Path | None = None,
    video: Path | None = None,
    actions: str | None = None,
    path: str | None = None,
    frames: int = 33,
    size: tuple[int, int] | None = None,
    given: int | None = None,
    long: str | None = None,
    seed: int = 0,
    samples: int = 1,
    steps: int | None = None,
    guidance: float = 0.0,
    negative: str = "",
    first: str | None = None,
    best: int = 1,
    critic: str = "critic-tabletop",
    upsample: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[BACKEND]")] = None,
    sampling: tuple[str, ...] = (),
    embeddings: Path | None = None,
    refine: str | None = None,
    adapter: tyro.conf.UseAppendAction[tuple[Path, ...]] = (),
    device: str = "",
    precision: Precision = "float32",
    offload: Offload = "none",
    guard: bool = True,
    out: Path = Path("dream.mp4"),
) -> list[Rollout]:
    """Dream a video from a prompt, an image, a video or actions.

    The guard is asked before and after. Beside the mp4 lies a .json with everything needed to dream it again.

    Example: armillary generate tabletop --image start.png --actions play --frames 33 --seed 7 --out dream.mp4

    Args:
        world: a shipped name (see `armillary info`) or a checkpoint folder.
        prompt: what is to be seen.
        image: a picture to start from.
        video: a video to go on from.
        actions: `play`, `zeros`, or a .npy, .csv or .json file of rows; for worlds that take actions.
        path: where the camera goes, for worlds that follow one (`armillary posttrain camera`): `forward`, `back`, `left`, `right`,
            `stay`, a run of them such as `forward*8 left*4 forward`, or a file of poses (.npy, .json, transforms.json, RealEstate10K .txt).
        frames: length of the whole video, the given frames counted.
        size: height and width in pixels; by default those that the world was trained on, which it knows best.
        given: how many of the video's last frames to keep; as many as fit by default.
        long: instead of --frames, a length beyond what the world was trained on, as `30s` or `300` frames: dreamed chunk after chunk, each
            from the last frames of the one before. How sharpness, colours and movement drift goes into the sidecar, second by second.
        seed: same seed, same bytes.
        samples: how many dreams; the second takes seed + 1 and is written to NAME-2.mp4.
        steps: denoising steps a frame.
        guidance: how strongly to follow the prompt; 0 is off (convention: cond + g (cond - uncond)).
        negative: what is not to be seen.
        first: a world that paints the first frame from the prompt, for a world that only goes on: its name or folder.
        best: dream from words alone up to so many times, and keep what shows the things that the prompt names and no more. With --first it
            is the painted frame that is chosen.
        critic: what judges that; a shipped name or a folder made by `python -m armillary.recipes.critic`.
        upsample: make a long prompt of the short one: `small` (the default one, built in), `template`, `endpoint`, or the folder of a
            language model. The guard is asked about it too, and the sidecar holds it.
        sampling: further name=value settings of the world's own sampler, such as temperature=0.9.
        embeddings: a folder made by `armillary embed` that holds the prompts, so that the text encoder need not be here.
        refine: a diffusion decoder of an autoregressive world's tokens (`armillary train refine-tabletop`), which then draws the pixels.
        adapter: the folder of an adapter of this world, worn while it dreams; may be said several times.
        device: cpu, cuda, cuda:1 or mps; empty for a GPU if there is one.
        precision: of the world; bfloat16 takes half of the memory and gives other bytes.
        offload: parts, to have text encoder, world and tokenizer on the device in turn; blocks, to bring the world's blocks one at a time
            too. `armillary doctor --plan WORLD --gpu GIB` says what fits.
        guard: ask the guard (--no-guard is recorded in the sidecar).
        out: the mp4 to write.
    """
    from armillary import guard as guards
    from armillary import text
    from armillary.rollout.critic import load_critic
    from armillary.rollout.dreamer import Dreamer
    from armillary.rollout.generate import generate as dream
    from armillary.store import check_writable

    if samples < 1:
        raise BadInput(f"--samples is at least 1; got {samples}.")
    check_writable(out.parent)
    if upsample and len(upsample) > 1:
        raise BadInput(f"--upsample takes one upsampler; got {', '.join(upsample)}. Put the world before it.")
    longer = None if upsample is None else text.upsampler(*upsample)
    if longer is not None and not prompt:
        raise BadInput("--upsample wants a --prompt to make longer.")
    judge = None if best == 1 else load_critic(critic)
    gate = guards.default_gate() if guard else guards.Open()
    if not device:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    placement = Placement(device, precision, offload)
    dreamer = Dreamer(world, embeddings=embeddings, refiner=refine, adapters=adapter, placement=placement, size=size)
    painter = None if first is None else Dreamer(first, placement=placement)
    made = []
    for i in range(samples):
        target = out if i == 0 else out.with_stem(f"{out.stem}-{i + 1}")
        made.append(
            dream(
                dreamer,
                prompt,
                image=image,
                video=video,
                actions=actions,
                path=path,
                num_frames=frames if long is None else _length(long, dreamer.fps),
                long=long is not None,
                num_given=given,
                seed=seed + i,
                steps=steps,
                guidance=guidance,
                negative=negative,
                first=painter,
                best=best,
                critic=critic if judge is None else judge,
                upsample=longer,
                sampling=dict(map(_setting, sampling)),
                gate=gate,
                out=target,
            )
        )
    return made


def _length(text: str, fps: float) -> int:
    """Frames of `30s` or `300`."""
    try:
        return round(float(text[:-1]) * fps) if text.endswith("s") else int(text)
    except (ValueError, OverflowError):
        raise BadInput(f"--long wants seconds such as 30s or a number of frames such as 300; got {text!r}.") from None


def _setting(text: str) -> tuple[str, object]:
    name, sep, value = text.partition("=")
    if not sep:
        raise BadInput(f"--sampling wants name=value; got {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
