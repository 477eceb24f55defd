"""Reading shards: in an order that is a function of a seed, divided among ranks, and resumable at any clip."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armillary.errors import BadInput, Failed
from armillary.store import read_json, sha256_file
from armillary.types import Shard


def read_manifest(folder: str | Path, verify: bool = False) -> list[Shard]:
    """The shards of a folder, with paths that can be opened.

    Args:
        verify: hash every tar and compare.

    Raises:
        BadInput: no manifest, one of another format, a path that leads out of the folder, or a tar that is missing or was changed.
    """
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise BadInput(f"{folder}/manifest.json is not of format 1, which this version reads.")
    shards = []
    for row in manifest["shards"]:
        path = folder / row["path"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{folder}/manifest.json names {row['path']!r}, which lies outside the folder.")
        if not path.is_file():
            raise BadInput(f"{path} is named by the manifest and is missing.")
        if verify and sha256_file(path) != row["sha256"]:
            raise BadInput(f"{path} is damaged or was exchanged: its sha256 is not the manifest's.")
        shards.append(Shard(str(path), row["bucket"], int(row["num_clips"]), row["sha256"], tuple(row["keys"])))
    return shards


class ShardReader:
    """Iterates `(key, sample)` over a folder of shards for ever or once, and can say and take up its position.

    A sample is `{"mp4": bytes, "json": dict, "txt": str}`. Within an epoch shards are shuffled by (seed, epoch) and, inside a shard,
    clips too; every `world`-th clip of that order belongs to a rank, so that ranks never share one and differ by one clip at most.

    Args:
        bucket: only shards of this bucket; a batch wants clips of one shape.
        epochs: how often through; 0 goes on for ever.
        position: clips of this rank already given, from an earlier `state()`.

    Raises:
        BadInput: for ranks that make no sense or a bucket that does not exist.
    """

    def __init__(
        self,
        folder: str | Path,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        *,
        bucket: str | None = None,
        epochs: int = 1,
        position: int = 0,
    ) -> None:
        if not 0 <= rank < world:
            raise BadInput(f"rank must lie in 0..world-1; got rank {rank} of {world}.")
        shards = read_manifest(folder)
        if bucket is not None:
            known = sorted({s.bucket for s in shards})
            shards = [s for s in shards if s.bucket == bucket]
            if not shards:
                raise BadInput(f"No shard of bucket {bucket!r}. Known: {', '.join(known)}.")
        self.shards, self.rank, self.world, self.seed, self.epochs = shards, rank, world, seed, epochs
        self.position = position

    def state(self) -> dict[str, int]:
        """What a later reader over the same folder needs to go on: pass `position`."""
        return {"position": self.position, "seed": self.seed, "rank": self.rank, "world": self.world}

    def order(self, epoch: int) -> list[tuple[int, str]]:
        """(shard, key) of every clip of an epoch, all ranks."""
        random_order = random.Random(f"{self.seed}:{epoch}")
        shards = list(range(len(self.shards)))
        random_order.shuffle(shards)
        out = []
        for i in shards:
            keys = list(self.shards[i].keys)
            random_order.shuffle(keys)
            out += [(i, key) for key in keys]
        return out

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        total = sum(s.num_clips for s in self.shards)
        each = len(range(self.rank, total, self.world))
        if each == 0:
            return
        while not self.epochs or self.position < self.epochs * each:
            epoch, done = divmod(self.position, each)
            mine = self.order(epoch)[self.rank :: self.world][done:]
            for i, run in itertools.groupby(mine, key=lambda pair: pair[0]):
                with _opened(self.shards[i].path) as (tar, members):
                    for _, key in run:
                        sample = _sample(tar, members, key, self.shards[i].path)
                        self.position += 1  # before giving: whoever saves the state while holding this clip has had it
                        yield key, sample


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]]:
    """A tar and its files by name.

    Raises:
        Failed: when it is no whole tar.
    """
    with contextlib.ExitStack() as stack:
        try:
            tar = stack.enter_context(tarfile.open(path, "r:"))
            members = {m.name: m for m in tar.getmembers() if m.isfile()}
        except (tarfile.TarError, OSError) as error:
            raise Failed(f"{path} is no readable tar: {error}.") from error
        yield tar, members


def _sample(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], key: str, path: str) -> dict[str, Any]:
    """The three files of a clip.

    Raises:
        Failed: naming tar and clip, when one of them is missing or cut short.
    """
    parts: dict[str, bytes] = {}
    for suffix in ("mp4", "json", "txt"):
        member = members.get(f"{key}.{suffix}")
        file = tar.extractfile(member) if member is not None else None
        data = file.read() if file is not None else b""
        if member is None or len(data) != member.size:
            raise Failed(
                f"Clip {key} of {path} is incomplete: {key}.{suffix} is {'missing' if member is None else 'cut short'}."
            )
        parts[suffix] = data
    try:
        return {"mp4": parts["mp4"], "json": json.loads(parts["json"]), "txt": parts["txt"].decode()}
    except ValueError as error:
        raise Failed(f"Clip {key} of {path} is damaged: {error}.") from error


def read_shards(folder: str | Path, rank: int = 0, world: int = 1, seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Once through a folder: `(key, {"mp4", "json", "txt"})`. `ShardReader` can also resume, repeat and pick a bucket."""
    return iter(ShardReader(folder, rank, world, seed))
