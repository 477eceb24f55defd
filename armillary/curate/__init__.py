"""Raw video to clips: split at shots, filter, caption, deduplicate. `curate` does it all; the stages can be used one by one."""

from armillary.curate.config import CurateConfig
from armillary.curate.filters import FILTERS
from armillary.curate.pipeline import CurateReport, curate, load_clips, refilter
from armillary.curate.runners import RUNNERS
from armillary.curate.shots import ShotConfig, SmallFrames, Transition, detect
from armillary.curate.sources import find_sources

__all__ = [
    "FILTERS",
    "RUNNERS",
    "CurateConfig",
    "CurateReport",
    "ShotConfig",
    "SmallFrames",
    "Transition",
    "curate",
    "detect",
    "find_sources",
    "load_clips",
    "refilter",
]
