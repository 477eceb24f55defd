"""Progress on standard error: a live bar on a terminal, a plain line now and then elsewhere. Standard output stays clean."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

QUIET = False
_open: list[Progress] = []  # bars that count what is done far below them


def say(message: str) -> None:
    """One line to standard error, unless quiet."""
    if not QUIET:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """`75` -> `1:15`."""
    seconds = max(0, round(seconds))
    return (
        f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        if seconds >= 3600
        else f"{seconds // 60}:{seconds % 60:02d}"
    )


class Progress:
    """A counted job with an estimate of what is left.

    >>> with Progress("train", total=300) as bar:
    ...     bar.advance(loss="0.31")

    On a terminal the line is redrawn in place; otherwise a line is printed at most every `every` seconds, so that logs stay short.
    """

    def __init__(self, title: str, total: int, done: int = 0, every: float = 5.0) -> None:
        self.title, self.total, self.done, self.start_done = title, total, done, done
        self.every = every
        self.began = time.monotonic()
        self.shown = self.began if not sys.stderr.isatty() else 0.0
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._draw(last=True, broken=kind is not None)

    def advance(self, n: int = 1, **facts: Any) -> None:
        self.done += n
        self.facts.update(facts)
        now = time.monotonic()
        if now - self.shown >= (0.1 if sys.stderr.isatty() else self.every):
            self.shown = now
            self._draw()

    def _draw(self, last: bool = False, broken: bool = False) -> None:
        if QUIET:
            return
        spent = time.monotonic() - self.began
        fresh = self.done - self.start_done
        facts = "  ".join(f"{k} {v}" for k, v in self.facts.items())
        if last:
            tail = f"{'stopped' if broken else 'done'} in {clock(spent)}"
        else:
            tail = f"{clock(spent)} gone, {clock(spent / fresh * (self.total - self.done)) if fresh else '?'} left"
        line = f"{self.title:<24} {self.done}/{self.total}  {tail}  {facts}".rstrip()
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[2K" + line + ("\n" if last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def beat(n: int = 1) -> None:
    """Advance the bar that `counted` opened, if there is one: for what does not know who waits for it."""
    if _open:
        _open[-1].advance(n)


@contextlib.contextmanager
def counted(title: str, total: int) -> Iterator[Progress]:
    """A bar that `beat` advances for the length of a block."""
    with Progress(title, total) as bar:
        _open.append(bar)
        try:
            yield bar
        finally:
            _open.pop()


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Iterate with progress."""
    size = total if total is not None else len(items)  # type: ignore[arg-type]
    with Progress(title, size) as bar:
        for item in items:
            yield item
            bar.advance()
