"""What surrounds a run in its process: one writer a folder, signals that end it cleanly, and settings that make it repeatable."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from armillary.errors import BadInput
from armillary.progress import say


class Stop:
    """`asked` turns true at the first SIGINT or SIGTERM; the second does what it always did.

    Only the main thread may set handlers; elsewhere nothing is set and nothing is ever asked.

    Args:
        patient: further signals change nothing. Under torchrun the terminal and the launcher both pass on one Ctrl-C, and the launcher
            kills by itself what does not end within half a minute.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, patient: bool = False) -> None:
        self.asked, self.patient = False, patient
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            also = "" if self.patient else " Once more ends at once."
            say(f"{signal.Signals(number).name}: finishing this step and saving.{also}")
        self.asked = True
        if not self.patient:
            self._restore()

    def _restore(self) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)
        self._before = {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process. The lock goes with the process, however it ends.

    Raises:
        BadInput: another process is training there.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: there is no such lock, and the rest works without
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"Another process is training in {folder}. Wait for it or choose another folder.") from None
        yield


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def arranged(threads: int, device: str) -> Iterator[None]:
    """Threads, deterministic kernels, and a device that is there; everything is put back afterwards.

    Raises:
        BadInput: the device is not there.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise BadInput(f"device wants cpu, cuda, cuda:1 or mps; got {device!r}.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise BadInput(f"This machine has no {kind} device that PyTorch can use; device=cpu would work.")
    filling: Any = torch.utils.deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), filling.fill_uninitialized_memory
    if kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products on CUDA ask for
    torch.set_num_threads(threads or cores())
    # On accelerators some kernels have no deterministic form: there it warns instead of refusing.
    torch.use_deterministic_algorithms(True, warn_only=kind != "cpu")
    filling.fill_uninitialized_memory = False  # it would write every new tensor twice; nothing here reads one unwritten
    torch.cos(torch.zeros(4096))  # the first cosine of a process with several threads may be off by 1e-4 (PyTorch 2.13 on CPU)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        filling.fill_uninitialized_memory = before[2]
