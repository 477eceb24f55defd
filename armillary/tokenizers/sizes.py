"""Our small sizes: the published architecture with other numbers, for one CPU thread at 64 pixels."""

from __future__ import annotations

from dataclasses import replace

from armillary.tokenizers.autoencoder import TokenizerConfig

CODES = (8, 5, 5, 5)

# Each frame alone, for a world that is stepped live. All work is done on the latent's own grid: more frames a second learn more than
# finer stages would in the same minutes.
FRAME = TokenizerConfig(
    temporal=1,
    video=False,
    channels=16,
    patch=8,
    patcher="unit-haar",
    width=112,
    mult=(1,),
    blocks=1,
    decoder_blocks=1,
    groups=1,
    attention=False,
    shortcut=True,
)

# Causal video, four frames a latent: the wavelet does all compression of time.
VIDEO = TokenizerConfig(
    temporal=4,
    channels=16,
    patch=4,
    patcher="unit-haar",
    width=48,
    mult=(1, 2),
    blocks=1,
    decoder_blocks=1,
    shortcut=True,
)

SMALL: dict[str, TokenizerConfig] = {
    "frame-c8": FRAME,
    "frame-d8": replace(FRAME, channels=len(CODES), levels=CODES),
    "video-c4x8x8": VIDEO,
    "video-d4x8x8": replace(VIDEO, channels=len(CODES), levels=CODES),
}
