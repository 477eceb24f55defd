"""Stages in a row, each done once: what `armillary demo` is made of.

A stage leaves `stages/NAME.json` when it is whole; the file names what it depended on, so that the same command after a kill goes on
with the first stage that is not there, and another setting starts afresh. Whatever a stage counts is a function of the settings alone;
only seconds differ between an interrupted and an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armillary.errors import BadInput
from armillary.presets import to_json
from armillary.progress import clock, say
from armillary.store import check_writable, read_json, write_json


@dataclass(frozen=True)
class Stage:
    """One step of a story.

    Args:
        name: of its result file; `title`: for readers.
        run: takes the story, returns JSON-able results; what it writes lies below `story.out`.
        share: roughly how many seconds it takes on two laptop cores, for the estimate of what is left.
    """

    name: str
    title: str
    run: Callable[[Story], Mapping[str, Any]]
    share: float


@dataclass
class Story:
    """A run of stages in a folder.

    Args:
        settings: everything the results depend on.
        results: by stage name, filled as the stages end.
        seconds: by stage name.
    """

    out: Path
    settings: Mapping[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)

    def tell(self, stages: Sequence[Stage]) -> None:
        """Run what is not done yet.

        Raises:
            BadInput: the folder cannot be written, or holds another story.
        """
        check_writable(self.out)
        key = hashlib.sha256(json.dumps(to_json(self.settings), sort_keys=True).encode()).hexdigest()
        self._claim(key)
        pace, left = 1.0, sum(s.share for s in stages)
        spent = expected = 0.0
        for number, stage in enumerate(stages, 1):
            path = self.out / "stages" / f"{stage.name}.json"
            left -= stage.share
            head = f"[{number}/{len(stages)}] {stage.title}"
            if path.is_file() and (done := read_json(path)).get("key") == key:
                say(f"{head}: already done ({clock(done['seconds'])})")
            else:
                say(f"{head}: about {clock(stage.share * pace)}, then {clock(left * pace)} left")
                began = time.monotonic()
                result = to_json(stage.run(self))
                took = time.monotonic() - began
                done = {"key": key, "seconds": round(took, 2), "memory_mb": round(peak_memory_mb(), 1), "result": result}
                write_json(path, done)
                spent, expected = spent + took, expected + stage.share
                pace = max(0.2, spent / expected)
            self.results[stage.name] = done["result"]
            self.seconds[stage.name] = done["seconds"]
            self.memory_mb[stage.name] = done["memory_mb"]

    def _claim(self, key: str) -> None:
        path = self.out / "story.json"
        if path.is_file():
            held = read_json(path)
            if held.get("key") != key:
                theirs, ours = held.get("settings", {}), to_json(self.settings)
                differ = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
                raise BadInput(
                    f"{self.out} holds a demo with other settings ({', '.join(differ)}). Choose another --out, or remove that folder."
                )
        elif self.out.exists() and any(self.out.iterdir()):
            raise BadInput(f"{self.out} is not empty and holds no demo. Choose another --out.")
        write_json(path, {"key": key, "settings": dict(self.settings)})


def peak_memory_mb() -> float:
    """The largest resident size this process, or any finished child of it, has had."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, children) / 1024
