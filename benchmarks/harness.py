"""Ours against a named peer, interleaved in one run, so that a ratio holds when the machine's speed drifts."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: to see that it runs, not to quote")
    parser.add_argument("--save", action="store_true", help="also write the dated result beside the script")
    return parser.parse_args()


def interleaved(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Seconds of `theirs` over `ours`, pair by pair after one warm-up of each: above 1, ours is faster.

    Args:
        clock: CPU time; of work on several threads rather the time that passes.
    """
    ours(), theirs()
    pairs = []
    for turn in range(repeats):
        first, second = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        a, b = _seconds(first, clock), _seconds(second, clock)
        pairs.append((a, b) if turn % 2 == 0 else (b, a))
    ratios = [theirs / ours for ours, theirs in pairs]
    return {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "n": repeats,
        "ours_s": statistics.median(o for o, _ in pairs),
        "theirs_s": statistics.median(t for _, t in pairs),
    }


def _seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began


def report(
    script: str,
    ratios: dict[str, dict[str, Any]],
    figures: dict[str, Any],
    options: argparse.Namespace,
    stem: str = "result",
) -> None:
    """Print the result, and with --save write it beside the script as `<stem>-<date>.json`."""
    root = Path(script).resolve().parent
    commit = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    result = {
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "ratios": ratios,
        "figures": figures,
    }
    if options.save:
        (root / f"{stem}-{result['date']}.json").write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(result))
        return
    for name, ratio in ratios.items():
        print(
            f"{name}: {ratio['median']:.2f}x {ratio['peer']} (min {ratio['min']:.2f}, max {ratio['max']:.2f}, n {ratio['n']})"
        )
    for name, value in figures.items():
        print(f"{name}: {value}")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    sys.exit("This is the shared part; run benchmarks/<area>/run.py.")
