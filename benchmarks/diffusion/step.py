"""One denoising step of the published network, ours against diffusers' `CosmosTransformer3DModel` on the same random weights.

    PYTHONPATH=PEERS python benchmarks/diffusion/step.py --save

Six blocks of width 1024 (125 M parameters, a twenty-fourth of the 7B's work a token), 512 text tokens. Small: latents of 2 x 8 x 8; large:
9 x 32 x 32. Ours is timed as it samples: its weights laid out once and kept (how long that takes is a figure of its own), the text read
once a sample, which is part of `sample`, a whole one of 35 or 4 steps. CPU seconds on one thread, and seconds by the clock on two,
interleaved.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness

SMALL, LARGE = (2, 8), (9, 32)
TEXT, WIDTH, FPS = 512, 1024, 24


def networks() -> tuple[Any, Any, str]:
    """(ours, theirs, its version), the same weights in both: everything random, above all what starts at zero."""
    import diffusers
    import torch
    from diffusers.models.transformers import transformer_cosmos
    from torch.nn.functional import interpolate

    from armillary.worlds.diffusion.dit import DiT, DiTConfig
    from armillary.worlds.diffusion.published_keys import key_map, to_published
    from armillary.worlds.diffusion.published_member import Shape, to_diffusers

    # Theirs calls one function of torchvision.
    if not hasattr(transformer_cosmos, "transforms"):
        nearest = SimpleNamespace(resize=lambda x, size, interpolation: interpolate(x, size, mode=interpolation))
        transformer_cosmos.transforms = SimpleNamespace(  # type: ignore[attr-defined]
            functional=nearest, InterpolationMode=SimpleNamespace(NEAREST="nearest")
        )
    config = DiTConfig(WIDTH, 6, 8, ratios=(2.0, 1.0, 1.0), given=False)
    ours = DiT(config, 16, WIDTH).eval().requires_grad_(False)
    g = torch.Generator().manual_seed(0)
    for key, value in ours.state_dict().items():
        noise = torch.randn(value.shape, generator=g)
        value.copy_(noise / value.shape[-1] ** 0.5 if value.ndim == 2 else 0.25 * noise + ("norm" in key))
    kind = diffusers.CosmosTransformer3DModel
    theirs: Any = kind.from_config(to_diffusers(Shape(config, 16, WIDTH)))
    theirs.eval().requires_grad_(False)
    theirs.load_state_dict(to_published(ours.state_dict(), key_map(config, "diffusers")), strict=True)
    return ours, theirs, f"diffusers {diffusers.__version__}"


def main() -> None:
    import torch

    from armillary.worlds.diffusion.fast import FastDiT
    from armillary.worlds.diffusion.sampler import karras, sample, to_zero

    options = harness.arguments((__doc__ or "").splitlines()[0])
    ours, theirs, version = networks()
    ratios: dict[str, Any] = {}
    figures: dict[str, Any] = {"parameters": sum(p.numel() for p in ours.parameters())}
    context, fps = torch.randn(1, TEXT, WIDTH), torch.tensor([float(FPS)])
    with torch.inference_mode():
        began = time.process_time()
        fast = FastDiT(ours)
        figures["CPU seconds to lay out the weights, once"] = round(time.process_time() - began, 3)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            clock = time.process_time if threads == 1 else time.perf_counter
            for name, (frames, cells), repeats in (("small", SMALL, 9), ("large", LARGE, 3)):
                x, level = torch.randn(1, 16, frames, cells, cells), torch.tensor([0.3])
                padding = torch.zeros(1, 1, cells, cells)
                read = fast.read(context, 1, x)

                def mine(x=x, level=level, read=read):
                    return fast(x, level, read, fps=fps)

                def peer(x=x, level=level, padding=padding):
                    return theirs(x, level, context, fps=FPS, padding_mask=padding, return_dict=False)[0]

                apart = float((mine() - peer()).abs().max() / peer().abs().max())
                label = f"step_{name}_vs_diffusers" + ("" if threads == 1 else "_2_threads")
                figures[f"{label}: largest relative difference"] = apart
                assert apart < 1e-5, f"not the same network: {apart}"
                ratios[label] = harness.interleaved(mine, peer, 2 if options.quick else repeats, clock) | {"peer": version}
                print(label, round(ratios[label]["median"], 2), file=sys.stderr)
            if threads == 1:
                x = torch.randn(1, 16, *(SMALL[0], SMALL[1], SMALL[1]))
                for steps in (35, 4):

                    def whole(ours_: bool, steps=steps, x=x):
                        told = fast.read(context, 1, x) if ours_ else None
                        padding = torch.zeros(1, 1, SMALL[1], SMALL[1])

                        def denoise(y: Any, sigma: Any) -> Any:
                            at = sigma.reshape(1)
                            if ours_:
                                return fast(y, at, told, fps=fps)
                            return theirs(y, at, context, fps=FPS, padding_mask=padding, return_dict=False)[0]

                        return sample(denoise, x, to_zero(karras(steps, 0.02, 80.0)))

                    ratios[f"sample_small_{steps}_steps_vs_diffusers"] = harness.interleaved(
                        lambda: whole(True), lambda: whole(False), 1 if options.quick else 3, clock
                    ) | {"peer": version}
    harness.report(__file__, ratios, figures, options, stem="step")


if __name__ == "__main__":
    main()
