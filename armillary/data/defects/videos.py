"""Checking the pictures of a LeRobot data set: files, codecs, spans and frames.

Every video is decoded once, from beginning to end, whatever number of episodes share it; of each episode up to twelve pictures are looked
at (`defects.cameras` says what they tell).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from armillary.data.defects.cameras import Seen, check_copies, check_sizes, check_views
from armillary.data.defects.validate import Findings, episodes_named
from armillary.data.lerobot import stats as st
from armillary.data.lerobot.read import OLD_VIDEO, LeRobotDataset
from armillary.data.moments import frame_times
from armillary.errors import BadInput
from armillary.media import MediaError, Reader
from armillary.progress import track

SAME = {
    "avc": "h264",
    "avc1": "h264",
    "libx264": "h264",
    "h265": "hevc",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "libaom-av1": "av1",
}


@dataclass
class _File:
    """One video: its name in the set, and for each episode in it (position) when it begins and ends."""

    camera: str
    name: str
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)


def check_videos(data: LeRobotDataset, found: Findings, used: set[Path], decode: bool) -> None:
    """Checks every video once. `used` is given the files that episodes name."""
    seen = Seen()
    files = _files(data)
    for file in track(files, "check the videos"):
        path = data.root / file.name
        used.add(path)
        named = episodes_named(data.episodes[i]["episode_index"] for i in file.spans)
        if not path.is_file():
            found.add("missing-video", file.name, f"The file of camera {file.camera} for {named} is not there")
            continue
        with found.going_on(file.name):
            try:
                _check_file(data, file, path, found, seen, decode, named)
            except (MediaError, FFmpegError, OSError, ValueError) as error:
                found.add("video-unreadable", file.name, f"{error} It holds {named} of camera {file.camera}")
    with found.going_on("the sizes of the cameras"):
        check_sizes(data, seen, found)
    copied: set[str] = set()
    with found.going_on("the files of the cameras"):
        copied = check_copies(data.root, {f.name: f.camera for f in files}, found)
    with found.going_on("the views of the cameras"):
        check_views(data, seen, copied, found)
    if decode:
        _check_stills(data, found)


def _files(data: LeRobotDataset) -> list[_File]:
    out: dict[str, _File] = {}
    for camera, key in data.keys.items():
        if data.features[key]["dtype"] != "video":
            continue
        for i, record in enumerate(data.episodes):
            try:
                name = data.file_name("video_path", OLD_VIDEO, record, f"videos/{key}", key)
                start = float(record[f"videos/{key}/from_timestamp"])
            except (BadInput, TypeError, ValueError):
                continue  # the template is told already
            file = out.setdefault(name, _File(camera, name))
            file.spans[i] = start, start + record["length"] / data.fps
    return list(out.values())


def _check_file(
    data: LeRobotDataset,
    file: _File,
    path: Path,
    found: Findings,
    seen: Seen,
    decode: bool,
    named: str,
) -> None:
    codec = _codec(path)
    if codec is None:
        found.add("codec-undecodable", file.name, f"No decoder here knows its codec; it holds {named} of camera {file.camera}")
        return
    feature = data.features[data.keys[file.camera]]
    about = next((a for a in (feature.get("info"), feature.get("video_info")) if isinstance(a, dict)), {})
    said = str(about.get("video.codec", codec)).lower()
    if SAME.get(said, said) != codec:
        found.add("codec-differs", file.name, f"It is {codec}; meta/info.json says {said}")
    _check_spans(data, file, found)
    if not decode:
        times = frame_times(path)
        _check_frames(data, file, times, found, "")
        return
    with Reader(path) as video:
        seen.sizes.setdefault(file.camera, {})[file.name] = video.info.height, video.info.width
        rate = video.info.fps
        times, looks = _watch(data, file, video)
        trouble = video.errors[0] if video.lost and video.errors else "frames do not decode" if video.lost else ""
    for i, pictures in looks.items():
        stats = st.of_pictures(np.stack([p for p, _ in pictures]))
        seen.stats[i, file.camera] = stats
        seen.thumbs[i, file.camera] = np.mean([t for _, t in pictures], 0)
    if rate and len(times) > 1 and not trouble and abs(rate / data.fps - 1) > 0.01:
        found.add("video-fps", file.name, f"It has {rate:.4g} frames a second; meta/info.json says {data.fps:g}")
        return  # that no frame is where it should be follows
    _check_frames(data, file, times, found, trouble)


def _codec(path: Path) -> str | None:
    """The codec's name, or None where no decoder is known."""
    with av.open(f"file:{path}") as container:
        if not container.streams.video:
            raise MediaError(f"{path.name} holds no video stream.", "no_video_stream")
        context = container.streams.video[0].codec_context
        return None if context is None else context.codec.canonical_name


