"""What is wrong with a data set, in plain words: `validate` finds every deviation from its format and goes on after each.

A defect that stops a file from being read is a defect with the episodes it costs; the rest is still checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armillary.errors import BadInput

# Every kind of defect -> what would mend it. A `validate` that finds something ends its sentence with this.
KINDS: dict[str, str] = {
    # meta/
    "info-unreadable": "Restore meta/info.json: without it nothing else can be read.",
    "info-fields": "Add what is missing to meta/info.json.",
    "unknown-version": "Convert it with LeRobot's own tools to v3.0 or v2.1, or get the release of Armillary that reads it.",
    "placeholders": "Write the path template with the placeholders of the format's version.",
    "splits": "Let each split be `first:end` within the number of episodes.",
    "episode-count": "Set total_episodes to the number of episodes listed, or restore the tables that are missing.",
    "frame-count": "Set total_frames to the sum of the episodes' lengths.",
    "task-count": "Set total_tasks to the number of tasks listed.",
    "feature-names": "Give one name a component in meta/info.json, or none.",
    "table-unreadable": "Copy the file again from its source, or take its episodes out.",
    "tasks-missing": "Restore meta/tasks.parquet (v2: meta/tasks.jsonl).",
    "task-table": "Number the tasks 0, 1, 2 ..., each sentence once.",
    "episode-fields": "Give every episode its episode_index and length.",
    "episode-gap": "Number the episodes without gaps, or restore those that are missing.",
    "episode-duplicate": "Take out all but one of the entries.",
    "episode-span": "Let dataset_from_index and dataset_to_index follow from the lengths before.",
    "short-episode": "Train with shorter windows, or leave it out (the Dataset does so by itself and says so).",
    # data/
    "missing-file": "Copy the file again from its source, or take its episodes out.",
    "unused-file": "Delete it, or restore the table that names it.",
    "column-missing": "Restore the column, or take the feature out of meta/info.json.",
    "column-undeclared": "Declare the column as a feature in meta/info.json, or drop it.",
    "column-type": "Declare the type that the column has, or cast the column.",
    "column-width": "Declare the shape that the column has, or restore its missing components.",
    "rows-unreadable": "Restore the episode's rows, or take the episode out.",
    "rows-unlisted": "List the episode in the table of episodes, or take its rows out.",
    "row-count": "Restore the missing rows, or set the episode's length to what is there.",
    "not-finite": "Take the episode out, or repair the numbers: one NaN in a batch ruins a training run.",
    "timestamps": "Rewrite `timestamp` as frame_index / fps, or set fps to the rate at which was recorded.",
    "frame-index": "Number the frames of each episode 0, 1, 2 ...",
    "index": "Number all rows of the data set 0, 1, 2 ... in the order of the episodes.",
    "task-index": "Point task_index at a task that is listed, or add the task.",
    "task-mismatch": "Let the episode's tasks and its rows' task_index name the same sentence.",
    "stats-missing": "Compute the statistics again (`armillary data convert SRC DST --to lerobot` does).",
    "stats-wrong": "Compute the statistics again (`armillary data convert SRC DST --to lerobot` does).",
    # videos/
    "missing-video": "Copy the file again from its source, or take the camera or the episodes out.",
    "video-unreadable": "Copy the file again from its source, or take its episodes out.",
    "codec-undecodable": "Encode the video again in a codec that the FFmpeg here decodes (h264, hevc, av1, vp9).",
    "codec-differs": "Set video.codec in meta/info.json to the codec that the file has.",
    "video-damaged": "Copy the file again from its source, or take the episodes out.",
    "video-size": "Set the shape in meta/info.json to what the file has, or exchange the file.",
    "video-fps": "Encode the video at the data set's fps, or set fps to the video's.",
    "video-span": "Let from_timestamp and to_timestamp follow from the lengths of the episodes before it in the file.",
    "video-times-missing": "Write videos/<key>/from_timestamp and to_timestamp: LeRobot's own reader wants them.",
    "video-short": "Restore the whole video, or shorten the episode to the frames that are there.",
    "video-long": "Take out the frames that no row speaks of, or restore the rows.",
    "video-frames": "Encode the video again with one frame a row.",
    "swapped-cameras": "Exchange the two cameras' files (or their keys in meta/info.json).",
    "same-video": "Restore the file of the one camera: both are the same bytes.",
    "picture-unreadable": "Restore the pictures, or take the episode out.",
    "unchecked": "Look at what is named there: it is of a shape that no writer makes.",
    # Other layouts
    "episode-unreadable": "Mend or take out its files; `armillary data convert` leaves it out and goes on.",
    "no-caption": "Write a caption beside the video.",
}


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong. Args: `kind` of `KINDS`; `where` file or episode; `meaning` a sentence, and what would mend it."""

    kind: str
    where: str
    meaning: str


@dataclass
class Findings:
    """What was found so far."""

    defects: list[Defect] = field(default_factory=list)

    def add(self, kind: str, where: str, what: str) -> None:
        assert kind in KINDS, kind
        self.defects.append(Defect(kind, where, f"{what.rstrip('.')}. {KINDS[kind]}"))

    @contextlib.contextmanager
    def going_on(self, where: str) -> Iterator[None]:
        """A check that stops on something nobody foresaw is told, and the next one begins: no data set makes `validate` crash."""
        try:
            yield
        except Exception as error:
            self.add(
                "unchecked", where, f"A check of it stopped ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            )

    def kinds(self) -> set[str]:
        return {d.kind for d in self.defects}


@dataclass(frozen=True)
class Health:
    """What `validate` says of a folder. Args: `what` layout; `frames`: rows (or pictures of one camera) over all episodes."""

    path: str
    what: str
    version: str
    episodes: int
    frames: int
    defects: tuple[Defect, ...]

    @property
    def ok(self) -> bool:
        return not self.defects

    def summary(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "what": self.what,
            "ok": self.ok,
            "version": self.version,
            "episodes": self.episodes,
            "frames": self.frames,
            "defects": [{"kind": d.kind, "where": d.where, "meaning": d.meaning} for d in self.defects],
        }


def validate(folder: str | Path, window: int = 9, decode: bool = True) -> Health:
    """Check a LeRobot data set, or a folder or file in another layout that `data.convert` reads.

    Args:
        window: episodes of fewer frames are told; 9 is what a training run reads unless asked otherwise, 1 accepts all.
        decode: false looks at the videos' containers only, which is quick and misses damage inside.

    Raises:
        BadInput: when there is no data set of any kind.
    """
    root = Path(folder)
    if window < 1:
        raise BadInput(f"A window holds at least 1 frame; got {window}.")
    if (root / "meta").is_dir() and ((root / "meta" / "info.json").exists() or (root / "data").is_dir()):
        from armillary.data.defects.lerobot import check_lerobot

        return check_lerobot(root, window, decode)
    from armillary.data.defects.takes import check_takes

    return check_takes(root, window, decode)


def episodes_named(numbers: Iterable[int]) -> str:
    """`episode 3`, `episodes 3, 5`, `episodes 0-99`."""
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:8]) + (" ..." if len(runs) > 8 else "")
    return f"episode {shown}" if len(runs) == 1 and runs[0][0] == runs[0][1] else f"episodes {shown}"
