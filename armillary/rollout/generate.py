"""`generate`: a prompt, an image, a video or actions in; a guarded, recorded, repeatable video out.

The guard is asked before anything is dreamed and before anything is written: a refused dream leaves no file. Everything needed to dream
it again lies in the sidecar beside the mp4.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary import guard, media, text
from armillary.errors import BadInput, Failed
from armillary.progress import Progress, counted, say
from armillary.rollout.actions import resolve_actions
from armillary.rollout.critic import DEFAULT_CRITIC, Best, Critic, best_of, load_critic
from armillary.rollout.dreamer import Dreamer
from armillary.rollout.drift import drift
from armillary.rollout.long import chunks, dream_long
from armillary.rollout.memory import advice
from armillary.rollout.paths import resolve_path
from armillary.rollout.placement import out_of_memory
from armillary.types import Rollout, Verdict
from armillary.worlds import World
from armillary.worlds.autoregressive.world import AutoregressiveWorld

PROMPT_LIMIT = 2000  # characters; what the encoder cannot take in is said in the sidecar


def generate(
    world: World | str | Path | Dreamer,
    prompt: str = "",
    *,
    image: str | Path | None = None,
    video: str | Path | None = None,
    frames: np.ndarray | None = None,
    actions: np.ndarray | Sequence[Sequence[float]] | str | Path | None = None,
    path: np.ndarray | str | Path | None = None,
    num_frames: int = 33,
    num_given: int | None = None,
    size: tuple[int, int] | None = None,
    long: bool = False,
    seed: int = 0,
    steps: int | None = None,
    guidance: float = 0.0,
    negative: str = "",
    first: World | str | Path | Dreamer | None = None,
    best: int = 1,
    critic: Critic | str | Path = DEFAULT_CRITIC,
    upsample: text.Upsampler | None = None,
    sampling: dict[str, Any] | None = None,
    gate: guard.Gate | guard.Open | None = None,
    out: str | Path | None = None,
) -> Rollout:
    """Dream a video.

    Args:
        world: a loaded world or dreamer, a shipped name, or a checkpoint folder.
        prompt: what is to be seen; may be empty when frames are given.
        image, video, frames: the given start, at most one of them (a path, a path, uint8 `t h w 3`).
        actions: `t a` in the world's own units; a .npy, .csv or .json file of that; `play`, `zeros` or `reverse` of the names in
            `ACTIONS`. Only for worlds with actions; none given means the world imagines them if it can.
        path: where the camera goes, for worlds that follow one: commands such as `forward*8 left*4 forward`, a file, or poses `t 4 4` of
            the last given frame and all further ones (see `paths`).
        num_frames: frames of the whole video, the given ones counted.
        size: height and width in pixels, by default those that the world was trained on; of a dreamer that is given, its own.
        num_given: how many frames of `video` or `frames` to keep, counted from its end; all that fit by default.
        seed: same seed, same machine type, same bytes.
        upsample: makes a longer prompt of `prompt`, which the guard is asked about as well; where none comes the prompt is taken as it is,
            and the sidecar says why.
        first: a world that paints the first frame from the prompt where no frames are given; this one goes on from it. `guidance` and
            `negative` then are for the painter as well.
        best: where no frames are given, of as many dreams (or paintings of `first`) the one whose first frame shows what the prompt names
            and nothing more, as `critic` judges; fewer are made where one is good enough. The sidecar lists them.
        long: go chunk by chunk, and write the drift of the dream into the sidecar.
        steps, guidance, negative, sampling: passed to the sampler; `None` leaves the world's own default.
        gate: the guard; None is the default one, `guard.Open()` none at all (recorded).
        out: the mp4 to write; its sidecar takes the suffix .json.

    Raises:
        BadInput: what was given cannot work. Blocked: the guard refuses. In both cases nothing is written.
        Failed: memory did not suffice; the message says what would fit.
    """
    dreamer = world if isinstance(world, Dreamer) else Dreamer(world, size=size)
    if size is not None and dreamer.size != tuple(size):
        raise BadInput(
            f"This dreamer dreams {dreamer.size[0]} x {dreamer.size[1]} pixels; make it with Dreamer(world, size={size})."
        )
    gate = guard.default_gate() if gate is None else gate
    if out is not None and Path(out).suffix.lower() not in (".mp4", ".mkv", ".mov"):
        raise BadInput(f"The output is a video file such as dream.mp4; got {str(out)!r}.")
    given = _given(dreamer, image, video, frames, num_given, num_frames)
    if not prompt and given is None:
        raise BadInput("Nothing to dream from: give a prompt, an image, a video or frames.")
    if num_frames < 2 or num_frames > 10_000:
        raise BadInput(f"A video has 2 to 10000 frames; got {num_frames}.")
    verdicts: tuple[Verdict, ...] = ()
    if prompt:
        prompt = text.check_prompt(prompt, PROMPT_LIMIT)
        if dreamer.encoder is None:
            raise BadInput(f"World {dreamer.world.name!r} takes no text; give it an image or a video instead.")
    asked = " ".join(filter(None, (prompt, negative)))
    if asked:
        verdicts += gate.check_prompt(asked)
        guard.raise_if_blocked(verdicts)
    read, upsampled = prompt, None
    if prompt and upsample is not None:
        read, upsampled = _upsampled(upsample, prompt, given, dreamer)
        if read != prompt:
            verdicts += gate.check_prompt(" ".join(filter(None, (read, negative))))
            guard.raise_if_blocked(verdicts)

    judge, chosen, painter = _judge(best, critic, read, given), None, None
    if given is None and first is not None:
        painter = first if isinstance(first, Dreamer) else Dreamer(first, placement=dreamer.placement)
        picture, chosen = _drawn(functools.partial(_painted, painter, read, negative, guidance), seed, best, judge, read)
        given = dreamer.fit(picture)
    known = 0 if given is None else len(given)
    further = _further(dreamer, known, num_frames)
    planned = functools.partial(resolve_actions, actions, dreamer.world.action_spec, further)
    plan, how = planned(seed)
    camera = None
    if path is not None:
        if given is None or long:
            raise BadInput("A camera's path goes on from a given image or video, and not in chunks (long).")
        camera = resolve_path(path, dreamer.world, further)
    options: dict[str, Any] = {k: v for k, v in (("steps", steps), ("guidance", guidance or None)) if v is not None} | dict(
        sampling or {}
    )

    def dream(seed: int) -> np.ndarray:
        way = dream_long if long else Dreamer.dream
        with _shown(dreamer, known, further, options) as more:
            more = more if camera is None else {**more, "camera": camera}
            return way(
                dreamer, given, further, prompt=read, negative=negative, actions=planned(seed)[0], seed=seed, **options, **more
            )

    try:
        if painter is None:
            made, chosen = _drawn(dream, seed, best, judge, read)
            plan, how = planned(seed if chosen is None else chosen.seed)
        else:
            made = dream(seed)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise Failed(advice(dreamer.world, dreamer.tokenizer, known + further, dreamer.size, dreamer.placement)) from error
    lasting = {}
    if long:
        plan_of = chunks(dreamer)
        begin = min(len(made), plan_of.new * dreamer.temporal)
        lasting["long"] = {**plan_of._asdict(), "drift": drift(made, dreamer.fps, begin)}
    pixels = made if given is None else np.concatenate([given, made])
    after, pixels = gate.check_frames(pixels, dreamer.fps)
    verdicts += after
    guard.raise_if_blocked(verdicts)

    worn, few = dreamer.world.adapters, getattr(dreamer.world.config, "few", None)
    sidecar = {
        "kind": "generated video",
        "world": {
            "name": dreamer.world.name,
            "sha256": dreamer.world.sha256,
            "family": dreamer.world.family,
            **({"adapters": [{"name": Path(a.name).name, "sha256": a.sha256} for a in worn]} if worn else {}),
            **({"distilled": few.record(steps)} if few is not None else {}),
        },
        "tokenizer": {"name": Path(dreamer.world.tokenizer.name).name, "sha256": dreamer.tokenizer.sha256},
        **({"first": {"name": painter.world.name, "sha256": painter.world.sha256}} if painter else {}),
        **({} if judge is None or chosen is None else {"best": chosen.record(best, judge)}),
        **({"refiner": {"name": dreamer.refiner.name, "sha256": dreamer.refiner.sha256}} if dreamer.refiner else {}),
        "prompt": prompt,
        **({"upsampled": upsampled} if upsampled is not None else {}),
        "negative": negative,
        "given": {
            "frames": known,
            "source": str(image or video or ("array" if frames is not None else "painted" if painter else "")),
        },
        "actions": {"source": how, "values": None if plan is None else plan.astype(np.float32).astype(float).tolist()},
        **(
            {} if camera is None else {"path": {"source": path if isinstance(path, str) else "", "poses": camera.pose.tolist()}}
        ),
        "num_frames": len(pixels),
        "size": list(dreamer.size),
        "fps": dreamer.fps,
        "seed": seed,
        "sampling": options,
        **lasting,
        "ran": {"device": dreamer.placement.device, "precision": dreamer.placement.precision},
        "provenance": guard.record(pixels, dreamer.fps, verdicts, gate.describe()),
    }
    written = ""
    if out is not None:
        written = str(media.write_video(out, pixels, dreamer.fps))
        guard.seal(out, sidecar)
    return Rollout(pixels, dreamer.fps, known, plan, prompt, seed, verdicts, sidecar, written)


@contextlib.contextmanager
def _shown(dreamer: Dreamer, known: int, further: int, sampling: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A bar on standard error that counts noise levels, or tokens, which an autoregressive world must be told to report."""
    latents = -(-further // dreamer.temporal)
    world = getattr(dreamer.world, "world", dreamer.world)  # a post-trained one holds the world that samples
    if isinstance(world, AutoregressiveWorld):
        with Progress("dream", latents * world.cells) as bar:
            yield {"progress": bar.advance}
    else:
        seen = -(-(known - 1) // dreamer.temporal) + 1 if known else 0
        with counted("dream", dreamer.evaluations(seen, latents, sampling)):
            yield {}


def _upsampled(upsample: text.Upsampler, prompt: str, given: np.ndarray | None, dreamer: Dreamer) -> tuple[str, dict[str, str]]:
    """(the prompt that the world reads, its record). An upsampler that fails costs the longer prompt, not the dream."""
    try:
        made = upsample.upsample(prompt, None if given is None else given[-1], dreamer.fits)
    except Failed as error:
        say(f"warning: the prompt is taken as it is. {error}")
        return prompt, {"by": upsample.name, "text": prompt, "error": str(error)}
    return made, {"by": upsample.name, "text": made}


def _given(
    dreamer: Dreamer,
    image: str | Path | None,
    video: str | Path | None,
    frames: np.ndarray | None,
    num_given: int | None,
    num_frames: int,
) -> np.ndarray | None:
    """The start, at the world's size and of a length it can take; None when nothing is given."""
    named = [n for n, x in (("image", image), ("video", video), ("frames", frames)) if x is not None]
    if len(named) > 1:
        raise BadInput(f"Give one start, not {' and '.join(named)}.")
    if image is not None:
        frames = media.read_image(image)[None]
    elif video is not None:
        frames = media.read_video(video).frames
    if frames is None:
        return None
    if not len(frames):
        raise BadInput("The given start has no frames.")
    keep = min(len(frames), num_given or len(frames), num_frames - dreamer.temporal)
    keep = dreamer.usable(keep)
    if keep < 1:
        raise BadInput(f"A video of {num_frames} frames has no room for a given start and {dreamer.temporal} dreamed frames.")
    return dreamer.fit(frames[-keep:])


def _judge(best: int, critic: Critic | str | Path, prompt: str, given: np.ndarray | None) -> Critic | None:
    """Who chooses, if there is a choice. Refuses before anything is dreamed."""
    if best < 1:
        raise BadInput(f"The best of at least 1 dream is taken; got {best}.")
    if best == 1:
        return None
    if given is not None:
        raise BadInput("The best of several is taken where all is dreamed from words; here the start is given.")
    judge = critic if isinstance(critic, Critic) else load_critic(critic)
    judge.asked(prompt)
    return judge


def _drawn(
    draw: Callable[[int], np.ndarray], seed: int, best: int, judge: Critic | None, prompt: str
) -> tuple[np.ndarray, Best | None]:
    """One dream, or the chosen one of several."""
    if judge is None:
        return draw(seed), None
    chosen = best_of(best, draw, judge, prompt, seed)
    number, shapes = (math.exp(x) for x in chosen.agreements[chosen.taken])
    say(f"kept seed {chosen.seed} of {len(chosen.seeds)} looked at: number right with {number:.2f}, shapes with {shapes:.2f}")
    return chosen.frames, chosen


def _painted(painter: Dreamer, prompt: str, negative: str, guidance: float, seed: int) -> np.ndarray:
    """The first frame of what `painter` dreams from words alone, uint8 `1 h w 3`.

    Raises:
        BadInput: it reads no text, or makes no first frame.
    """
    if painter.encoder is None:
        raise BadInput(f"World {painter.world.name!r} takes no text; it cannot paint a first frame.")
    spec = painter.world.action_spec
    none = None if spec is None else np.zeros((0, spec.dim))
    options: dict[str, Any] = {"guidance": guidance} if guidance else {}
    return painter.dream(None, 1, prompt=prompt, negative=negative, actions=none, seed=seed, cut=True, **options)[:1]


def _further(dreamer: Dreamer, known: int, num_frames: int) -> int:
    """How many frames to dream so that the whole is 1 + temporal*k and at least `num_frames` long."""
    step = dreamer.temporal
    whole = 1 + -(-(num_frames - 1) // step) * step
    return whole - known
