"""What 8 bits gain in time and cost in quality against the folded network: CV8x8x8 at its published width, and the tokenizers that ship.

    python benchmarks/tokenizer/engines.py --save

Times are CPU seconds on one thread, interleaved: a clip of 9 x 256 x 256 at the published width, of 17 x 64 x 64 otherwise. Quality of the
shipped ones is measured on episodes of the simulators from seeds that nothing was trained on; the published width has random weights
here, so that only the distance between the two arrangements can be told. Wants a CPU with VNNI.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import harness

SHIPPED = ("frame-c8-tabletop", "video-d4x8x8-tabletop", "video-c4x8x8-mixed", "video-d4x8x8-mixed")
SIMS = ("tabletop", "physics", "rooms", "driving")
SEED = 900_000


def main() -> None:
    options = harness.arguments((__doc__ or "").split("\n")[0])
    import torch

    from armillary import media, sims, tokenizers
    from armillary.evaluate.pixels import psnr

    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratios: dict[str, dict[str, Any]] = {}
    figures: dict[str, Any] = {}

    def pair(make: Any) -> dict[str, Any]:
        """One tokenizer for each arrangement, of the same weights."""
        made = {"folded": make(), "int8": make()}
        for engine, tokenizer in made.items():
            tokenizer.engine = engine
        made["int8"].load_state_dict(made["folded"].state_dict())
        return made

    def timed(name: str, two: dict[str, Any], video: Any, repeats: int) -> None:
        latents = two["folded"].encode(video)
        for what, given in (("encode", video), ("decode", latents)):
            calls = [lambda t=two[e], what=what, given=given: getattr(t, what)(given) for e in ("int8", "folded")]
            taken = harness.interleaved(*calls, repeats=2 if options.quick else repeats)
            ratios[f"int8_{what}_{name}"] = taken | {"peer": "folded"}

    large = pair(lambda: tokenizers.build("cv8x8x8").eval().requires_grad_(False))
    video = torch.rand(1, 3, 9, 256, 256) * 2 - 1
    latents = {engine: t.encode(video).values for engine, t in large.items()}
    pictures = {engine: t.decode(latents["folded"]) for engine, t in large.items()}
    for what, made in (("latents", latents), ("pictures", pictures)):
        off = (made["int8"] - made["folded"]).norm() / made["folded"].norm()
        figures[f"cv8x8x8, random weights: {what} off by (root mean square)"] = float(off)
    timed("cv8x8x8_9x256", large, video, 5)

    count = 1 if options.quick else 4
    clips = []
    for name in SIMS:
        for seed in range(SEED, SEED + count):
            sim = sims.make(name)
            seen = sims.record_episode(sim, seed, "", frames=17, cameras=sim.cameras[:1], size=128).frames
            clips.append(media.to_tensor(media.fit(next(iter(seen.values())), (64, 64))))
    for name in SHIPPED:
        two = pair(lambda name=name: tokenizers.load(name))
        lost, same = [], []
        for clip in clips:
            coded = {engine: t.encode(clip) for engine, t in two.items()}
            quality = {
                engine: float(psnr(media.to_frames(clip), media.to_frames(t.decode(coded[engine]))).mean())
                for engine, t in two.items()
            }
            lost.append(quality["folded"] - quality["int8"])
            if two["folded"].vocab:
                same.append(float((coded["folded"].ids == coded["int8"].ids).float().mean()))
        figures[f"{name}: dB lost, mean and most over {len(clips)} clips"] = [sum(lost) / len(lost), max(lost)]
        if same:
            figures[f"{name}: share of tokens that change"] = 1 - sum(same) / len(same)
        timed(name, two, clips[0], 9)
    harness.report(__file__, ratios, figures, options, stem="engines")


if __name__ == "__main__":
    main()
