"""`armillary tokenize eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.errors import BadInput

Names = tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="DIR|NAME")]]


def tokenize_eval(
    tokenizer: tyro.conf.Positional[str],
    /,
    *,
    data: Path,
    also: Names = (),
    out: Path | None = None,
    layout: str = "",
    clips: int = 100,
    max_frames: int = 49,
    size: int = 0,
    features: str = "small",
    picture_features: str = "",
    baselines: bool = True,
    device: str = "cpu",
    engine: Literal["auto", "plain", "folded", "int8", "compiled"] = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """What a tokenizer keeps of video it was not trained on, beside other tokenizers and beside what it has to beat.

    PSNR, SSIM, flicker, rFVD and rFID with 95 % intervals, milliseconds a frame, bits a pixel, codes in use. Baselines: a picture made
    smaller and grown again at as many latent values, and H.264 at as many bits for a discrete tokenizer.

    Example: armillary tokenize eval video-d4x8x8-tabletop --data held-out --also frame-c8-tabletop --size 64 --out eval-tokenizers

    Args:
        tokenizer: a shipped name or a checkpoint folder.
        data: a folder: a LeRobot dataset, DAVIS (JPEGImages/<resolution>/<clip>/), videos (TokenBench, or any), or pictures (COCO,
            ImageNet).
        also: a further tokenizer, measured on the same clips; may be said several times.
        out: a folder for report.html and result.json.
        layout: lerobot, davis, videos or images, where the folder could be taken for another.
        clips: at most so many, chosen at random by the seed; 0 takes all.
        max_frames: of each clip, from its beginning; 0 takes all.
        size: clips are cropped and resized to a square of so many pixels; 0 keeps their own size.
        features: extractor of rFVD and the perceptual distance: `small` (embedded), or another of one's own weights, as `vgg19=vgg19.pt`.
        picture_features: extractor of rFID; the same when empty, `small` where that one sees clips alone.
        baselines: whether they are measured too.
        device: where the tokenizers and extractors run.
        engine: how the networks are arranged: `int8` for wide ones on CPUs with VNNI, `compiled` for GPUs.
    """
    from armillary import features as extractors
    from armillary import tokenizers
    from armillary.evaluate import footage
    from armillary.evaluate.compare import compare_tokenizers
    from armillary.evaluate.page import write_page
    from armillary.evaluate.present_tokenizers import tokenizer_page
    from armillary.presets import to_json
    from armillary.progress import say
    from armillary.rollout.placement import check_device
    from armillary.store import check_writable, write_json

    for name, value in (("clips", clips), ("max-frames", max_frames), ("size", size)):
        if value < 0:
            raise BadInput(f"--{name} is 0 or a positive number; got {value}.")
    if out is not None:
        check_writable(out)
    check_device(device)
    found = footage.find(data, layout, clips or None, seed)
    models = {name: tokenizers.load(name, device) for name in dict.fromkeys((tokenizer, *also))}
    for model in models.values():
        model.engine = engine
    titles = {Path(n).name: m for n, m in models.items()}
    if len(titles) < len(models):  # two folders of one name are told apart by their paths
        titles = models
    clip_eyes = extractors.load(features, device=device)
    picture_eyes = clip_eyes
    if picture_features or not clip_eyes.weights:  # one that sees whole clips alone has no distance between frames
        picture_eyes = extractors.load(picture_features or "small", device=device)
    skipped: list[dict[str, str]] = []
    report, shown = compare_tokenizers(
        titles,
        footage.read_all(found, size=size or None, max_frames=max_frames or None, skipped=skipped),
        features=clip_eyes,
        picture_features=picture_eyes,
        baselines=baselines,
        total=len(found),
        skipped=skipped,
    )
    for item in skipped:
        say(f"{item['name']} was left out: {item['why']}")
    result: dict[str, Any] = {"data": str(data), **to_json(dict(report.metrics)), "notes": list(report.notes)}
    result["tokenizers"] = {title: {"name": m.name, "sha256": m.sha256} for title, m in titles.items()}
    if out is not None:
        write_page(tokenizer_page(report, shown, data.name or str(data)), out / "report.html")
        write_json(out / "result.json", result)
        result["out"] = str(out / "report.html")
    return result | {"contenders": [_brief(c) for c in report.metrics["contenders"]]}


def _brief(contender: dict[str, Any]) -> dict[str, Any]:
    """A contender without its single clips, each mean beside its interval: `psnr` and `psnr_95`."""
    out: dict[str, Any] = {}
    for key, value in contender.items():
        if key in ("clips", "over", "codes"):
            continue
        if isinstance(value, dict):
            out[key] = value["mean"]
            out[f"{key}_95"] = None if value["mean"] is None else [value["low"], value["high"]]
        else:
            out[key] = value
    if codes := contender.get("codes"):
        out["codes_used"] = codes["used"]
    for name, gain in contender.get("over", {}).items():
        out[f"psnr over {name}"] = gain["mean"]
    return out
