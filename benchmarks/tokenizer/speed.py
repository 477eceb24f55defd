"""Ours against diffusers' and NVIDIA's code on the same weights: CV8x8x8 at its published width, time and memory.

Peers are found on the path: `diffusers` (any recent one) and `cosmos_tokenizer` (NVIDIA's repository). One that is missing is left out.
Times are CPU seconds on one thread, and seconds by the clock on two, interleaved; memory is that of a fresh process for each decode, above
what it holds once the network is there and has decoded one latent frame.

    PYTHONPATH=PEERS python benchmarks/tokenizer/speed.py --save
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness

SIZE = "cv8x8x8"
CLIPS = ((17, 256), (9, 512))


def ours() -> Any:
    import torch

    from armillary import tokenizers

    torch.manual_seed(0)
    return tokenizers.build(SIZE).eval().requires_grad_(False)


def diffusers_peer(tensors: dict[str, Any] | None) -> Any:
    from diffusers import AutoencoderKLCosmos

    model = AutoencoderKLCosmos(temporal_compression_ratio=8, spatial_compression_ratio=8).eval().requires_grad_(False)
    if tensors is not None:
        model.load_state_dict(tensors)
    return model


def nvidia_peer(tensors: dict[str, Any] | None) -> Any:
    from cosmos_tokenizer.networks.configs import continuous_video  # pyright: ignore[reportMissingImports]
    from cosmos_tokenizer.networks.continuous_video import CausalContinuousVideoTokenizer  # pyright: ignore
    from loguru import logger  # pyright: ignore

    logger.remove()
    settings = continuous_video | {"spatial_compression": 8, "temporal_compression": 8, "patch_size": 4}
    model = CausalContinuousVideoTokenizer(**settings).eval().requires_grad_(False)
    if tensors is not None:
        model.load_state_dict(tensors, strict=False)
    return model


PEERS = {"diffusers": diffusers_peer, "nvidia": nvidia_peer}
CALLS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "ours": (lambda m, video: m.encode(video).values, lambda m, latents: m.decode(latents)),
    "diffusers": (lambda m, video: m.encode(video).latent_dist.mode(), lambda m, latents: m.decode(latents).sample),
    "nvidia": (lambda m, video: m.encode(video)[0], lambda m, latents: m.decode(latents)),
}


def available() -> dict[str, str]:
    """Peers that can be imported, each with its version."""
    found = {}
    for name, module in (("diffusers", "diffusers"), ("nvidia", "cosmos_tokenizer")):
        try:
            found[name] = f"{module} {getattr(__import__(module), '__version__', '')}".strip()
        except ImportError:
            print(f"{module} is not on the path: left out", file=sys.stderr)
    return found


def speed(threads: int, clips: tuple[tuple[int, int], ...], repeats: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(ratios, figures): peers' CPU seconds over ours, and how far results lie apart."""
    import torch

    from armillary.tokenizers.published_keys import to_diffusers, to_published

    torch.set_num_threads(threads)
    model, peers = ours(), available()
    published = to_published(model.state_dict(), model.config)
    weights = {"diffusers": to_diffusers(published, model.config), "nvidia": published}
    ratios: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    with torch.inference_mode():
        for name, version in peers.items():
            peer = PEERS[name](weights[name])
            for frames, size in clips:
                video = torch.rand(1, 3, frames, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
                latents = model.encode(video).values
                for i, (what, given) in enumerate((("encode", video), ("decode", latents))):
                    mine, theirs = CALLS["ours"][i], CALLS[name][i]
                    apart = mine(model, given) - theirs(peer, given).clamp(*((-1, 1) if i else (-1e9, 1e9)))
                    label = f"{what}_vs_{name}_{frames}x{size}" + (f"_{threads}_threads" if threads > 1 else "")
                    figures[f"{label}: largest difference"] = float(apart.abs().max())
                    figures[f"{label}: load"] = round(os.getloadavg()[0], 1)
                    clock = time.perf_counter if threads > 1 else time.process_time
                    runs = functools.partial(mine, model, given), functools.partial(theirs, peer, given)
                    ratios[label] = harness.interleaved(*runs, repeats, clock) | {"peer": version}
                    print(label, round(ratios[label]["median"], 2), file=sys.stderr)
    return ratios, figures


def peak(name: str, frames: int, size: int) -> None:
    """In a process of its own: MB at the peak of decoding, above what was held before."""
    import torch

    torch.set_num_threads(1)
    cells, latents = size // 8, 1 + (frames - 1) // 8
    given = torch.randn(1, 16, latents, cells, cells, generator=torch.Generator().manual_seed(0))
    model = ours() if name == "ours" else PEERS[name](None)
    with torch.inference_mode():
        CALLS[name][1](model, given[:, :, :1])
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        if name == "ours":
            from armillary.tokenizers import Stream

            stream = Stream(model)
            for i in range(latents):
                stream.decode(given[:, :, i : i + 1])  # shown, and let go
        else:
            CALLS[name][1](model, given)
    print(json.dumps({"peak_mb": status("VmHWM") - before, "network_mb": before}))


def status(field: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def memory(peers: dict[str, str], quick: bool) -> dict[str, Any]:
    """Peaks of decoding 128-pixel video of several lengths, a fresh process each."""
    size, width, out = 128, 512, {}
    long = 201 if quick else 1001
    for name, lengths in {"ours": (49, 97, long), **{n: (49, 97) for n in peers}}.items():
        for frames in lengths:
            done = subprocess.run(
                [sys.executable, __file__, "--peak", name, str(frames), str(size)], capture_output=True, text=True, check=True
            )
            out[f"decode {frames}x{size}, {name}"] = json.loads(done.stdout.splitlines()[-1])
            print(name, frames, out[f"decode {frames}x{size}, {name}"], file=sys.stderr)
    peaks = {key: value["peak_mb"] for key, value in out.items()}
    term = {f: 8 * width * (size // 8) ** 2 * (1 + (f - 1) // 8) / 2**20 for f in (49, 97, long)}
    out["attention's history, MB"] = term
    short, whole = (sum(out[f"decode {f}x{size}, ours"].values()) for f in (49, long))
    out[f"whole peak of {long} frames without their history over that of 49"] = (whole - term[long]) / (short - term[49])
    for name in ("ours", *peers):  # ours grows by little, which shows over many frames only
        last = long if name == "ours" else 97
        slope = (peaks[f"decode {last}x{size}, {name}"] - peaks[f"decode 49x{size}, {name}"]) * 48 / (last - 49)
        out[f"MB for 48 more frames, {name}"] = slope
    return out


def main() -> None:
    # The large clip takes most of the time: `--small` leaves it out.
    small = "--small" in sys.argv and not sys.argv.remove("--small")
    options = harness.arguments(__doc__ or "")
    repeats, clips = 2 if options.quick else 5, CLIPS[:1] if options.quick or small else CLIPS
    ratios, figures = speed(1, clips, repeats)
    for found, kept in zip(speed(2, clips, repeats), (ratios, figures)):
        kept.update(found)
    figures["memory"] = memory(available(), options.quick)
    harness.report(__file__, ratios, figures, options, stem="speed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
