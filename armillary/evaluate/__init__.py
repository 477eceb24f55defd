"""Measuring: a tokenizer against what went in, a dreamed rollout against what happened, an action against its absence.

`METRICS` holds the measures of one video against another. `evaluate_tokenizer`, `compare_tokenizers`, `evaluate_world`,
`evaluate_long` and `evaluate_control` make a `Report`; `write_page` turns reports into one page that opens from disk. Worlds come in
as plain callables, so that anything that dreams can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from armillary.errors import lookup
from armillary.evaluate import pixels
from armillary.evaluate.blocks import (
    Chart,
    Details,
    Figure,
    Figures,
    Group,
    Images,
    Movie,
    Page,
    Picture,
    Prose,
    Section,
    Series,
    Table,
    Verdicts,
    Videos,
)
from armillary.evaluate.compare import compare_tokenizers
from armillary.evaluate.control import evaluate_control, sim_twin
from armillary.evaluate.long import evaluate_long
from armillary.evaluate.page import write_page
from armillary.evaluate.present import control_section, tokenizer_section, world_section
from armillary.evaluate.present_long import long_section, versus_section
from armillary.evaluate.present_tokenizers import tokenizer_page
from armillary.evaluate.reconstruct import evaluate_tokenizer, reconstructor
from armillary.evaluate.rollouts import evaluate_world
from armillary.evaluate.sheet import difference, make_sheet, save_sheet

__all__ = [
    "METRICS",
    "Chart",
    "Details",
    "Figure",
    "Figures",
    "Group",
    "Images",
    "Metric",
    "Movie",
    "Page",
    "Picture",
    "Prose",
    "Section",
    "Series",
    "Table",
    "Verdicts",
    "Videos",
    "compare_tokenizers",
    "control_section",
    "difference",
    "evaluate_control",
    "evaluate_long",
    "evaluate_tokenizer",
    "evaluate_world",
    "long_section",
    "make_sheet",
    "measure",
    "reconstructor",
    "save_sheet",
    "sim_twin",
    "tokenizer_page",
    "tokenizer_section",
    "versus_section",
    "world_section",
    "write_page",
]


@dataclass(frozen=True)
class Metric:
    """One measure of a guess against the truth.

    Args:
        measure: (truth, guess), both `t h w c` uint8 or float in [0, 1] -> float64 `t`; NaN where it is undefined.
        unit: of its values; `better`: the direction that is, or `one` for a ratio whose best value is 1.
        line: what it says, in a sentence.
    """

    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    unit: str
    better: str
    line: str


METRICS: dict[str, Metric] = {
    "psnr": Metric(pixels.psnr, "dB", "higher", "Peak signal-to-noise ratio over all pixels."),
    "psnr_foreground": Metric(pixels.psnr_foreground, "dB", "higher", "PSNR where the truth differs from its temporal median."),
    "psnr_changed": Metric(pixels.psnr_changed, "dB", "higher", "PSNR where the truth has left its first frame."),
    "ssim": Metric(pixels.ssim, "", "higher", "Structural similarity, 11x11 Gaussian windows."),
    "mae": Metric(pixels.mae, "of range", "lower", "Mean absolute error."),
    "flicker": Metric(
        pixels.flicker, "grey levels", "lower", "Change of the error from frame to frame where the truth stands still."
    ),
    "sharpness": Metric(pixels.sharpness, "", "one", "Root mean square gradient of the guess over the truth's."),
}


def measure(name: str, truth: np.ndarray, guess: np.ndarray) -> float:
    """A metric of `METRICS`, averaged over the frames that define it; NaN when none does.

    Raises:
        BadInput: an unknown metric, or videos that cannot be compared.
    """
    values = lookup(METRICS, name, "metric").measure(truth, guess)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
