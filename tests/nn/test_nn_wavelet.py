"""The wavelet: nothing lost, causal, and the bands mean what their names say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import BadInput
from armillary.nn import wavelet

PAIRS = {
    "haar": (wavelet.haar, wavelet.unhaar),
    "unit": (wavelet.unit_haar, wavelet.unit_unhaar),
    "shuffle": (wavelet.shuffle, wavelet.unshuffle),
}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=15, deadline=None)
@given(
    patch=st.sampled_from([1, 2, 4, 8]), k=st.integers(0, 2), h=st.integers(1, 3), w=st.integers(1, 3), seed=st.integers(0, 99)
)
def test_patching_and_back_is_the_identity(name, patch, k, h, w, seed):
    there, back = PAIRS[name]
    video = torch.randn(2, 3, 1 + patch * k, patch * h, patch * w, generator=torch.Generator().manual_seed(seed))
    bands = there(video, patch)
    assert bands.shape == (2, 3 * patch**3, 1 + k, h, w)
    torch.testing.assert_close(back(bands, patch), video, rtol=0, atol=2e-6)
    flat = there(video, patch, time=False)
    assert flat.shape == (2, 3 * patch**2, 1 + patch * k, h, w)
    torch.testing.assert_close(back(flat, patch, time=False), video, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_pieces_join_to_the_whole(name):
    there, back = PAIRS[name]
    video = torch.randn(1, 3, 13, 8, 8, generator=torch.Generator().manual_seed(1))
    whole = there(video, 4)
    pieces = [there(video[:, :, :5], 4), there(video[:, :, 5:13], 4, first=False)]
    assert torch.equal(torch.cat(pieces, 2), whole)
    assert torch.equal(torch.cat([back(whole[:, :, :2], 4), back(whole[:, :, 2:], 4, first=False)], 2), back(whole, 4))


def test_a_later_frame_changes_no_earlier_cell():
    video = torch.randn(1, 3, 9, 8, 8, generator=torch.Generator().manual_seed(2))
    changed = video.clone()
    changed[:, :, 5:] += 1.0
    before, after = wavelet.haar(video, 4), wavelet.haar(changed, 4)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.equal(before[:, :, 2], after[:, :, 2])


def test_the_lowest_band_is_the_mean_and_a_step_in_time_lies_in_the_time_band():
    video = torch.rand(1, 3, 5, 8, 8, generator=torch.Generator().manual_seed(3))
    bands = wavelet.haar(video, 4)
    torch.testing.assert_close(bands[0, :3, 1], video[0, :, 1:].unflatten(2, (2, 4)).unflatten(4, (2, 4)).mean((1, 3, 5)))
    step = torch.zeros(1, 1, 3, 2, 2)
    step[:, :, 2] = 1.0  # frames 1 and 2 of the second cell differ
    level = wavelet.haar(step, 2)[0, :, 1, 0, 0]
    assert level.nonzero().flatten().tolist() == [0, 4], "LLL and HLL"


@pytest.mark.parametrize("time", [True, False])
def test_the_unit_wavelet_keeps_lengths_and_angles(time):
    cells = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(4))
    bands = wavelet.unit_haar(cells, 4, time, first=False)
    torch.testing.assert_close(
        bands.flatten(1) @ bands.flatten(1).T, cells.flatten(1) @ cells.flatten(1).T, rtol=1e-4, atol=1e-3
    )


def test_a_patch_is_a_power_of_two():
    with pytest.raises(BadInput, match="power of two"):
        wavelet.haar(torch.zeros(1, 3, 1, 6, 6), 3)