def _watch(
    data: LeRobotDataset, file: _File, video: Reader
) -> tuple[np.ndarray, dict[int, list[tuple[np.ndarray, np.ndarray]]]]:
    """All times, and for each episode up to twelve evenly spaced (picture, thumbnail `8 8 3`)."""
    order = sorted(file.spans, key=lambda i: file.spans[i])
    begins = np.array([file.spans[i][0] for i in order])
    picks = {i: set(np.linspace(0, data.episodes[i]["length"] - 1, st.PICTURES).round().astype(int).tolist()) for i in order}
    times: list[float] = []
    looks: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seconds, frame in video.frames():
        times.append(seconds)
        place = int(np.searchsorted(begins, seconds + 0.5 / data.fps, side="right")) - 1
        if place >= 0 and round((seconds - begins[place]) * data.fps) in picks[order[place]]:
            looks.setdefault(order[place], []).append((video.pixels(frame), video.pixels(frame, (8, 8)).astype(np.float32)))
    return np.array(times), looks


def _check_spans(data: LeRobotDataset, file: _File, found: Findings) -> None:
    half, last = 0.5 / data.fps, (-1.0, -1)
    key = data.keys[file.camera]
    for i in sorted(file.spans, key=lambda i: file.spans[i]):
        begin, end = file.spans[i]
        index = data.episodes[i]["episode_index"]
        said = data.episodes[i].get(f"videos/{key}/to_timestamp")
        if isinstance(said, (int, float)) and abs(said - end) > half:
            what = f"It is said to lie at {begin:.3f} to {said:.3f} s of {file.name}; with its length it ends at {end:.3f} s"
            found.add("video-span", f"episode {index}", what)
        if begin < last[0] - half:
            what = f"It begins at {begin:.3f} s of {file.name}, before episode {last[1]} ends there ({last[0]:.3f} s)"
            found.add("video-span", f"episode {index}", what)
        last = max(last, (end, index))


def _check_frames(
    data: LeRobotDataset,
    file: _File,
    times: np.ndarray,
    found: Findings,
    trouble: str,
) -> None:
    """Every row has its frame, and every frame its row."""
    half = 0.5 / data.fps
    ends = times[-1] + half if len(times) else 0.0
    short: list[int] = []
    for i, (begin, end) in file.spans.items():
        index, length = data.episodes[i]["episode_index"], data.episodes[i]["length"]
        due = begin + np.arange(length) / data.fps
        off = _off(times, due)
        there = int(((times >= begin - half) & (times < end - half)).sum())
        if trouble and (off > half).any():
            found.add(
                "video-damaged",
                f"episode {index}, {file.name}",
                f"{int((off > half).sum())} of {length} frames do not decode ({trouble})",
            )
        elif ends < end - 1.5 / data.fps or (len(due) and due[-1] > ends):
            short.append(index)
        elif (off > half + 1e-3).any() or there != length:
            what = (
                f"It has {length} rows and {there} frames in {file.name}"
                if there != length
                else f"Frames of {file.name} are off by up to {off.max():.3f} s"
            )
            found.add("video-frames", f"episode {index}", what)
    if short:
        due = max(end for _, end in file.spans.values())
        what = f"It ends at {ends:.2f} s, before {episodes_named(short)} of camera {file.camera} does ({due:.2f} s)"
        found.add("video-short", file.name, what)
    extra = int((times > max(e for _, e in file.spans.values()) - half + 1e-3).sum())
    if extra:
        found.add("video-long", file.name, f"It has {extra} frames after its last episode ends")
    if trouble and "video-damaged" not in found.kinds():
        found.add("video-damaged", file.name, f"Something in it does not decode ({trouble})")


def _off(times: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Seconds from each moment to the nearest of `times`, which rise."""
    if not len(times):
        return np.full(len(due), np.inf)
    after = np.searchsorted(times, due).clip(max=len(times) - 1)
    return np.minimum(np.abs(times[after] - due), np.abs(times[(after - 1).clip(min=0)] - due))


def _check_stills(data: LeRobotDataset, found: Findings) -> None:
    """Pictures that lie in the tables."""
    for camera in [c for c, key in data.keys.items() if data.features[key]["dtype"] == "image"]:
        for i, record in enumerate(data.episodes):
            try:
                sizes = {p.shape[:2] for p in data.pictures(i, camera)}
            except BadInput as error:
                found.add("picture-unreadable", f"episode {record['episode_index']}, camera {camera}", str(error))
                continue
            except KeyError:
                continue  # a missing column is told already
            if len(sizes) > 1:
                found.add(
                    "video-size", f"episode {record['episode_index']}, camera {camera}", f"Its pictures have {len(sizes)} sizes"
                )
