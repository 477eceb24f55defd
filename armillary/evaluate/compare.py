"""Tokenizers side by side on the same clips, with what each has to beat: a smaller picture grown again, and H.264 at the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary import media
from armillary.errors import BadInput
from armillary.evaluate.codecs import Coded, bicubic, h264
from armillary.evaluate.eyes import PICTURES, Eyes, distance, named
from armillary.evaluate.reconstruct import MEASURES, perplexity, row_of, there_and_back
from armillary.evaluate.stats import estimate
from armillary.progress import Progress
from armillary.types import Report, Tokens, Video

if TYPE_CHECKING:
    from armillary.features import Features

LATENT_BITS = 16  # a continuous value is counted as stored in half precision
SHOWN_FRAMES, SHOWN_SIDE = 49, 320


@dataclass
class _Tally:
    """What one contender has gathered so far."""

    kind: str
    name: str
    against: str = ""  # the tokenizer whose size it was held to
    parameters: int = 0
    vocab: int = 0
    values: float = 0.0
    bits: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: np.ndarray | None = None
    settings: list[str] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)
    stills: list[np.ndarray] = field(default_factory=list)
    over_budget: int = 0


@dataclass(frozen=True)
class Shown:
    """A clip to look at: frames uint8 `t h w 3` of the truth and of each contender, by name."""

    name: str
    fps: float
    psnr: float
    truth: np.ndarray
    made: Mapping[str, np.ndarray]


def compare_tokenizers(
    tokenizers: Mapping[str, Any],
    clips: Iterable[tuple[str, Video]],
    *,
    features: Features | None = None,
    picture_features: Features | None = None,
    baselines: bool = True,
    worst: int = 4,
    total: int = 0,
    skipped: Sequence[Mapping[str, str]] = (),
) -> tuple[Report, list[Shown]]:
    """Measure tokenizers, and their baselines, on the same clips.

    Sizes and lengths that a tokenizer does not divide are padded with their last row, column and frame and cut back; what is measured is
    the clip alone, what is counted is all that was written.

    Args:
        tokenizers: by the name they are shown under.
        clips: name and video, one at a time; `total` is how many there will be, 0 when unknown, for the progress line.
        features: the extractor of rFVD and, where it sees single frames, of the perceptual distance; `picture_features`: of rFID.
        baselines: bicubic at as many values as the latent has (for a discrete one: 8-bit values that take as many bits), and for discrete
            ones H.264 at as many bits.
        worst: so many clips are kept to look at, those that the first tokenizer loses most of.
        skipped: name and reason of clips that could not be read; looked at once all clips are read.

    Returns:
        A report, and the clips to look at. `metrics["contenders"]` has for each contender `psnr`, `psnr_foreground`, `ssim`, `sharpness`,
        `flicker` (grey levels), `perceptual`, `rfvd`, `rfid` (each a mean with its 95 % interval), `encode_ms` and `decode_ms` a frame,
        `parameters`, `values_per_pixel`, `bits_per_pixel`, `compression`, `codes`, `settings` and its `clips`; a tokenizer also `over`: its
        PSNR less that of each baseline, clip by clip.

    Raises:
        BadInput: no tokenizer, or no clip that could be read.
    """
    if not tokenizers:
        raise BadInput("No tokenizer was given to measure.")
    eyes = Eyes(features, picture_features)
    tallies: dict[str, _Tally] = {}
    shown: list[Shown] = []
    pixels, frames_seen, warm = 0, 0, set[tuple[str, int, int]]()
    number, sizes = 0, set[str]()
    with Progress("tokenizers", total) as bar:
        for name, video in clips:
            truth = video.frames
            pixels += int(np.prod(truth.shape[:3]))
            frames_seen += len(truth)
            sizes.add(f"{truth.shape[2]}x{truth.shape[1]}")
            visible = eyes.large_enough(truth)
            eyes.blind += not visible
            seen = eyes.look(truth) if visible else (None, None)
            eyes.keep(number, *seen)
            made: dict[str, np.ndarray] = {}
            for title, model in tokenizers.items():
                for tally, frames in _contend(title, model, video, tallies, baselines, warm):
                    made[tally.name] = frames
                    tally.rows.append(row_of(name, truth, frames))
                    if visible:
                        _remember(tally, frames, truth, eyes)
            first = tallies[next(iter(tokenizers))].rows[-1]["psnr"]
            shown = _worst([*shown, _shown(name, video, first, made)], worst)
            number += 1
            bar.advance(psnr=f"{first:.1f} dB")
    if not number:
        why = f" The first: {skipped[0]['name']}: {skipped[0]['why']}" if skipped else ""
        raise BadInput(f"No clip could be read; {len(skipped)} were tried.{why}")
    contenders = [_summary(t, eyes, pixels, frames_seen) for t in tallies.values()]
    for row in contenders:
        if row["kind"] == "tokenizer":
            row["over"] = {
                b["name"]: estimate([x["psnr"] - y["psnr"] for x, y in zip(row["clips"], b["clips"])])
                for b in contenders
                if b["for"] == row["name"]
            }
    metrics = {
        "clips": number,
        "frames": frames_seen,
        "sizes": sorted(sizes),
        "features": {"rfvd": named(eyes.clip), "rfid": named(eyes.picture)},
        "timing": _timing(tokenizers),
        "contenders": contenders,
        "skipped": [dict(s) for s in skipped],
    }
    return Report(f"Reconstruction by {', '.join(tokenizers)}", metrics, tuple(_notes(metrics, eyes, tallies))), shown


def _contend(
    title: str, model: Any, video: Video, tallies: dict[str, _Tally], baselines: bool, warm: set[tuple[str, int, int]]
) -> Iterable[tuple[_Tally, np.ndarray]]:
    """A tokenizer's reconstruction of a clip, and then those of what it has to beat."""
    truth = video.frames
    vocab = int(getattr(model, "vocab", 0) or 0)
    if (key := (title, *truth.shape[1:3])) not in warm:  # the first run of a size pays for plans and memory
        there_and_back(model, truth[: 1 + model.config.temporal])
        warm.add(key)
    trip = there_and_back(model, truth)
    own = tallies.setdefault(title, _Tally("tokenizer", title, vocab=vocab, parameters=_parameters(model)))
    ids = trip.coded.ids if isinstance(trip.coded, Tokens) else None
    values = ids.numel() if ids is not None else trip.coded.values.numel()  # type: ignore[union-attr]
    bits = values * math.log2(vocab) if vocab else values * LATENT_BITS
    if ids is not None:
        found = np.bincount(ids.reshape(-1).cpu().numpy(), minlength=vocab)
        own.counts = found if own.counts is None else own.counts + found
    own.values += values
    own.bits += bits
    own.encode_s += trip.encode_s
    own.decode_s += trip.decode_s
    yield own, trip.frames
    if not baselines:
        return
    room = int(bits // 8) if vocab else values
    temporal = model.config.temporal if len(truth) > 1 else 1
    yield _baseline(tallies, "bicubic", f"bicubic for {title}", title, bicubic(truth, room), bits if vocab else None)
    if temporal > 1:
        name = f"bicubic, 1 frame of {temporal}, for {title}"
        yield _baseline(tallies, "bicubic", name, title, bicubic(truth, room, temporal), bits if vocab else None)
    if vocab:
        yield _baseline(tallies, "h264", f"H.264 for {title}", title, h264(truth, video.fps, int(bits)), bits)


def _baseline(
    tallies: dict[str, _Tally], kind: str, name: str, against: str, coded: Coded, budget: float | None
) -> tuple[_Tally, np.ndarray]:
    tally = tallies.setdefault(name, _Tally(kind, name, against))
    tally.values += coded.values
    tally.bits += coded.bits
    tally.settings.append(coded.setting)
    tally.over_budget += budget is not None and coded.bits > budget
    return tally, coded.frames


def _remember(tally: _Tally, frames: np.ndarray, truth: np.ndarray, eyes: Eyes) -> None:
    """What the extractors see of a reconstruction."""
    clip, still = eyes.look(frames)
    if clip is not None:
        tally.clips.append(clip)
    if still is not None:
        tally.stills.append(still)
    tally.rows[-1]["perceptual"] = eyes.apart(truth, frames)


def _summary(tally: _Tally, eyes: Eyes, pixels: int, frames: int) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tally.name, "kind": tally.kind, "for": tally.against}
    for key in (*MEASURES, "perceptual"):
        out[key] = estimate([np.nan if r.get(key) is None else r[key] for r in tally.rows])
    out["rfvd"] = distance(eyes.clips, tally.clips, eyes.clip_of)
    out["rfid"] = distance(eyes.stills, tally.stills, eyes.still_of)
    own = tally.kind == "tokenizer"
    out["encode_ms"] = 1e3 * tally.encode_s / frames if own else None
    out["decode_ms"] = 1e3 * tally.decode_s / frames if own else None
    out["parameters"] = tally.parameters if own else None
    out["values_per_pixel"] = tally.values / pixels if tally.kind != "h264" else None
    out["bits_per_pixel"] = tally.bits / pixels
    out["bits_per_frame"] = tally.bits / frames
    out["compression"] = 24 * pixels / tally.bits
    if tally.counts is not None:
        used = int((tally.counts > 0).sum())
        out["codes"] = {
            "vocab": tally.vocab,
            "used": used,
            "written": int(tally.counts.sum()),
            "perplexity": perplexity(tally.counts),
        }
    out["settings"] = _joined(tally.settings)
    out["over_budget"] = tally.over_budget
    out["clips"] = tally.rows
    return out


