"""`armillary data info`, `armillary data validate`, `armillary data convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def data_info(folder: Path, /) -> dict[str, Any]:
    """What a dataset is: kind, version, episodes, frames, cameras with size and codec, features, tasks, statistics.

    Example: armillary data info episodes

    Args:
        folder: a LeRobot dataset, a Cosmos folder or .jsonl, WebDataset shards, or a folder of mp4 and JSON.
    """
    from armillary.data.describe import describe

    return describe(folder)


def data_validate(folder: Path, /, *, window: int = 9, quick: bool = False) -> tuple[dict[str, Any], int]:
    """Find everything that is wrong with a dataset, and say what it means and what would mend it.

    One defect never hides another: a file that cannot be read costs its episodes, the rest is still checked.
    Exit code 1 when there is any.

    Example: armillary data validate episodes --json

    Args:
        folder: a dataset as in `armillary data info`.
        window: episodes of fewer frames are told (what training reads by default; 1 accepts all).
        quick: look at the videos' containers only and decode nothing.
    """
    from armillary.data.defects.validate import validate

    health = validate(folder, window, not quick)
    return health.summary(), 0 if health.ok else 1


def data_convert(
    src: Path,
    dst: Path,
    /,
    *,
    to: Literal["lerobot", "cosmos", "webdataset", "folder"],
    layout: Literal["", "lerobot", "cosmos", "cosmos-jsonl", "webdataset", "folder"] = "",
    cameras: tuple[str, ...] = (),
    codec: Literal["", "libx264", "libx265", "libsvtav1", "libvpx-vp9"] = "",
    crf: int = 18,
) -> dict[str, Any]:
    """Write a dataset in another layout. Video is copied, not encoded again, wherever that gives exactly the same frames.

    Streams one episode at a time; interrupted, the same command goes on. A broken episode is named and the rest converted.

    Example: armillary data convert episodes cosmos-folder --to cosmos

    Args:
        src: a dataset as in `armillary data info`.
        dst: a new folder, or one that this conversion began.
        to: the layout to write; LeRobot is v3.0.
        layout: what `src` is; found when empty.
        cameras: only these, in this order; all when none is named.
        codec: encode all video anew with this encoder.
        crf: quality of what is encoded; lower is better.
    """
    from armillary.data.convert.convert import convert

    return convert(src, dst, to, layout=layout, cameras=cameras, codec=codec, crf=crf).summary()


data = data_info
