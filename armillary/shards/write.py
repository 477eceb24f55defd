"""Writing shards: `key.mp4 key.json key.txt` for each clip, tars of one bucket, and a manifest that names every byte.

Layout of a folder of shards, after the paper's section 3.5 (shards by resolution, aspect and length, so that a curriculum can pick):

```text
out/720p_16x9_5-10s/000000.tar
out/manifest.json        format, buckets, and for each shard its path, clips, bytes, sha256 and keys
```
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from armillary.errors import BadInput
from armillary.media import bucket_of
from armillary.presets import to_json
from armillary.store import atomic_dir, check_writable, sha256_file, write_json
from armillary.types import Clip, Shard

FORMAT = 1
MAX_BYTES = 500_000_000


def write_shards(clips: Iterable[Clip], out: str | Path, max_bytes: int = MAX_BYTES) -> list[Shard]:
    """Pack clips that were kept into tars, replacing whatever shards `out` held; whole or not at all.

    Clips are ordered by bucket and id, headers carry no time, owner or machine: the same clips give the same bytes in any order.

    Args:
        clips: rejected ones are left out; the others must have a `path` that can be read.
        max_bytes: a tar is closed before it would exceed this; a single larger clip gets a tar of its own.

    Returns:
        The shards, with absolute paths as given by `out`.

    Raises:
        BadInput: no clip at all, a clip without a file, two clips of one id.
    """
    kept = [c for c in clips if not c.rejected]
    if not kept:
        raise BadInput("There are no clips to pack: none was given, or all were rejected.")
    if max_bytes < 1:
        raise BadInput(f"max_bytes wants a size in bytes; got {max_bytes}.")
    _check(kept)
    out = Path(out)
    check_writable(out.parent)
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise BadInput(f"{out} is a folder with other things in it; shards want a new folder, or one that holds shards.")
    names = {c.id: bucket_of(c.width, c.height, c.end - c.start).name for c in kept}
    ordered = sorted(kept, key=lambda c: (names[c.id], c.id))
    shards: list[Shard] = []
    with atomic_dir(out) as temporary:
        for bucket in sorted(set(names.values())):
            members = [c for c in ordered if names[c.id] == bucket]
            for number, group in enumerate(_groups(members, max_bytes)):
                shards.append(_write(temporary, f"{bucket}/{number:06d}.tar", bucket, group))
        rows = [
            {"path": s.path, "bucket": s.bucket, "num_clips": s.num_clips, "sha256": s.sha256, "keys": list(s.keys)}
            for s in shards
        ]
        counts = {b: sum(s.num_clips for s in shards if s.bucket == b) for b in sorted({s.bucket for s in shards})}
        write_json(temporary / "manifest.json", {"format": FORMAT, "num_clips": len(kept), "buckets": counts, "shards": rows})
    return [Shard(str(out / s.path), s.bucket, s.num_clips, s.sha256, s.keys) for s in shards]


def _check(clips: list[Clip]) -> None:
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise BadInput(f"Two clips have the id {clip.id}; the second comes from {clip.source}.")
        seen.add(clip.id)
        if not clip.id or not all(ch.isascii() and (ch.isalnum() or ch in "_-") for ch in clip.id):
            raise BadInput(f"A clip's id becomes a file name: letters, digits, _ and - only; got {clip.id!r}.")
        if not clip.path or not Path(clip.path).is_file():
            raise BadInput(f"Clip {clip.id} of {clip.source} has no file at {clip.path!r}; cut it first.")


def _groups(clips: list[Clip], max_bytes: int) -> Iterable[list[Clip]]:
    group: list[Clip] = []
    total = 0
    for clip in clips:
        size = Path(clip.path).stat().st_size + len(_record(clip)) + len(clip.caption.encode()) + 3 * 1024
        if group and total + size > max_bytes:
            yield group
            group, total = [], 0
        group.append(clip)
        total += size
    if group:
        yield group


def _record(clip: Clip) -> bytes:
    """What is known of a clip, as JSON bytes; without folders, which are the machine's, and its embedding."""
    plain = to_json(clip.replace(embedding=None, path="", source=Path(clip.source).name))
    for name in ("kind", "embedding", "path", "rejected"):
        plain.pop(name)
    return (json.dumps(plain, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _write(root: Path, name: str, bucket: str, clips: list[Clip]) -> Shard:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for clip in clips:
            for suffix, data in (
                ("json", _record(clip)),
                ("mp4", Path(clip.path).read_bytes()),
                ("txt", clip.caption.encode()),
            ):
                header = tarfile.TarInfo(f"{clip.id}.{suffix}")  # a bare TarInfo: no owner, time 0, mode 0644
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    return Shard(name, bucket, len(clips), sha256_file(path), tuple(c.id for c in clips))