def _joined(settings: Sequence[str]) -> str:
    """Settings of all clips in one line: those of an encoder differ in their factor alone."""
    kinds = sorted(set(settings))
    if len(kinds) <= 3:
        return "; ".join(kinds)
    if all(" crf " in k for k in kinds):
        factors = [float(k.split(" crf ")[1].split(",")[0]) for k in settings]
        rest = kinds[0].split(",", 1)[1]
        return f"x264 crf {min(factors):g} to {max(factors):g},{rest}"
    return f"{len(kinds)} settings, e.g. {kinds[0]}, {kinds[-1]}"


def _shown(name: str, video: Video, psnr: float, made: Mapping[str, np.ndarray]) -> Shown:
    def small(frames: np.ndarray) -> np.ndarray:
        frames = frames[:SHOWN_FRAMES]
        h, w = frames.shape[1:3]
        part = SHOWN_SIDE / max(h, w)
        return frames if part >= 1 else media.resize(frames, (max(1, round(h * part)), max(1, round(w * part))))

    return Shown(name, video.fps, psnr, small(video.frames), {k: small(v) for k, v in made.items()})


def _worst(shown: list[Shown], count: int) -> list[Shown]:
    return sorted(shown, key=lambda s: s.psnr)[:count]


def _parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters()) if hasattr(model, "parameters") else 0


