"""Where one shot ends and another begins: hard cuts, dissolves, fades and wipes, from very small pictures.

Thumbnails (`SmallFrames`) become rows of hand-made numbers (`features`): how far pictures at several distances are apart, whether what lies
between is a blend of them or a patchwork, how contrast and colours change. A small network over time (`network`) says of each frame whether
a shot begins there or a gradual transition is under way, and `detect` reads transitions off that. The network learnt from joins with known
places (`joins`, recipe `armillary.recipes.shots`). `windows` does files of any length. TransNetV2 (`transnet`) is the other back end.
"""

from armillary.curate.shots.detect import ShotConfig, detect
from armillary.curate.shots.types import SMALL, SmallFrames, Transition

__all__ = ["SMALL", "ShotConfig", "SmallFrames", "Transition", "detect"]
