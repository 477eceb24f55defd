"""One model file, any number of devices: processes, what each holds, and what is done to a model's blocks from outside.

A copy of the loop runs in every process of `torchrun`. `started` joins them, `parallelise` walks `model.blocks`, and nothing in a model
file or in the loop's arithmetic knows how many there are.
"""

from armillary.parallel.apply import average_gradients, parallelise
from armillary.parallel.config import ParallelConfig
from armillary.parallel.mesh import Ranks, started
from armillary.parallel.tensors import local, placed, whole

__all__ = ["ParallelConfig", "Ranks", "average_gradients", "local", "parallelise", "placed", "started", "whole"]
