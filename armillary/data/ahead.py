"""Batches made by threads while the step before them runs.

A batch is a function of its step, so working ahead changes nothing but the waiting: whatever thread makes it, and whenever, it is the
same. Decoding and resizing let go of Python's lock, so they go on beside the network.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from armillary.data.base import Dataset
from armillary.types import Batch


class Ahead:
    """The batches of a run, in order.

    Args:
        size, seed, rank, world: as `Dataset.batch` takes them.
        steps: of the run; none is made beyond.
        ahead: how many steps are under way beside the one at hand, each in a thread of its own; 0 makes each batch when it is wanted.

    Attributes:
        waited: seconds spent waiting for batches so far.
    """

    def __init__(self, data: Dataset, size: int, seed: int, rank: int, world: int, steps: int, ahead: int) -> None:
        self.data, self.steps, self.ahead, self.waited = data, steps, ahead, 0.0
        self._given = (size, seed, rank, world)
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="ahead") if ahead else None
        self._coming: dict[int, Future[Batch]] = {}

    def take(self, step: int) -> Batch:
        """The batch of a step, and the beginning of those after it. What went wrong in making it is raised here."""
        began = time.monotonic()
        try:
            if self._pool is None:
                return self.data.batch(step, *self._given)
            for s in range(step, min(step + self.ahead + 1, self.steps)):
                if s not in self._coming:
                    self._coming[s] = self._pool.submit(self.data.batch, s, *self._given)
            return (self._coming.pop(step, None) or self._pool.submit(self.data.batch, step, *self._given)).result()
        finally:
            self.waited += time.monotonic() - began

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
