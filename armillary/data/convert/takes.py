"""One episode on its way from one layout to another: its numbers in memory, its pictures still in their files.

Pictures move as packets wherever that gives exactly the same frames (`encoded.cut`); only where it does not are they encoded anew.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.data.convert.encoded import CODEC_NAMES, Encoded, cut, look
from armillary.errors import BadInput
from armillary.media import write_video
from armillary.presets import from_json, to_json
from armillary.types import ActionSpec, Camera, Episode


@dataclass(frozen=True)
class Span:
    """Frames in a video file. Args: `times` seconds on its clock, float64 `t`; `whole` when they are all of them."""

    path: Path
    times: np.ndarray
    whole: bool = False


@dataclass(frozen=True)
class Take:
    """Args: `episode` with no frames in it; `spans` for cameras that are video files; `pictures` decodes any camera, uint8 `h w 3`;
    `extra` further columns of numbers, `t` or `t n`; `t5` a ready text embedding (never opened);
    `robot` its type."""

    key: str
    episode: Episode
    spans: Mapping[str, Span]
    pictures: Mapping[str, Callable[[], Iterator[np.ndarray]]]
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    t5: Path | None = None
    robot: str = ""

    def __len__(self) -> int:
        return len(self.episode)


def render(take: Take, camera: str, out: Path, codec: str = "", crf: int = 18, even: bool = False) -> tuple[Encoded, bool]:
    """The pictures of one camera as a video of its own.

    Args:
        codec: an encoder of `encoded.CODEC_NAMES`, also for what is copied; empty copies whatever it is, and encodes as libx264.
        even: frame `k` must be shown at `k / fps`.

    Returns:
        (the video, whether its packets were copied).

    Raises:
        BadInput: where the pictures do not decode whole, or are fewer or more than the episode's actions.
    """
    fps, span = take.episode.fps, take.spans.get(camera)
    if span is not None:
        copied = cut(span.path, span.times, fps, out)
        if not copied and span.whole and span.path.suffix.lower() == ".mp4":
            shutil.copyfile(span.path, out)
            copied = True
        if copied:
            video = look(out, fps, len(take))
            fits = not codec or (video.codec == CODEC_NAMES[codec] and video.pix_fmt == "yuv420p")
            if fits and (video.even or not even):
                return video, True
            if even and not video.even:
                raise BadInput(f"{span.path.name} has a variable frame rate; this layout knows one rate only.")
    write_video(out, take.pictures[camera](), fps, codec or "libx264", crf)
    return look(out, fps, len(take)), False


# As JSON --------------------------------------------------------------------------------------------------------------------------


def record_of(take: Take, videos: Mapping[str, tuple[str, Encoded]]) -> dict[str, Any]:
    """Everything of an episode that JSON can hold: all but pictures and a simulator's exact arrays.

    Args:
        videos: camera -> (path of its video within the data set, the video).
    """
    e = take.episode
    views = {c.name: c for c in e.cameras}
    cameras: dict[str, Any] = {}
    for camera, (name, video) in videos.items():
        cameras[camera] = {"video": name, "width": video.shape[1], "height": video.shape[0], "codec": video.codec}
        if camera in views:
            view = views[camera]
            cameras[camera] |= {"intrinsics": view.intrinsics, "pose": view.pose, "of": [view.width, view.height]}
    out: dict[str, Any] = {
        "id": e.id,
        "fps": e.fps,
        "frames": len(e),
        "instruction": e.instruction,
        "caption": e.caption,
        "success": e.success,
        "robot_type": take.robot,
        "cameras": cameras,
    }
    if e.actions.size:
        out |= {"spec": e.spec, "actions": e.actions}
    if e.states.size:
        out |= {"state_names": e.state_names, "states": e.states}
    if e.captions:
        out["captions"] = dict(e.captions)
    if e.rewards is not None:
        out["rewards"] = e.rewards
    if take.extra:
        out["columns"] = {k: {"dtype": str(v.dtype), "values": v} for k, v in take.extra.items()}
    return to_json(out)


def episode_of(key: str, record: Mapping[str, Any], frames: int, fps: float, text: str, spec: ActionSpec | None) -> Episode:
    """An episode without pictures from a JSON record: ours, or another's with `action(s)`, `state(s)`, `texts`, `caption` ...

    Args:
        frames: of its video. text: a caption that lay beside it. spec: what actions mean where the record does not say.

    Raises:
        BadInput: for numbers that are none, or other than the frames.
    """
    given = record.get("spec")
    actions = _matrix(record, ("actions", "action"), frames, key)
    states = _matrix(record, ("states", "state"), frames, key)
    rewards = _matrix(record, ("rewards", "reward"), frames, key)
    texts = record.get("texts")
    asked = record.get("instruction", texts[0] if isinstance(texts, list) and texts else record.get("task", ""))
    caption = str(record.get("caption", "") or "")
    if not asked and not caption:
        caption = text
    names = record.get("state_names") or [f"state_{j}" for j in range(states.shape[1])]
    success = record.get("success")
    return Episode(
        id=str(record.get("id") or record.get("uuid") or key),
        fps=float(record.get("fps") or fps),
        frames={},
        actions=actions,
        states=states,
        spec=from_json(ActionSpec, given) if given else spec or unknown_spec(actions, fps),
        state_names=tuple(map(str, names)),
        rewards=rewards.reshape(-1) if rewards.size else None,
        success=None if success is None else bool(success),
        instruction=str(asked or ""),
        caption=caption,
        cameras=tuple(_views(record)),
        captions={str(k): str(v) for k, v in told.items()} if isinstance(told := record.get("captions"), Mapping) else {},
    )


def unknown_spec(actions: np.ndarray, fps: float) -> ActionSpec:
    """What can be said of actions that nobody described: how many there are and how large they get."""
    width = actions.shape[1]
    low = tuple(map(float, actions.min(0))) if width else ()
    high = tuple(map(float, actions.max(0))) if width else ()
    return ActionSpec(tuple(f"action_{j}" for j in range(width)), ("unknown",) * width, "unknown", fps, "absolute", low, high)


def columns_of(record: Mapping[str, Any], frames: int, key: str) -> dict[str, np.ndarray]:
    """The further columns of a record; and Bridge's `continuous_gripper_state`, which lies beside its `state`."""
    out = {}
    given = record.get("columns")
    for name, column in (given if isinstance(given, Mapping) else {}).items():
        try:
            out[name] = np.asarray(column["values"], np.dtype(column["dtype"]))
        except (TypeError, ValueError, KeyError) as error:
            raise BadInput(f"{key}: column {name} is no list of numbers ({error}).") from error
    gripper = _matrix(record, ("continuous_gripper_state",), frames, key)
    if gripper.size:
        out["observation.gripper"] = gripper
    for name, values in out.items():
        if len(values) != frames:
            raise BadInput(f"{key} has {frames} frames and {len(values)} rows of {name}.")
    return out


