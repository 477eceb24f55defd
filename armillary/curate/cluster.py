"""The same tasks on a Ray cluster (extra `ray`).

Tasks carry paths: every node must see the sources and the output folder under the same path (a shared file system, or sources behind
addresses). With `gpus` over 0 tasks go to actors that hold that share of a GPU, so that a model is loaded once an actor; otherwise they
are plain remote functions in reused workers. As many are under way as the cluster has room for. A task whose worker or node went away is
given again.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from armillary.curate.tasks import run_task
from armillary.errors import Failed, require

Work = Callable[[Mapping[str, Any]], dict[str, Any]]
GRACE = 10.0  # seconds a task may overrun its own deadline before its worker is ended
NEWS = 4.0  # seconds until a node that went away is known to have
EMPTY = 60.0  # seconds to wait for a node when there is none
NODES = 5  # tries more, where not the task but the node under it went away


def run(
    tasks: Sequence[Mapping[str, Any]],
    *,
    workers: int = 0,
    timeout: float = 0.0,
    retries: int = 1,
    gpus: float = 0.0,
    work: Work = run_task,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Answers in the order in which they come.

    A running connection to a cluster is used as it is (`ray.init(address=…)` before, or `$RAY_ADDRESS`); without one, a local cluster
    is started and ended with the last task.

    Args:
        workers: most tasks under way; 0: as many as the cluster has cores.
        timeout: seconds for one task, after which its worker is ended; 0 for none.
        retries: further tries after a crash or a timeout.
        gpus: share of a GPU a task holds.
        work: what is done with a task.
    """
    ray = require("ray", "the ray runner")
    started = not ray.is_initialized()
    if started:
        _connect(ray, workers)
    try:
        yield from _run(ray, tasks, workers, timeout, retries, _Pool(ray, gpus, work))
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, workers: int) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="error")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ray.init(num_cpus=max(1, workers or cores), include_dashboard=False, log_to_driver=False, logging_level="error")


class _Pool:
    """Where tasks go: remote functions, or with `gpus` actors that are kept and reused."""

    def __init__(self, ray: Any, gpus: float, work: Work) -> None:
        threads = {k: "1" for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        environment = {"env_vars": threads}
        self.ray, self.gpus, self.job = ray, gpus, work
        self.idle: list[Any] = []
        self.using: dict[Any, Any] = {}
        if gpus:
            self.kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, runtime_env=environment)(_Worker)
        else:
            self.function = ray.remote(num_cpus=1, max_retries=0, runtime_env=environment)(work)

    def give(self, task: Mapping[str, Any]) -> Any:
        if not self.gpus:
            return self.function.remote(dict(task))
        actor = self.idle.pop() if self.idle else self.kind.remote(self.job)
        reference = actor.work.remote(dict(task))
        self.using[reference] = actor
        return reference

    def done(self, reference: Any, alive: bool) -> None:
        actor = self.using.pop(reference, None)
        if actor is not None and alive:
            self.idle.append(actor)

    def end(self, reference: Any) -> None:
        """Stop a task at once, whatever it does."""
        actor = self.using.pop(reference, None)
        if actor is not None:
            self.ray.kill(actor)
        else:
            self.ray.cancel(reference, force=True)

    def close(self, under: list[Any]) -> None:
        """End everything; `under`: what is still under way."""
        for actor in [*self.idle, *self.using.values()]:
            self.ray.kill(actor)
        for reference in under if not self.gpus else []:
            self.ray.cancel(reference, force=True)


class _Worker:
    """An actor: one process that keeps what its tasks load."""

    def __init__(self, job: Work) -> None:
        self.job = job

    def work(self, task: Mapping[str, Any]) -> dict[str, Any]:
        return self.job(task)


def _room(ray: Any, workers: int, gpus: float) -> int:
    """How many tasks the nodes hold now; the cluster may have grown or shrunk. A task stays on one node, so nodes are counted apart."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            have = node["Resources"]
            here = int(have.get("CPU", 0))
            room += min(here, int(have.get("GPU", 0) / gpus + 1e-6)) if gpus else here
    return min(room, workers) if workers else room


def _run(
    ray: Any, tasks: Sequence[Mapping[str, Any]], workers: int, timeout: float, retries: int, pool: _Pool
) -> Iterator[tuple[int, dict[str, Any]]]:
    waiting = collections.deque(range(len(tasks)))
    under: dict[Any, tuple[int, float, frozenset[str]]] = {}
    tries: collections.Counter[int] = collections.Counter()
    moves: collections.Counter[int] = collections.Counter()
    ended: set[Any] = set()  # stopped by us for taking too long
    roomy = time.monotonic()
    try:
        while waiting or under:
            if under or _room(ray, workers, pool.gpus):
                roomy = time.monotonic()
            elif time.monotonic() - roomy > EMPTY:
                share = f" and {pool.gpus:g} of a GPU" if pool.gpus else ""
                raise Failed(f"No node of the Ray cluster has a core{share} for curation; {len(waiting)} tasks are left.")
            else:
                time.sleep(0.5)
            while waiting and len(under) < _room(ray, workers, pool.gpus):
                i = waiting.popleft()
                under[pool.give(tasks[i])] = i, time.monotonic(), _alive(ray)
            for reference in ray.wait(list(under), timeout=0.5)[0] if under else ():
                i, _, nodes = under.pop(reference)
                answer, moved = _answer(ray, reference)
                died = answer is None
                moved = died and reference not in ended and (moved or _lost(ray, nodes))
                pool.done(reference, alive=not died)
                if not died:
                    yield i, answer
                elif moved and moves[i] < NODES:
                    moves[i] += 1
                    waiting.append(i)
                else:
                    tries[i] += 1
                    if tries[i] <= retries:
                        waiting.append(i)
                        continue
                    late = reference in ended
                    kind, why = ("timeout", f"not done after {timeout:g} s") if late else ("crash", "the worker died on it")
                    yield i, {"kind": kind, "reason": f"{why}; tried {tries[i]} times"}
            for reference, (_, since, _) in under.items():
                if timeout > 0 and reference not in ended and time.monotonic() - since > timeout + GRACE:
                    ended.add(reference)
                    pool.end(reference)
    finally:
        pool.close(list(under))


def _alive(ray: Any) -> frozenset[str]:
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def _lost(ray: Any, nodes: frozenset[str]) -> bool:
    """Whether one of `nodes` is gone. A worker's end is known before its node's: wait a little for the news."""
    until = time.monotonic() + NEWS
    while nodes <= _alive(ray):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def _answer(ray: Any, reference: Any) -> tuple[Any, bool]:
    """(what a task answered, or None when its worker died; whether it was the node that went away)."""
    gone = (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError, ray.exceptions.RuntimeEnvSetupError)
    try:
        return ray.get(reference), False
    except ray.exceptions.RayTaskError as error:  # the code under the task, not the task: trying again would not help
        return {"kind": "internal", "reason": f"{type(error.cause).__name__}: {error.cause}"}, False
    except ray.exceptions.RayError as error:
        return None, isinstance(error, gone)
