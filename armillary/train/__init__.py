"""Training: one loop for tokenizers and worlds, that can be stopped anywhere and goes on as if it had not been."""

from armillary.train.config import RunConfig
from armillary.train.loop import TrainResult, train
from armillary.train.meters import METERS
from armillary.train.models import TokenizerRun, WorldRun
from armillary.train.optim import OptimConfig

__all__ = ["METERS", "OptimConfig", "RunConfig", "TokenizerRun", "TrainResult", "WorldRun", "train"]
