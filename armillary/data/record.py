"""Recording a simulator into a LeRobot data set, on all cores, again and again until it is whole."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from armillary import sims
from armillary.data.lerobot.write import LeRobotWriter, write_piece
from armillary.errors import BadInput, Failed, lookup
from armillary.progress import Progress, say
from armillary.store import read_json, write_json

CRF = 15  # 41 dB once averaged down to 64 pixels, 0.8 kB a frame


def record(
    world: str,
    out: str | Path,
    episodes: int,
    *,
    seed: int = 0,
    frames: int = 33,
    policy: str = "",
    cameras: Sequence[str] = (),
    size: int = 128,
    workers: int | None = None,
) -> Path:
    """Record `episodes` episodes of a simulator; episode `i` is drawn from `seed + i`, whoever records it and when.

    Interrupt it at will and call it again: whole episodes are kept and only the missing ones recorded. With more episodes than before,
    a finished data set grows.

    Args:
        world: a name of `sims.SIMS`; policy: of its `policies`; empty: the first.
        out: a new folder, or one begun with the same settings.
        cameras: some of its own; none named: its first.
        size: pixels a side, even.
        workers: processes; all cores when None, and none beside this one when 1.

    Returns:
        the folder, which `LeRobotDataset` opens.

    Raises:
        BadInput: for a name that is in no table, numbers that make no sense, or a folder begun with other settings.
        Failed: when a process died.
    """
    sim = sims.make(world)
    policy = policy or next(iter(sim.policies))
    lookup(sim.policies, policy, "policy")
    cameras = tuple(cameras) or sim.cameras[:1]
    for name in cameras:
        if name not in sim.cameras:
            raise BadInput(f"{world} has no camera {name!r}; it has {', '.join(sim.cameras)}.")
    if episodes < 1 or frames < 1 or seed < 0:
        raise BadInput(
            f"Recording wants episodes and frames of at least 1 and a seed of at least 0; got {episodes}, {frames}, {seed}."
        )
    if size < 16 or size % 2:
        raise BadInput(f"Pictures are of even size, at least 16 pixels; got {size}.")
    if workers is not None and workers < 1:
        raise BadInput(f"workers is at least 1; got {workers}.")
    job = {"world": world, "seed": seed, "frames": frames, "policy": policy, "cameras": list(cameras), "size": size}
    writer = LeRobotWriter(out, sim.fps, sim.spec, cameras, state_names=sim.state_names, robot_type=f"sim_{world}", crf=CRF)
    _same_job(writer.root / "meta" / "recording.json", job)
    missing = [i for i in range(episodes) if not writer.has(i)]
    workers = min(workers or _cores(), max(1, len(missing)))
    # A writer whose block ends by an interrupt still puts the whole episodes into files.
    with writer, Progress(f"record {world}", episodes, done=episodes - len(missing)) as bar:
        for _ in _run(writer, job, missing, workers):
            writer.collect()
            bar.advance()
    say(f"{writer.num_written} episodes ({writer.info['total_frames']} frames) in {writer.root}")
    return writer.root


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _same_job(path: Path, job: dict[str, Any]) -> None:
    if path.is_file():
        was = read_json(path)
        wrong = [f"{k}: {was.get(k)!r} there, {v!r} now" for k, v in job.items() if was.get(k) != v]
        if wrong:
            raise BadInput(f"{path.parent.parent} was recorded with other settings ({'; '.join(wrong)}). Give another folder.")
    write_json(path, job)


def _run(writer: LeRobotWriter, job: dict[str, Any], missing: list[int], workers: int) -> Iterator[int]:
    """Record the missing episodes; yields each index as it is whole."""
    if workers == 1:
        for i in missing:
            yield _record_one(str(writer.root), i, job)
        return
    # Spawned, not forked: a fork would copy threads of whoever imported torch, and other systems have no fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        queue, waiting = iter(missing), set()
        while True:
            while len(waiting) < 2 * workers and (i := next(queue, None)) is not None:
                waiting.add(pool.submit(_record_one, str(writer.root), i, job))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise Failed(
            "A recording process died, most likely for want of memory; try fewer workers. Whole episodes are kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """Workers share the cores as processes; threads inside them would only get in each other's way."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


_SIMS: dict[str, sims.Sim] = {}  # of this process


def _record_one(root: str, index: int, job: dict[str, Any]) -> int:
    if job["world"] not in _SIMS:
        _SIMS[job["world"]] = sims.make(job["world"])
    sim = _SIMS[job["world"]]
    episode = sims.record_episode(sim, job["seed"] + index, job["policy"], job["frames"], job["cameras"], job["size"])
    write_piece(root, index, episode, crf=CRF)
    return index
