"""The files of a LeRobot data set, one at a time: every way in which one can be damaged ends in a `BadInput` that names it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, require

# What may stand in the braces of `data_path` and `video_path`. NVIDIA's own v3 sets say `{episode_chunk}` and `{episode_file}` where
# LeRobot v3 says `{chunk_index}` and `{file_index}`; LeRobot v2 says `{episode_chunk}` and `{episode_index}`.
PLACEHOLDERS = ("chunk_index", "file_index", "episode_chunk", "episode_file", "episode_index", "video_key")


def open_table(path: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`.

    Raises:
        BadInput: for a file that is cut short or is no parquet.
    """
    pq = require("pyarrow.parquet", "LeRobot data sets")
    with worded(path):
        return pq.ParquetFile(path, memory_map=False)


@contextlib.contextmanager
def worded(path: Path) -> Iterator[None]:
    """Turns what Arrow raises on a damaged file into a `BadInput` that names it."""
    arrow = require("pyarrow", "LeRobot data sets").lib.ArrowException
    try:
        yield
    except BadInput:
        raise
    except (arrow, OSError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadInput(f"{path} is no whole parquet file ({why}).") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; none where there is no file."""
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path} is not readable as JSON lines: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path} is not readable as JSON lines: every line is to be an object.")
    return rows


def fill(template: str, known: Mapping[str, int | str], what: str) -> str:
    """A path within the data set, from a template like `data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet`.

    Raises:
        BadInput: for a placeholder that is not known, or a path that leads out of the folder.
    """

    def one(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise BadInput(f"{what} has a placeholder {match[0]} that is not known. Known: {', '.join(PLACEHOLDERS)}.")
        value = known[match[1]]
        return format(value, match[2] or "") if isinstance(value, int) else value

    filled = os.path.normpath(re.sub(r"\{(\w+)(?::(0?\d*d?))?\}", one, template))
    if os.path.isabs(filled) or filled.startswith(".."):
        raise BadInput(f"{what} leads out of the data set.")
    return filled


def array(column: Any, what: str) -> np.ndarray:
    """An Arrow column as `t`, or `t n ...` for lists of one length.

    Raises:
        BadInput: for lists of different lengths.
    """
    pa = require("pyarrow", "LeRobot data sets")
    kinds, values = pa.types, column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if not (kinds.is_list(values.type) or kinds.is_large_list(values.type) or kinds.is_fixed_size_list(values.type)):
        return values.to_numpy(zero_copy_only=False)
    n = len(values)
    if not n:
        return np.zeros((0, 0))
    if values.null_count:
        raise BadInput(f"{what} has rows without a value.")
    if not kinds.is_fixed_size_list(values.type):
        lengths = require("pyarrow.compute", "LeRobot data sets").list_value_length(values).to_numpy()
        if lengths.min() != lengths.max():
            raise BadInput(f"{what} has rows of different lengths.")
    inner = array(values.flatten(), what)
    return inner.reshape(n, len(inner) // n, *inner.shape[1:])
