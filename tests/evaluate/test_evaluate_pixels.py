"""PSNR and SSIM against known values, a slow direct reference and SciPy's filter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.evaluate import pixels


def video(seed: int = 0, t: int = 2, h: int = 20, w: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(t, h // 4, w // 4, 3))
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.uint8)


def noisy(frames: np.ndarray, sigma: float = 12.0, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).round().astype(np.uint8)


def test_psnr_of_a_constant_offset_is_known():
    truth = np.full((3, 16, 16, 3), 100, np.uint8)
    for offset in (1, 10, 155):
        assert pixels.psnr(truth, truth + np.uint8(offset)) == pytest.approx(20 * math.log10(255 / offset))


def test_psnr_is_of_each_frame_and_ends_at_the_ceiling():
    truth = video()
    guess = truth.copy()
    guess[1] = noisy(truth)[1]
    values = pixels.psnr(truth, guess)
    assert values[0] == pixels.CEILING and 20 < values[1] < 35


def test_uint8_and_float_agree():
    truth, guess = video(), noisy(video())
    for name in ("psnr", "ssim", "mae", "sharpness", "psnr_foreground", "psnr_changed"):
        measure = getattr(pixels, name)
        np.testing.assert_allclose(measure(truth, guess), measure(truth / 255.0, guess / 255.0), rtol=1e-9)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """One channel, every window by itself, straight from the definition."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11].astype(float), b[y : y + 11, x : x + 11].astype(float)
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq, cov = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum(), (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_is_the_definition():
    truth, guess = video(), noisy(video())
    wanted = [np.mean([slow_ssim(truth[t, ..., c], guess[t, ..., c]) for c in range(3)]) for t in range(len(truth))]
    np.testing.assert_allclose(pixels.ssim(truth, guess), wanted, rtol=1e-9)


def test_ssim_agrees_with_scipy_gaussian():
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy comes with the curate extra")
    a, b = video(t=1, h=40, w=36)[0, ..., 0].astype(float), noisy(video(t=1, h=40, w=36))[0, ..., 0].astype(float)

    def smooth(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    ma, mb = smooth(a), smooth(b)
    va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    wanted = ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()
    one = a[None, ..., None].astype(np.uint8), b[None, ..., None].astype(np.uint8)
    assert pixels.ssim(*one)[0] == pytest.approx(wanted, rel=1e-9)


def test_ssim_of_two_flat_frames_is_the_luminance_term():
    a, b = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 110, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert pixels.ssim(a, b)[0] == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))


def test_masked_psnr_sees_only_its_pixels():
    truth = np.zeros((2, 16, 16, 3), np.uint8)
    guess = truth.copy()
    guess[:, :8] = 50  # wrong above
    guess[0, 8:] = 10  # a little wrong below, in the first frame
    mask = np.zeros((2, 16, 16), bool)
    mask[0, 8:] = True
    values = pixels.masked_psnr(truth, guess, mask)
    assert values[0] == pytest.approx(20 * math.log10(25.5)) and math.isnan(values[1])


def test_a_still_background_hides_a_lost_object_from_psnr_but_not_from_changed_pixels():
    truth = np.full((8, 32, 32, 3), 120, np.uint8)
    for i in range(8):
        truth[i, 10:14, 2 + 3 * i : 6 + 3 * i] = (220, 30, 30)
    copy = np.repeat(truth[:1], 8, axis=0)
    assert pixels.psnr(truth, copy)[4] > pixels.psnr_changed(truth, copy)[4] + 10
    assert pixels.foreground(truth)[:, 0].sum() == 0 and pixels.foreground(truth)[3, 10:14, 11:15].all()


def test_sharpness_falls_when_blurred_and_rises_with_noise():
    truth = video()
    blurred = ((truth.astype(int) + np.roll(truth, 1, 1) + np.roll(truth, 1, 2) + np.roll(truth, -1, 1)) // 4).astype(np.uint8)
    assert (pixels.sharpness(truth, blurred) < 0.9).all() and (pixels.sharpness(truth, noisy(truth)) > 1.02).all()
    assert np.isnan(pixels.sharpness(np.full_like(truth, 9), truth)).all()


@pytest.mark.parametrize(
    "truth, guess, says",
    [
        (video(), video()[:1], "different shapes"),
        (video(), video() / 255.0, "uint8"),
        (video()[0], video()[0], "t h w c"),
        (np.full((1, 16, 16, 3), np.nan), np.zeros((1, 16, 16, 3)), "not finite"),
        (video().astype(int), video().astype(int), "uint8"),
    ],
)
def test_what_cannot_be_compared_is_said(truth, guess, says):
    with pytest.raises(BadInput, match=says):
        pixels.psnr(truth, guess)


def test_ssim_wants_room_for_its_window():
    small = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(BadInput, match="11x11"):
        pixels.ssim(small, small)
