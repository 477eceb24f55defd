"""Published reconstruction figures of tokenizers, to stand beside measured ones. None of them was measured here.

Source: the Cosmos report (arXiv 2501.03575) and the cards of the released weights. Video: DAVIS at 1080p and TokenBench (500 videos,
first 10 s); rFVD with I3D, rFID with Inception-v3. The report's own repository shows higher figures of another protocol, which are not
mixed in here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Args:
    frames: in a clip, 0 where it is not said; psnr in dB, ssim, distance (rFVD or rFID), each on the first and the second set.
    """

    name: str
    frames: int
    psnr: tuple[float | None, float | None]
    ssim: tuple[float | None, float | None]
    distance: tuple[float | None, float | None]


PROTOCOL = {
    "video": "DAVIS at 1080p, then TokenBench; rFVD with I3D",
    "image": "COCO 2017 validation, then ImageNet-1K validation; rFID with Inception-v3",
}
CONTINUOUS = (
    Published("CogVideoX 4x8x8", 17, (29.29, 32.06), (0.864, 0.909), (19.58, 6.97)),
    Published("Omni 4x8x8", 17, (22.23, 24.48), (0.713, 0.830), (117.66, 35.86)),
    Published("Cosmos 0.1 CV4x8x8", 49, (32.80, 35.45), (0.900, 0.928), (15.93, 6.85)),
    Published("Cosmos 0.1 CV8x8x8", 49, (30.61, 34.44), (0.856, 0.917), (30.16, 11.62)),
    Published("Cosmos 0.1 CV8x16x16", 49, (27.60, 31.61), (0.779, 0.875), (93.82, 43.08)),
    Published("Cosmos Tokenize1 CV4x8x8-360p", 0, (35.85, 38.42), (0.920, None), (10.06, None)),
    Published("Cosmos Tokenize1 CV8x8x8-720p", 121, (31.28, 35.13), (0.868, 0.926), (23.49, 9.82)),
)
DISCRETE = (
    Published("VideoGPT 4x4x4", 0, (28.17, 33.66), (0.850, 0.914), (72.33, 13.85)),
    Published("Omni 4x8x8", 17, (20.02, 25.31), (0.703, 0.827), (188.60, 53.55)),
    Published("Cosmos 0.1 DV4x8x8", 17, (28.81, 31.97), (0.818, 0.888), (37.36, 19.67)),
    Published("Cosmos 0.1 DV8x8x8", 17, (27.51, 30.95), (0.789, 0.873), (100.15, 43.86)),
    Published("Cosmos 0.1 DV8x16x16", 17, (25.09, 28.91), (0.714, 0.829), (241.52, 113.48)),
    Published("Cosmos Tokenize1 DV4x8x8-360p", 0, (32.97, None), (None, None), (None, None)),
    Published("Cosmos Tokenize1 DV8x16x16-720p", 49, (25.49, 29.33), (0.719, 0.838), (259.33, 107.43)),
)
IMAGE = (
    Published("FLUX 8x8, continuous", 1, (24.00, 20.09), (0.682, 0.518), (2.501, 1.229)),
    Published("Cosmos CI8x8", 1, (28.66, 28.83), (0.836, 0.837), (1.760, 0.689)),
    Published("Cosmos CI16x16", 1, (23.63, 23.72), (0.663, 0.655), (3.823, 1.031)),
    Published("LlamaGen 8x8, discrete", 1, (21.99, 19.64), (0.616, 0.498), (4.123, 1.403)),
    Published("LlamaGen 16x16", 1, (19.11, 18.38), (0.491, 0.448), (6.077, 1.657)),
    Published("OpenMAGVIT2 16x16", 1, (19.50, 17.00), (0.502, 0.398), (6.649, 2.701)),
    Published("Cosmos DI8x8", 1, (24.40, 24.48), (0.704, 0.701), (3.710, 1.265)),
    Published("Cosmos DI16x16", 1, (20.45, 20.49), (0.529, 0.518), (7.234, 2.518)),
)
TABLES: dict[str, tuple[str, tuple[Published, ...]]] = {
    "Continuous video": ("video", CONTINUOUS),
    "Discrete video": ("video", DISCRETE),
    "Images": ("image", IMAGE),
}
