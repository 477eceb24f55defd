"""Clips in the layouts of others, for trainers that read nothing else. Whole or not at all, and the same bytes for the same clips.

```text
cosmos           out/videos/<clip>_<first>_<last>.mp4   out/metas/<the same>.txt   (out/t5_xxl/<the same>.pickle where given)
cosmos-curate    out/v0/resolution_720/aspect_ratio_16_9/duration_5_10/{video,metas,t5_xxl}/part_000000/000000.tar
```

The first is the folder that Cosmos-Predict's post-training reads. A clip of several caption windows becomes several samples, each with the
frames its caption speaks of, encoded anew; a clip of one window is taken as it is (a hard link, where there are such).

The second follows cosmos-curate's `sharding_pipeline.py` as read in its repository (its documentation page still draws `frames_0_255`
where the code writes `duration_5_10`): parallel tars whose members share their keys, about 500 MB each, at most 100 a part, in bins by
shorter side (under 720, 720, 1080), aspect and seconds. Its shortest bin begins at 5 s; so that no clip is dropped in silence, shorter
ones go to `duration_0_5`, a folder that its own readers do not look into.

Both want T5 embeddings as pickles. None is written here, for no pickle is; a folder of ready ones (`<clip>.pickle`) is copied as bytes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.errors import BadInput
from armillary.media import Reader, aspect_of, iter_frames, write_video
from armillary.store import atomic_dir, check_writable, sha256_file, write_json
from armillary.types import Clip

MAX_BYTES = 500 * 1024 * 1024
MAX_TARS = 100  # in a part
NOTE = "export.json"  # what marks a folder as an export, so that it may be replaced by the next


@dataclass(frozen=True)
class Export:
    """What was written: how many clips and samples, the bytes of all files, and the ids of clips left out for want of a caption."""

    path: str
    layout: str
    num_clips: int
    num_samples: int
    num_bytes: int
    left_out: tuple[str, ...] = ()


def export_cosmos(clips: Iterable[Clip], out: str | Path, t5: str | Path | None = None) -> Export:
    """`videos/`, `metas/` and, with `t5`, `t5_xxl/`: one file of each a sample, named alike.

    Args:
        clips: those that are rejected or have no caption are left out; the others need a `path` that can be read.
        t5: a folder with `<sample>.pickle` or `<clip>.pickle` for every sample.

    Raises:
        BadInput: nothing to export, a clip without a file, an embedding that is missing, a folder that holds other things.
    """
    kept, left = _checked(clips)
    with _replacing(out) as temporary:
        count = 0
        for clip in kept:
            windows = captions_of(clip)
            for first, last, caption in windows:
                name = f"{clip.id}_{first}_{last}"
                if "captions" in clip.tags:
                    _cut(clip, first, last, temporary / "videos" / f"{name}.mp4")
                else:
                    _link(Path(clip.path), temporary / "videos" / f"{name}.mp4")
                (temporary / "metas").mkdir(exist_ok=True)
                (temporary / "metas" / f"{name}.txt").write_text(caption, encoding="utf-8", newline="\n")
                if t5 is not None:
                    _link(_embedding(Path(t5), name, clip.id), temporary / "t5_xxl" / f"{name}.pickle")
                count += 1
        return _noted(temporary, Path(out), "cosmos", len(kept), count, left)


def export_cosmos_curate(
    clips: Iterable[Clip], out: str | Path, t5: str | Path | None = None, max_bytes: int = MAX_BYTES, max_tars: int = MAX_TARS
) -> Export:
    """Parallel tars by resolution, aspect and length. See the file's head; arguments and errors as in `export_cosmos`."""
    if max_bytes < 1 or max_tars < 1:
        raise BadInput(f"A tar wants at least a byte and a part at least a tar; got {max_bytes} and {max_tars}.")
    kept, left = _checked(clips)
    with _replacing(out) as temporary:
        bins: dict[str, list[Clip]] = {}
        for clip in kept:
            bins.setdefault(bin_of(clip), []).append(clip)
        for name, members in sorted(bins.items()):
            for number, group in enumerate(_groups(members, max_bytes)):
                tar = f"part_{number // max_tars:06d}/{number % max_tars:06d}.tar"
                folder = temporary / "v0" / name
                _tar(folder / "video" / tar, ((f"{c.id}.mp4", Path(c.path)) for c in group))
                _tar(folder / "metas" / tar, ((f"{c.id}.json", _meta(c)) for c in group))
                if t5 is not None:
                    _tar(folder / "t5_xxl" / tar, ((f"{c.id}.pickle", _embedding(Path(t5), c.id)) for c in group))
        return _noted(temporary, Path(out), "cosmos-curate", len(kept), len(kept), left)


EXPORTS: dict[str, Callable[..., Export]] = {"cosmos": export_cosmos, "cosmos-curate": export_cosmos_curate}


def captions_of(clip: Clip) -> list[tuple[int, int, str]]:
    """(first frame, last frame, caption) of each window that has one; one for the whole clip when there are no windows."""
    rows = json.loads(clip.tags["captions"]) if "captions" in clip.tags else []
    found = [(int(r["start_frame"]), int(r["end_frame"]) - 1, str(r["caption"])) for r in rows if r["caption"]]
    return found or [(0, max(clip.num_frames - 1, 0), clip.caption)]


