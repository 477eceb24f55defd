"""kill -9 on curation at random moments: a worker (the run must end by itself) and the driver (the same command must go on).

After each the tables and shards must be byte for byte those of a run that was left alone.

    python benchmarks/curation/faults.py FOOTAGE [--times 10] [--seed 0]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def command(footage: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "armillary", "curate", str(footage), "--out", str(out), "--no-report", "--quiet", "--json"]


def state(out: Path) -> dict[str, str]:
    """sha256 of every result file but the clock."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and ".work" not in p.parts and p.name != "timing.json")
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def start(footage: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(footage, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def trial(footage: Path, out: Path, wait: float, who: str) -> dict[str, Any]:
    """One run with one kill after `wait` seconds; `resumed`: whether the command had to be given again."""
    run, killed = start(footage, out), 0
    time.sleep(wait)
    if who == "driver":
        killed = int(run.poll() is None)
        run.send_signal(signal.SIGKILL)
    else:
        for pid in children(run.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed = 1
    code = run.wait()
    if code != 0:
        subprocess.run(command(footage, out), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"who": who, "after_s": round(wait, 2), "killed": killed, "resumed": code != 0}


def figures(footage: Path, times: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run(command(footage, Path(folder) / "out"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took = time.monotonic() - began
        want = state(Path(folder) / "out")
    rows = []
    for k in range(times):
        for who in ("driver", "worker"):
            with tempfile.TemporaryDirectory() as folder:
                row = trial(footage, Path(folder) / "out", rng.uniform(0.05, 0.95) * took, who)
                got = state(Path(folder) / "out")
            row["same"] = got == want
            row["differ"] = sorted(n for n in want.keys() | got.keys() if want.get(n) != got.get(n))[:5]
            rows.append(row)
            print(f"{k} {row}", file=sys.stderr)
    killed = sum(r["killed"] for r in rows)
    return {
        "uninterrupted_s": round(took, 1),
        "kills": killed,
        "files": len(want),
        "same": sum(r["same"] for r in rows),
        "of": len(rows),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = figures(given.footage.resolve(), given.times, given.seed)
    print(json.dumps(found))
    sys.exit(int(found["same"] != found["of"]))


if __name__ == "__main__":
    main()
