"""Everything curation can be told, in one frozen tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from armillary.curate.analyse import AnalyseConfig
from armillary.curate.caption import CaptionConfig
from armillary.curate.cut import CutConfig
from armillary.curate.dedup import DedupConfig
from armillary.curate.filters import FILTERS
from armillary.curate.filters.black import BlackConfig
from armillary.curate.filters.kind import TypeConfig
from armillary.curate.filters.motion import MotionConfig
from armillary.curate.filters.quality import QualityConfig
from armillary.curate.filters.text import TextConfig
from armillary.curate.shots import ShotConfig
from armillary.curate.split import SplitConfig
from armillary.media import Limits


@dataclass(frozen=True)
class CurateConfig:
    """Args:
    filters: names in `FILTERS`, run in this order; each has its settings in the field of the same name.
    write: whether clips are cut and written, or only measured.
    workers: of the `processes` and `ray` runners; 0 takes one per core.
    timeout: seconds allowed for one task (a few minutes of video). retries: further tries after a crash or a timeout.
    batch: sources taken through all steps together. keep: whether the analysis (some 60 kB a second of video) stays, so that
        filters and splits can be changed without decoding again.
    gpus: share of a GPU that a task asks of the `ray` runner.
    max_error_rate: share of sources that may fail before `CurateReport.ok` is false.
    """

    analyse: AnalyseConfig = field(default_factory=AnalyseConfig)
    shots: ShotConfig = field(default_factory=ShotConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    filters: tuple[str, ...] = tuple(FILTERS)
    black: BlackConfig = field(default_factory=BlackConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    type: TypeConfig = field(default_factory=TypeConfig)
    text: TextConfig = field(default_factory=TextConfig)
    cut: CutConfig = field(default_factory=CutConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    limits: Limits = field(default_factory=Limits)
    write: bool = True
    workers: int = 0
    timeout: float = 3600.0
    retries: int = 1
    batch: int = 256
    keep: bool = True
    gpus: float = 0.0
    max_error_rate: float = 0.5
