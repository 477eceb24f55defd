"""What a tokenizer learns from: its reconstruction, compared with the video.

A term is a function of a `Sight` (reconstruction, video, and what can be asked about them) and a line in `TERMS` with its weight in
`ObjectiveConfig`. Pixels are compared by default; features, motion, sliding windows and a rival are there for later stages of a
training, which are recipes of their own (spec section 2.3).
"""

from armillary.tokenizers.objective.adversary import RivalConfig
from armillary.tokenizers.objective.pixels import psnr, saliency
from armillary.tokenizers.objective.whole import TERMS, ObjectiveConfig, TokenizerObjective

__all__ = ["TERMS", "ObjectiveConfig", "RivalConfig", "TokenizerObjective", "psnr", "saliency"]