def _matrix(record: Mapping[str, Any], names: tuple[str, ...], frames: int, key: str) -> np.ndarray:
    """float32 `frames n`. One row less than frames is completed with zeros: nothing is done after the last frame."""
    found = next((n for n in names if record.get(n) is not None), "")
    if not found:
        return np.zeros((frames, 0), np.float32)
    try:
        values = np.asarray(record[found], np.float32)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{key}: {found} is no table of numbers ({error}).") from error
    values = values.reshape(len(values), -1) if values.size else np.zeros((frames, 0), np.float32)
    if found.startswith("action") and len(values) == frames - 1:
        values = np.concatenate([values, np.zeros((1, values.shape[1]), np.float32)])
    if len(values) != frames:
        raise BadInput(f"{key} has {frames} frames and {len(values)} rows of {found}.")
    return values


def _views(record: Mapping[str, Any]) -> Iterator[Camera]:
    cameras = record.get("cameras")
    for name, view in (cameras if isinstance(cameras, Mapping) else {}).items():
        if isinstance(view, Mapping) and "pose" in view and "intrinsics" in view:
            width, height = view.get("of") or (view.get("width", 0), view.get("height", 0))
            yield Camera(name, int(width), int(height), np.asarray(view["intrinsics"], float), np.asarray(view["pose"], float))


def checked(take: Take) -> Take:
    """The take, when its numbers are numbers.

    Raises:
        BadInput: naming what is not finite.
    """
    e = take.episode
    for name, values in {"action": e.actions, "state": e.states, "reward": e.rewards, **take.extra}.items():
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadInput(f"{take.key}: {name} is NaN or infinite in {int((~np.isfinite(values)).sum())} places.")
    return take


def chosen(take: Take, cameras: tuple[str, ...]) -> Take:
    """The take with these cameras only, in this order.

    Raises:
        BadInput: when it lacks one.
    """
    lacking = [c for c in cameras if c not in take.pictures]
    if lacking:
        raise BadInput(f"{take.key} has no camera {lacking[0]!r}; it has {', '.join(take.pictures) or 'none'}.")
    views = tuple(v for v in take.episode.cameras if v.name in cameras)
    return dataclasses.replace(
        take,
        episode=dataclasses.replace(take.episode, cameras=views),
        spans={c: take.spans[c] for c in cameras if c in take.spans},
        pictures={c: take.pictures[c] for c in cameras},
    )
