"""Who does the work: this process, several, or a Ray cluster. A task is a few minutes of one file (`tasks`), paths and never bytes.

A worker that dies on a task takes only that task with it: it is tried again so often, then it is a row. The answers may come in any
order; what they add up to does not depend on it. No more tasks are under way than there are workers: nothing queues up in memory.
"""

from __future__ import annotations

import collections
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import armillary
from armillary.curate.tasks import READY, run_task

Task = Mapping[str, Any]
Answer = dict[str, Any]  # kind and reason when it failed; cpu: its seconds
GRACE = 5.0  # seconds a worker may overrun its own deadline before it is ended
STARTUP = 180.0  # seconds a worker may take to start


def inline(
    tasks: Sequence[Task], *, workers: int = 1, timeout: float = 0.0, retries: int = 0, gpus: float = 0.0
) -> Iterator[tuple[int, Answer]]:
    """Every task here, in order. A file that kills the process ends the run; what is finished is kept, and the next run goes on."""
    for i, task in enumerate(tasks):
        yield i, run_task(task)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    task: int
    since: float
    ready: bool

    def overdue(self, timeout: float) -> bool:
        spent = time.monotonic() - self.since
        return spent > STARTUP if not self.ready else timeout > 0 and spent > timeout + GRACE


def processes(
    tasks: Sequence[Task],
    *,
    workers: int = 0,
    timeout: float = 0.0,
    retries: int = 1,
    gpus: float = 0.0,
    module: str = "armillary.curate.worker",
) -> Iterator[tuple[int, Answer]]:
    """Every task in one of `workers` processes (0: one per core).

    Args:
        timeout: seconds for one task, after which its worker is killed; 0 for none.
        retries: further tries after a crash or a timeout.
        module: what a worker runs.
    """
    count = max(1, min(workers or _cores(), len(tasks)))
    waiting = collections.deque(range(len(tasks)))
    tries: collections.Counter[int] = collections.Counter()
    idle: list[subprocess.Popen[bytes]] = []
    busy: dict[int, _Worker] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or busy:
                while waiting and len(busy) < count:
                    ready = bool(idle)
                    process = idle.pop() if idle else _start(module)
                    task = waiting.popleft()
                    tries[task] += 1
                    if _give(process, tasks[task]):
                        busy[process.pid] = _Worker(process, task, time.monotonic(), ready)
                        selector.register(_out(process), selectors.EVENT_READ, process.pid)
                    else:
                        waiting.append(task)
                for key, _ in selector.select(timeout=0.5):
                    worker = busy[key.data]
                    line = _out(worker.process).readline()
                    if line.strip() == READY.encode():
                        worker.ready, worker.since = True, time.monotonic()
                        continue
                    del busy[key.data]
                    selector.unregister(key.fileobj)
                    if line.endswith(b"\n"):
                        idle.append(worker.process)
                        yield worker.task, json.loads(line)
                    else:
                        code = worker.process.wait()
                        said = {"kind": "crash", "reason": f"the worker died on it ({_cause(code)})"}
                        yield from _again(worker.task, tries, retries, waiting, said)
                for pid in [p for p, w in busy.items() if w.overdue(timeout)]:
                    worker = busy.pop(pid)
                    selector.unregister(_out(worker.process))
                    _end(worker.process)
                    why = f"not done after {timeout:g} s" if worker.ready else "the worker did not start"
                    said = {"kind": "timeout" if worker.ready else "crash", "reason": why}
                    yield from _again(worker.task, tries, retries, waiting, said)
        finally:
            for process in [*idle, *(w.process for w in busy.values())]:
                _end(process)


def _again(
    task: int, tries: Mapping[int, int], retries: int, waiting: collections.deque[int], said: Answer
) -> Iterator[tuple[int, Answer]]:
    if tries[task] <= retries:
        waiting.append(task)
    else:
        yield task, {**said, "reason": f"{said['reason']}; tried {tries[task]} times"}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(module: str) -> subprocess.Popen[bytes]:
    root = str(Path(armillary.__file__).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    threads = {k: "1" for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
    pipe = subprocess.PIPE
    # unbuffered: a line read ahead would never wake the selector
    return subprocess.Popen([sys.executable, "-m", module], stdin=pipe, stdout=pipe, bufsize=0, env=environment)


def _out(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    return process.stdout


def _give(process: subprocess.Popen[bytes], task: Task) -> bool:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:  # it died while idle: the caller starts another
        return False
    return True


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # what was still to be sent has no reader any more
                continue
    if process.poll() is None:
        process.kill()
    process.wait()


def ray(
    tasks: Sequence[Task], *, workers: int = 0, timeout: float = 0.0, retries: int = 1, gpus: float = 0.0
) -> Iterator[tuple[int, Answer]]:
    """Every task on a Ray cluster; see `cluster`."""
    from armillary.curate.cluster import run

    return run(tasks, workers=workers, timeout=timeout, retries=retries, gpus=gpus)


Runner = Callable[..., Iterator[tuple[int, Answer]]]
RUNNERS: dict[str, Runner] = {"inline": inline, "processes": processes, "ray": ray}
