"""Data: LeRobot in and out, clips, what a tokenizer says of them, and batches that are a function of (seed, step, rank)."""

from armillary.data.base import Dataset, Entry, Split
from armillary.data.clips import ClipsConfig
from armillary.data.driving import DrivingConfig
from armillary.data.driving_write import VIEWS, write_drive
from armillary.data.episodes import EpisodesConfig
from armillary.data.latents import LatentsConfig, LatentsDataset
from armillary.data.pixels import Pixels
from armillary.data.posed import PosedConfig
from armillary.data.synthetic import SyntheticConfig

# A dataset is its config; `.build("train" or "held-out")` opens it.
DATASETS: dict[str, type[EpisodesConfig | ClipsConfig | PosedConfig | DrivingConfig | LatentsConfig | SyntheticConfig]] = {
    "episodes": EpisodesConfig,
    "clips": ClipsConfig,
    "posed": PosedConfig,
    "driving": DrivingConfig,
    "latents": LatentsConfig,
    "synthetic": SyntheticConfig,
}

__all__ = [
    "DATASETS",
    "VIEWS",
    "ClipsConfig",
    "Dataset",
    "DrivingConfig",
    "Entry",
    "EpisodesConfig",
    "LatentsConfig",
    "LatentsDataset",
    "Pixels",
    "PosedConfig",
    "Split",
    "SyntheticConfig",
    "write_drive",
]
