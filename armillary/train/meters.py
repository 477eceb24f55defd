"""Where the figures of a run go. `metrics.jsonl` is always written and is what resuming trusts; others are added by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from armillary.errors import require
from armillary.store import write_text


class Meter(Protocol):
    def write(self, row: Mapping[str, Any]) -> None:
        """Take one row: `step`, `kind` (`train`, `held-out`, `skipped`) and figures by name."""
        ...

    def close(self) -> None: ...


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line that a kill cut short is left out."""
    rows = []
    path = Path(path)
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class JsonLines:
    """One JSON object a line, flushed at once.

    Opening drops every row after step `until`: a run that goes on from a checkpoint writes them again, the same.
    """

    def __init__(self, folder: Path, until: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [r for r in rows_of(self.path) if r["step"] <= until]
        write_text(self.path, "".join(_line(r) for r in kept))
        self.file = self.path.open("a")

    def write(self, row: Mapping[str, Any]) -> None:
        self.file.write(_line(row))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def _line(row: Mapping[str, Any]) -> str:
    """JSON has no NaN; it is written as a string."""
    plain = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(plain, ensure_ascii=False) + "\n"


class TensorBoard:
    """Event files under `<run>/tensorboard`, for who has TensorBoard installed."""

    def __init__(self, folder: Path, until: int = 0) -> None:
        require("tensorboard", "the tensorboard meter")
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=until + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "step":
                self.writer.add_scalar(f"{row.get('kind', 'train')}/{name}", value, row["step"])

    def close(self) -> None:
        self.writer.close()


METERS: dict[str, Callable[[Path, int], Meter]] = {"jsonl": JsonLines, "tensorboard": TensorBoard}
