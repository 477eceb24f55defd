"""The filters: each measures every clip and rejects by its own config. A new one is a file here and a line in `FILTERS`."""

from armillary.curate.filters.black import Black, BlackConfig
from armillary.curate.filters.kind import Type, TypeConfig
from armillary.curate.filters.motion import Motion, MotionConfig
from armillary.curate.filters.quality import Quality, QualityConfig
from armillary.curate.filters.text import Text, TextConfig

# In the order they run: the dear one, text, comes last and reads only what the others kept.
FILTERS = {"black": Black, "motion": Motion, "quality": Quality, "type": Type, "text": Text}

__all__ = ["FILTERS", "BlackConfig", "MotionConfig", "QualityConfig", "TextConfig", "TypeConfig"]
