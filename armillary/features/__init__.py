"""Frozen networks that say how alike pictures are: for training losses, and for the distances between many pictures or clips.

`FEATURES` lists them, `load` gives one. One ships (`small`); the others are read from weights a user has.
"""

from armillary.features.base import Features, apart, maps_apart
from armillary.features.table import FEATURES, load, untrained

__all__ = ["FEATURES", "Features", "apart", "load", "maps_apart", "untrained"]
