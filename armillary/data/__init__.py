"""Data: LeRobot in and out, clips, what a tokenizer says of them, and batches that are a function of (seed, step, rank)."""

from armillary.data.base import Dataset, Entry, Split
from armillary.data.clips import ClipsConfig
from armillary.data.episodes import EpisodesConfig
from armillary.data.latents import LatentsConfig, LatentsDataset
from armillary.data.pixels import Pixels
from armillary.data.synthetic import SyntheticConfig

# A dataset is its config; `.build("train" or "held-out")` opens it.
DATASETS: dict[str, type[EpisodesConfig | ClipsConfig | LatentsConfig | SyntheticConfig]] = {
    "episodes": EpisodesConfig,
    "clips": ClipsConfig,
    "latents": LatentsConfig,
    "synthetic": SyntheticConfig,
}

__all__ = [
    "DATASETS",
    "ClipsConfig",
    "Dataset",
    "Entry",
    "EpisodesConfig",
    "LatentsConfig",
    "LatentsDataset",
    "Pixels",
    "Split",
    "SyntheticConfig",
]
