"""Writing clips out of a source, exact to the frame: by copying packets where that is possible."""

from armillary.curate.cut.stage import Cut, CutConfig, copyable

__all__ = ["Cut", "CutConfig", "copyable"]