def bin_of(clip: Clip) -> str:
    """`resolution_720/aspect_ratio_16_9/duration_5_10`; aspects as in `media.aspect_of`."""
    short, seconds = min(clip.width, clip.height), clip.end - clip.start
    resolution = "1080" if short >= 1080 else "720" if short >= 720 else "lt_720"
    length = "0_5" if seconds < 5 else "5_10" if seconds <= 10 else "10_30" if seconds <= 30 else "30_inf"
    aspect = aspect_of(clip.width, clip.height).replace("x", "_")
    return f"resolution_{resolution}/aspect_ratio_{aspect}/duration_{length}"


def _checked(clips: Iterable[Clip]) -> tuple[list[Clip], list[str]]:
    """The clips to export, by id; and the ids of those that have no caption."""
    kept = sorted((c for c in clips if not c.rejected), key=lambda c: c.id)
    if not kept:
        raise BadInput("There are no clips to export: none was given, or all were rejected.")
    for clip, other in zip(kept, [None, *kept]):
        if other is not None and other.id == clip.id:
            raise BadInput(f"Two clips have the id {clip.id}; the second comes from {clip.source}.")
        if not clip.id or not all(ch.isascii() and (ch.isalnum() or ch in "_-") for ch in clip.id):
            raise BadInput(f"A clip's id becomes a file name: letters, digits, _ and - only; got {clip.id!r}.")
        if not clip.path or not Path(clip.path).is_file():
            raise BadInput(f"Clip {clip.id} of {clip.source} has no file at {clip.path!r}; cut it first.")
    told = [c for c in kept if c.caption]
    if not told:
        why = kept[0].tags.get("caption_error", "captions were turned off")
        raise BadInput(f"None of the {len(kept)} clips has a caption, which these layouts want ({why}); caption them first.")
    return told, [c.id for c in kept if not c.caption]


def _replacing(out: str | Path) -> Any:
    """A temporary folder that takes the place of `out`, which must be new, empty, or an export."""
    out = Path(out)
    check_writable(out.parent)
    if out.is_file():
        raise BadInput(f"{out} is a file; an output folder is wanted.")
    if out.is_dir() and any(out.iterdir()) and not (out / NOTE).is_file():
        raise BadInput(f"{out} is a folder with other things in it; an export wants a new folder, or one that holds an export.")
    return atomic_dir(out)


def _noted(folder: Path, out: Path, layout: str, clips: int, samples: int, left: list[str]) -> Export:
    """Write what is there; `sha256` is over every file's name and content, in order."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for p in files:
        digest.update(f"{p.relative_to(folder).as_posix()} {sha256_file(p)}\n".encode())
    size = sum(p.stat().st_size for p in files)
    note = {"format": 1, "layout": layout, "clips": clips, "samples": samples, "bytes": size, "sha256": digest.hexdigest()}
    write_json(folder / NOTE, {**note, "without_caption": left})
    return Export(str(out), layout, clips, samples, size, tuple(left))


def _embedding(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / f"{name}.pickle").is_file():
            return folder / f"{name}.pickle"
    raise BadInput(f"{folder} has no text embedding {names[0]}.pickle; give one for every sample, or none.")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _cut(clip: Clip, first: int, last: int, target: Path) -> None:
    """Frames `first` to `last` of a clip, at their own times."""
    with Reader(clip.path) as reader:
        times = [seconds for seconds, _ in reader.frames()][first : last + 1]
    if not times:
        raise BadInput(f"Clip {clip.id} has no frame {first}: its captions speak of more frames than its file holds.")
    frames = (picture for _, picture in itertools.islice(iter_frames(clip.path), first, last + 1))
    write_video(target, frames, clip.fps, times=[t - times[0] for t in times])


def _groups(clips: list[Clip], max_bytes: int) -> Iterator[list[Clip]]:
    """Runs of clips whose videos fit a tar together; a larger one is alone."""
    group: list[Clip] = []
    total = 0
    for clip in clips:
        size = Path(clip.path).stat().st_size
        if group and total + size > max_bytes:
            yield group
            group, total = [], 0
        group.append(clip)
        total += size
    yield group


def _meta(clip: Clip) -> bytes:
    """A clip's record with the field names of cosmos-curate where it has one, without the folders of this machine."""
    windows = [{"start_frame": a, "end_frame": b + 1, "caption": text} for a, b, text in captions_of(clip)]
    record = {
        "span_uuid": clip.id,
        "source_video": Path(clip.source).name,
        "duration_span": [clip.start, clip.end],
        "width": clip.width,
        "height": clip.height,
        "framerate": clip.fps,
        "num_frames": clip.num_frames,
        "num_bytes": Path(clip.path).stat().st_size,
        "caption_source": clip.tags.get("caption_source", ""),
        "windows": windows,
        "scores": dict(clip.scores),
        "tags": {k: v for k, v in clip.tags.items() if k != "captions"},
    }
    return (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _tar(path: Path, members: Iterable[tuple[str, bytes | Path]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)  # a bare one: no owner, time 0, mode 0644
            if isinstance(content, Path):
                header.size = content.stat().st_size
                with content.open("rb") as file:
                    tar.addfile(header, file)
            else:
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
