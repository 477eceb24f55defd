"""Data: LeRobot in and out, clips, what a tokenizer says of them, and batches that are a function of (seed, step, rank)."""

from armillary.data.base import Dataset, Encoded, Entry, Split
from armillary.data.clips import ClipsConfig
from armillary.data.driving.dataset import DrivingConfig
from armillary.data.driving.write import VIEWS, write_drive
from armillary.data.episodes import EpisodesConfig
from armillary.data.latents import LatentsConfig, LatentsDataset
from armillary.data.mixture import Mixture, MixtureConfig
from armillary.data.pixels import Pixels
from armillary.data.posed.dataset import PosedConfig
from armillary.data.synthetic import SyntheticConfig

# A dataset is its config; `.build("train" or "held-out")` opens it.
DataConfig = EpisodesConfig | ClipsConfig | PosedConfig | DrivingConfig | LatentsConfig | MixtureConfig | SyntheticConfig
DATASETS: dict[str, type[DataConfig]] = {
    "episodes": EpisodesConfig,
    "clips": ClipsConfig,
    "posed": PosedConfig,
    "driving": DrivingConfig,
    "latents": LatentsConfig,
    "mixture": MixtureConfig,
    "synthetic": SyntheticConfig,
}

__all__ = [
    "DATASETS",
    "VIEWS",
    "ClipsConfig",
    "DataConfig",
    "Dataset",
    "DrivingConfig",
    "Encoded",
    "Entry",
    "EpisodesConfig",
    "LatentsConfig",
    "LatentsDataset",
    "Mixture",
    "MixtureConfig",
    "Pixels",
    "PosedConfig",
    "Split",
    "SyntheticConfig",
    "write_drive",
]
