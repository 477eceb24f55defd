"""Consistency of sliding windows: the same frames must come out alike whether or not the clip's beginning was seen.

Published code sends overlapping windows of a clip through and compares them where they overlap. Here one of the two windows is the
whole clip, which is at hand anyway; the other is its latter half, sent through anew with its own first frame as the first.
"""

from __future__ import annotations

from torch import Tensor

from armillary.errors import BadInput
from armillary.tokenizers.objective.sight import Sight


def window(sight: Sight) -> Tensor:
    """L1 between the reconstruction of the latter half of each clip and that of the whole clip there.

    Raises:
        BadInput: clips too short to have a half of 1 + temporal·k frames.
    """
    frames, temporal = sight.true.shape[2], sight.temporal
    start = max(1, round((frames - 1) / temporal / 2)) * temporal
    if frames - start < 1 + temporal:
        raise BadInput(
            f"The window term wants clips of {1 + 2 * temporal} frames or more with a tokenizer of {temporal} frames a latent; "
            f"got {frames}. Set data.frames higher or model.objective.window to 0."
        )
    return (sight.again(sight.true[:, :, start:]) - sight.made[:, :, start:]).abs().mean()