def _timing(tokenizers: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    devices = sorted({str(getattr(m, "device", "cpu")) for m in tokenizers.values()})
    return {"device": ", ".join(devices), "threads": torch.get_num_threads()}


def threads(number: int) -> str:
    return f"{number} thread{'s' if number != 1 else ''}"


def _notes(metrics: Mapping[str, Any], eyes: Eyes, tallies: Mapping[str, _Tally]) -> list[str]:
    found = metrics["features"]["rfvd"], metrics["features"]["rfid"]
    notes = [
        "A clip's value is the mean over its frames; figures are means over clips with 95 % intervals (bootstrap over clips). "
        "Foreground: pixels that differ by more than 16 grey levels from their temporal median. Flicker: root mean square change of the "
        "error from one frame to the next where the truth moves by at most 2 grey levels.",
        f"Bits: log2 of the vocabulary a token; {LATENT_BITS} a continuous value; 8 a value of a smaller picture; coded bytes of H.264. "
        "Compression is 24 bits a pixel over these.",
        f"Milliseconds are wall clock a frame on {metrics['timing']['device']}, {threads(metrics['timing']['threads'])}, "
        "after a first run.",
    ]
    if found[0] and found[1]:
        names = [f"{f['name']} ({f['sha256'][:12] or 'untrained'})" for f in found]
        notes.append(
            f"rFVD and perceptual distance by {names[0]}, rFID by {names[1]} on up to {PICTURES} frames a clip; intervals by the "
            "jackknife. Fréchet distances of few clips are too high by what chance adds and compare within this table only."
        )
    if eyes.blind:
        notes.append(f"{eyes.blind} clips are too small for the extractor and enter neither distance.")
    for t in tallies.values():
        if t.over_budget:
            notes.append(f"{t.name}: {t.over_budget} clips took more bits than the tokenizer even at the coarsest setting.")
        if t.counts is not None and t.counts.sum() < 5 * t.vocab:
            notes.append(f"{t.name} wrote {int(t.counts.sum())} codes, too few of {t.vocab} to judge how many are in use.")
    return notes
