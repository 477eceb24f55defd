"""How many parameters every published size has, to the last one."""

from __future__ import annotations

from math import log2

import pytest
import torch

from armillary import tokenizers
from armillary.tokenizers.published_member import PUBLISHED

# Counted by the formula below, from the published description (spec section 2.2) and without this package's network; diffusers' class has
# as many for its three (tests/parity/test_parity_diffusers.py). Published, in millions: ci8x8 77, di8x8 79, cv4x8x8 and dv4x8x8 105, where
# cv4x8x8 was counted with a decoder of three levels. Resamplers that the older repository makes and never runs are not counted.
COUNTS = {
    "ci8x8": 76_789_472,
    "ci16x16": 81_509_088,
    "di8x8": 79_004_342,
    "di16x16": 83_723_958,
    "cv4x8x8": 85_783_232,
    "cv8x8x8": 105_653_696,
    "cv8x16x16": 110_898_624,
    "dv4x8x8": 104_669_558,
    "dv8x8x8": 105_653_366,
    "dv8x16x16": 110_898_294,
    "ci8x8-360p": 81_384_636,
    "ci16x16-360p": 84_334_524,
    "di8x8-360p": 83_599_506,
    "di16x16-360p": 86_549_394,
    "cv4x8x8-360p": 110_208_816,
    "dv4x8x8-360p": 112_619_766,
}


def conv(i, o, taps):
    return i * o * taps + o


def norm(c):
    return 2 * c


def by_hand(video, patch, spatial, temporal, z, latent, decoder):
    """Weights and biases of the published architecture: width 128, mult (2, 4, 4), two blocks a level and three in the decoder."""

    def wide(i, o):
        return conv(i, o, 9) + (conv(o, o, 3) if video else 0)

    def block(i, o):
        return norm(i) + wide(i, o) + norm(o) + wide(o, o) + (conv(i, o, 1) if i != o else 0)

    def change(c, space, time):
        if not video:
            return conv(c, c, 9) * space
        return conv(c, c, 9) * space + conv(c, c, 3) * time + conv(c, c, 1) * (space or time)

    mid = 2 * block(512, 512) + (norm(512) + 4 * conv(512, 512, 1)) * (2 if video else 1)
    bands = 3 * patch ** (3 if video else 2)
    spaces, times = int(log2(spatial // patch)), int(log2(temporal // patch)) if video else 0
    total, c = wide(bands, 128), 128
    for i, width in enumerate((256, 512, 512)):
        total += block(c, width) + block(width, width) + change(width, i < spaces, i < times)
        c = width
    total += mid + norm(512) + wide(512, z) + conv(z, latent, 1) + conv(latent, z, 1) + wide(z, 512) + mid
    c = 512
    for i, width in enumerate(reversed(decoder)):
        total += block(c, width) + 2 * block(width, width)
        last = i == len(decoder) - 1
        # Time doubles one level in; space with it, and at the innermost level where there is more space than time to double.
        time = 0 < i <= times and not last
        space = time or (i < spaces and spaces > times and not last) if video else i < spaces
        total += change(width, space, time)
        c = width
    return total + norm(c) + wide(c, bands)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_every_parameter(name):
    discrete, video = name[0] == "d", name[1] == "v"
    factors = [int(n) for n in name[2:].removesuffix("-360p").split("x")]
    patch = 2 if name.endswith("-360p") else 4
    z = 256 if discrete and (not video or patch == 2) else 16
    decoder = (256, 512) if name == "cv4x8x8" else (256, 512, 512)
    hand = by_hand(video, patch, factors[-1], factors[0] if video else 1, z, 6 if discrete else 16, decoder)
    with torch.device("meta"):
        ours = sum(p.numel() for p in tokenizers.build(name).parameters())
    assert ours == hand == COUNTS[name]
