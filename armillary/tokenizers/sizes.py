"""Our small sizes: the published architecture with other numbers, for one CPU thread at 64 pixels."""

from __future__ import annotations

from armillary.tokenizers.autoencoder import TokenizerConfig

SMALL: dict[str, TokenizerConfig] = {
    # Each frame alone, for a world that is stepped live.
    "frame-c8": TokenizerConfig(
        temporal=1, video=False, channels=16, patch=4, width=64, mult=(1, 2), blocks=1, decoder_blocks=1, groups=1
    ),
    "frame-d8": TokenizerConfig(
        temporal=1,
        video=False,
        channels=4,
        levels=(8, 5, 5, 5),
        patch=4,
        width=64,
        mult=(1, 2),
        blocks=1,
        decoder_blocks=1,
        groups=1,
    ),
    # Causal video: four frames a latent.
    "video-c4x8x8": TokenizerConfig(
        temporal=4, channels=16, patch=4, width=64, mult=(1, 2), decoder_mult=(1, 2), blocks=1, decoder_blocks=1
    ),
    "video-d4x8x8": TokenizerConfig(
        temporal=4, channels=4, levels=(8, 5, 5, 5), patch=4, width=64, mult=(1, 2), blocks=1, decoder_blocks=1
    ),
}
