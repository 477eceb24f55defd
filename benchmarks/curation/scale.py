"""Twenty million hours on paper: nodes, days, bytes, money, and what breaks first, from figures measured on one core.

    python benchmarks/curation/scale.py [--json] [--set hours=1e6] [--set days=60]

Every input stands in `Inputs`, with where it comes from; nothing below it is a number of its own. The result is as good as the inputs:
those marked *assumed* are guesses that a pilot of a few thousand hours should replace.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from armillary.presets import override

GB, TB, PB = 1e9, 1e12, 1e15
DAY = 86400.0


@dataclass(frozen=True)
class Inputs:
    """Measured on 2026-11-24 on two cores of a shared virtual machine unless said otherwise. Sizes in bytes, times in seconds.

    Args:
        hours: of raw video. days: in which it is to be done.

        analyse_cpu, judge_cpu, finish_cpu: CPU seconds an hour of 720p30 H.264 (`timing.json` of `armillary curate` on a 92 s clip of 720p
            film with 27 transitions, the inline runner; `finish` reads text, cuts, captions by measurement).
        pixels: mean pixels a frame over those of 720p. Assumed: a third each of 720p, 1080p and 2160p would be 4.1; most footage is 1080p.
        cores, memory: of a node. busy: share of the time in which cores work. retries: work done twice.

        read: bytes an hour of raw video. Assumed: 4 Mbit/s at the mean; the 92 s clip has 2.1.
        analysis: bytes an hour left while a file is worked on (53 kB a second over 434 s of mixed footage).
        clip_rate: bits a second of a clip that is cut, mostly by copying: that of the source.
        row, thumb, vector, prints: bytes a clip in the table, of its picture, its embedding and its hashes (105 clips of 46 files).

        found: clips an hour before any filter. Assumed: a shot of 9 s; 105 clips in 434 s were 870 an hour.
        kept: clips an hour that stay. From the paper: 10^8 clips of 2 x 10^7 hours. twins: share that dedup removes, the paper's 30 %.
        seconds: mean length of a clip that stays, fps: its rate. Assumed.
        window: frames a caption. caption_rate: windows a second and GPU, a 13B captioner in FP8 at batch 16 (the paper's table of
            captioners, section 3.3).
        embed_rate: clips a second and GPU of a learned embedding (Cosmos-Embed1 on H100, 15 s of 1080p each: the vendor's own figure).

        dedup_cpu, dedup_memory: a clip of 100,000 with 4 to 23 hashes each in one process: 124 CPU s, 797 MB. cluster: clips a k-means
            cluster; flops: of a core, for the part that grows with the number of centres. Assumed.
        driver_clip: bytes of one clip's record in the driver. driver_source: of a source's. Assumed for sources: probe and paths.
        source: hours of a mean source. Assumed: six minutes.
        segment: seconds of video a task. task_rate: tasks a second that one Ray driver hands out (measured, core tasks).
        get, put: requests a second that an object store answers for one prefix (as S3 documents). part: bytes a ranged read.
        folder: files in one folder that tools still list in seconds. Assumed.
        poison: share of sources that kill or hang their worker. Assumed. timeout: seconds till a hanging task is ended.
        longest: hours of the longest source that cannot be sought, which is one task.

        core_hour, gpu_hour, tb_month, gb_out: prices in dollars, list prices' order of magnitude; assumed, and to be replaced by one's own.
    """

    hours: float = 20e6
    days: float = 30.0

    analyse_cpu: float = 450.0
    judge_cpu: float = 48.0
    finish_cpu: float = 366.0
    pixels: float = 2.25
    cores: int = 64
    memory: float = 256e9
    busy: float = 0.8
    retries: float = 0.03

    read: float = 1.8e9
    analysis: float = 53e3 * 3600
    clip_rate: float = 4e6
    row: float = 370.0
    thumb: float = 6.6e3
    vector: float = 892.0
    prints: float = 160.0

    found: float = 400.0
    kept: float = 5.0
    twins: float = 0.3
    seconds: float = 12.0
    fps: float = 30.0
    window: int = 256
    caption_rate: float = 1.96
    embed_rate: float = 28.6

    dedup_cpu: float = 1.24e-3
    dedup_memory: float = 8.0e3
    cluster: int = 2000
    flops: float = 2e10
    driver_clip: float = 4.7e3
    driver_source: float = 3.0e3
    source: float = 0.1
    segment: float = 240.0
    task_rate: float = 878.0
    get: float = 5500.0
    put: float = 3500.0
    part: float = 8e6
    folder: float = 1e6
    poison: float = 1e-4
    timeout: float = 3600.0
    longest: float = 8.0

    core_hour: float = 0.03
    gpu_hour: float = 2.5
    tb_month: float = 20.0
    gb_out: float = 0.02


@dataclass(frozen=True)
class Limit:
    """Something that gives way, and the hours of video at which it does."""

    what: str
    hours: float
    why: str
    instead: str


@dataclass(frozen=True)
class Scale:
    """The answer; `volumes` in clips and files, `work` in core, GPU and wall time, `bytes` by kind, `money` in dollars."""

    inputs: Inputs
    volumes: Mapping[str, float]
    work: Mapping[str, float]
    bytes: Mapping[str, float]
    network: Mapping[str, float]
    money: Mapping[str, float]
    limits: tuple[Limit, ...] = field(default=())


def scale(i: Inputs) -> Scale:
    """All of it, from the inputs alone."""
    span = i.days * DAY
    clips_found, clips_kept = i.hours * i.found, i.hours * i.kept
    unique = clips_kept / (1 - i.twins)  # before dedup: these are cut, captioned and embedded
    windows = max(1.0, i.seconds * i.fps / i.window)
    sources = i.hours / i.source
    tasks = 2 * i.hours * 3600 / i.segment + 2 * sources
    volumes = {
        "sources": sources,
        "clips_found": clips_found,
        "clips_before_dedup": unique,
        "clips_kept": clips_kept,
        "hours_kept": clips_kept * i.seconds / 3600,
        "captions": unique * windows,
        "tasks": tasks,
    }

    # Decoding and what is measured a frame grow with pixels; judging does not.
    cpu_hour = (i.analyse_cpu + i.finish_cpu) * i.pixels + i.judge_cpu
    core_hours = i.hours * cpu_hour * (1 + i.retries) / 3600
    hangs = sources * i.poison * i.timeout * 2 / 3600
    caption_hours = unique * windows / i.caption_rate / 3600
    embed_hours = unique / i.embed_rate / 3600
    nodes = math.ceil((core_hours + hangs) * 3600 / (i.cores * i.busy * span))
    gpus = math.ceil((caption_hours + embed_hours) * 3600 / (i.busy * span))
    work = {
        "cpu_seconds_an_hour": cpu_hour,
        "core_hours": core_hours,
        "core_hours_lost_to_hangs": hangs,
        "nodes": nodes,
        "caption_gpu_hours": caption_hours,
        "embed_gpu_hours": embed_hours,
        "gpus": gpus,
        "dedup_core_hours": unique * dedup_seconds(i, unique) / 3600,
        "longest_task_hours": i.longest * cpu_hour / 3600,
        "mean_task_seconds": i.segment / 3600 * cpu_hour,
    }

    stored = {
        "raw": i.hours * i.read,
        "clips": clips_kept * i.seconds * i.clip_rate / 8,
        "shards": clips_kept * i.seconds * i.clip_rate / 8,
        "table": clips_found * i.row,
        "thumbs": clips_found * i.thumb,
        "embeddings": unique * i.vector,
        "hashes": unique * i.prints,
        "analysis_at_once": nodes * i.cores * i.analysis * i.segment / 3600,
        "analysis_if_all_were_kept": i.hours * i.analysis,
    }
    bits = i.hours * i.read * (1 + i.retries) * 8 / span
    network = {
        "read_bits_a_second": bits,
        "read_bits_a_second_and_node": bits / nodes,
        "gets_a_second": i.hours * i.read / i.part / span,
        "puts_a_second": (clips_found + 2 * clips_kept + tasks) / span,
        "tasks_a_second": tasks / span,
    }
    held = stored["clips"] + stored["shards"] + stored["table"] + stored["thumbs"] + stored["embeddings"] + stored["hashes"]
    money = {
        "cores": (core_hours + hangs) / i.busy * i.core_hour,
        "captions": caption_hours / i.busy * i.gpu_hour,
        "embeddings": embed_hours / i.busy * i.gpu_hour,
        "raw_a_month": stored["raw"] / TB * i.tb_month,
        "result_a_month": held / TB * i.tb_month,
        "reading_from_elsewhere": stored["raw"] / GB * i.gb_out,
    }
    return Scale(i, volumes, work, stored, network, money, tuple(sorted(limits(i, cpu_hour), key=lambda x: x.hours)))


def dedup_seconds(i: Inputs, clips: float) -> float:
    """CPU seconds a clip: comparing inside clusters of a fixed size, and finding the nearest of n / `cluster` centres."""
    return i.dedup_cpu + 2 * (i.vector / 4) * (clips / i.cluster) / i.flops


def limits(i: Inputs, cpu_hour: float) -> list[Limit]:
    """Each alone, at the inputs' rates: how many hours of video till it gives way on one node, one driver, one folder, one prefix."""
    span = i.days * DAY
    before = i.kept / (1 - i.twins)
    tasks = 2 * 3600 / i.segment + 2 / i.source
    return [
        Limit(
            "memory of the driver",
            i.memory / (i.found * i.driver_clip + i.driver_source / i.source),
            "every clip, rejected or not, is a record in one process before the tables are written",
            "write the table in parts, one a batch of sources; the driver holds counts",
        ),
        Limit(
            "thumbnails in one folder",
            i.folder / i.found,
            "a picture for every clip that was found",
            "pictures only of a sample a reason, or packed by source",
        ),
        Limit(
            "clips in one folder",
            i.folder / i.kept,
            "one file a clip",
            "shards are written at once; no file a clip",
        ),
        Limit(
            "memory of dedup",
            i.memory / (before * i.dedup_memory),
            "vectors and hashes of all clips in one process",
            "a first k-means over a sample parts the clips; each part is a task, its neighbours' borders included",
        ),
        Limit(
            "time of dedup on one core",
            span / (before * dedup_seconds(i, before * i.hours)),
            "clusters of a fixed size cost the same a clip; the search for the nearest of n/2000 centres grows with n",
            "as above: parts run side by side",
        ),
        Limit(
            "tasks of one driver",
            i.task_rate * span / tasks,
            "two tasks a segment and two a source pass through one scheduler",
            "longer segments, or one driver a few hundred nodes",
        ),
        Limit(
            "writes to one prefix",
            i.put * span / (i.found + 2 * i.kept + tasks),
            "records, pictures and clips are objects of their own",
            "prefixes by hash; records of a batch in one object",
        ),
        Limit(
            "reads from one prefix",
            i.get * span / (i.read / i.part),
            "sources are read in ranges",
            "prefixes by hash",
        ),
        Limit(
            "one node",
            i.cores * i.busy * span / (cpu_hour * (1 + i.retries)),
            "cores",
            "more of them: nothing but the driver is shared",
        ),
    ]


def human(value: float) -> str:
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of an input")
    options = parser.parse_args()
    found = scale(override(Inputs(), options.set))
    if options.json:
        print(json.dumps(asdict(found), indent=1))
        return
    for name in ("volumes", "work", "bytes", "network", "money"):
        rows: Mapping[str, Any] = getattr(found, name)
        print(name)
        for key, value in rows.items():
            print(f"  {key.replace('_', ' '):32} {human(value)}")
    print("gives way at, hours of video")
    for limit in found.limits:
        print(f"  {human(limit.hours):>8}  {limit.what}: {limit.why}")


if __name__ == "__main__":
    main()
