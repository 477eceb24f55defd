"""The nouns that cross from room to room.

Every one is a frozen dataclass; a verb may import a noun, never the reverse. Axes are named `b` batch, `v` view, `t` frame,
`c` channel, `h w` pixel or cell, `n` token, `d` width, `a` action, `s` state. Stored frames are uint8 `t h w c` in RGB; what enters a
network is float `b c t h w` in [-1, 1]. Tensors are torch's, but this file does not import torch: naming a noun costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The lattice that a flat run of tokens `n` was unrolled from, outermost axis first."""

    v: int = 1
    t: int = 1
    h: int = 1
    w: int = 1

    @property
    def n(self) -> int:
        return self.v * self.t * self.h * self.w


@dataclass(frozen=True)
class Video:
    """Decoded frames.

    Args:
        frames: uint8 `t h w 3`, RGB, upright, square pixels.
        fps: mean frames a second.
        times: presentation time of each frame in seconds (float64 `t`); variable frame rate lives here, never in `fps`.
        path: where it came from.
    """

    frames: np.ndarray
    fps: float
    times: np.ndarray
    path: str = ""

    @property
    def seconds(self) -> float:
        return float(self.times[-1] - self.times[0] + 1.0 / self.fps) if len(self.times) else 0.0


@dataclass(frozen=True)
class Rejection:
    """Why a clip or file was left out: the filter, one sentence, the score and the threshold it missed."""

    by: str
    reason: str
    score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Clip:
    """A stretch of one source. `scores[name]` and `tags[name]` hold whatever the stages measured: a new filter adds no field.

    Args:
        id: stable hash of source content and span.
        source: the file it was cut from.
        start, end: seconds on the source's own clock (PTS x time base), half open.
        start_frame: number of its first frame in the source; num_frames: from there on.
        path: the cut mp4, once written.
        embedding: unit vector float32 `d`, once computed.
        rejected: empty for a kept clip.
    """

    id: str
    source: str
    start: float
    end: float
    path: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    start_frame: int = 0
    num_frames: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    caption: str = ""
    embedding: np.ndarray | None = None
    rejected: tuple[Rejection, ...] = ()

    def replace(self, **changes: Any) -> Clip:
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Shard:
    """One tar of clips of a bucket (resolution, aspect, length): `key.mp4 key.json key.txt` for each clip."""

    path: str
    bucket: str
    num_clips: int
    sha256: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActionSpec:
    """What an action vector means. It travels inside every checkpoint that was trained on actions.

    Args:
        names: one per component, in order.
        units: one per component (`m/s`, `rad`, `1` for a normalised command).
        frame: the coordinate frame, e.g. `world`, `gripper`, `base`.
        rate: actions a second.
        mode: `delta` or `absolute`.
        low, high: bounds a user may command.
        mean, std: the normaliser applied before a network sees an action.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    frame: str
    rate: float
    mode: Literal["delta", "absolute"]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def dim(self) -> int:
        return len(self.names)

    def differences(self, other: ActionSpec) -> list[str]:
        """Every field in which two specs differ, as `field: ours != theirs`; the normaliser counts."""
        out = []
        for f in dataclasses.fields(self):
            a, b = getattr(self, f.name), getattr(other, f.name)
            same = len(a) == len(b) and bool(np.allclose(a, b)) if f.name in ("low", "high", "mean", "std") else a == b
            if not same:
                out.append(f"{f.name}: {a} != {b}")
        return out


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, OpenCV convention.

    Args:
        intrinsics: 3x3, pixels (the centre of the first one lies at 0.5, 0.5), or `t 3 3` when it zooms.
        pose: camera-to-world 4x4 (x right, y down, z forward), or `t 4 4` when it moves.
    """

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    pose: np.ndarray


@dataclass(frozen=True)
class Episode:
    """One stretch of acting in a world, simulated or recorded.

    Frame `i` is what is seen before action `i`; the last action is padding when the world ended there.

    Args:
        frames: camera name -> uint8 `t h w 3`.
        actions: float32 `t a`, in the units of `spec`.
        states: float32 `t s`; names in `state_names`.
        rewards: float32 `t`.
        truth: exact arrays of a simulator, first axis `t` (object poses, contacts ...); empty for real data.
        instruction: what the actor was asked to do; `caption`: what is seen; `captions`: camera name -> what that one sees, where
            they were told apart.
    """

    id: str
    fps: float
    frames: Mapping[str, np.ndarray]
    actions: np.ndarray
    states: np.ndarray
    spec: ActionSpec
    state_names: tuple[str, ...] = ()
    rewards: np.ndarray | None = None
    success: bool | None = None
    instruction: str = ""
    caption: str = ""
    cameras: tuple[Camera, ...] = ()
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class Latents:
    """What a continuous tokenizer says of a video: float `b c t h w`."""

    values: Tensor

    @property
    def grid(self) -> Grid:
        _, _, t, h, w = self.values.shape
        return Grid(1, t, h, w)


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of latents, float `c t`: for each channel and each latent frame of a clip.

    The first latent frame stands for one picture and is unlike the others, hence `t`; with t = 1 all frames share a column.
    """

    mean: Tensor
    std: Tensor

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents float `b c t h w` of a clip from its start -> zero mean and unit variance.

        Raises:
            ValueError: more latent frames than these statistics were taken of, or other channels.
        """
        mean, std = self._columns(latents)
        return (latents - mean) / std

    def denormalise(self, latents: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        mean, std = self._columns(latents)
        return latents * std + mean

    def _columns(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        channels, frames = self.mean.shape
        _, c, t, _, _ = latents.shape
        if c != channels or (frames > 1 and t > frames):
            raise ValueError(f"These statistics are of {frames} latent frames of {channels} channels; got {t} of {c}.")
        mean, std = (v.to(latents)[None, :, : t if frames > 1 else 1, None, None] for v in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True)
class Tokens:
    """What a discrete tokenizer says of a video: int64 `b t h w`, each below `vocab`."""

    ids: Tensor
    vocab: int

    @property
    def grid(self) -> Grid:
        _, t, h, w = self.ids.shape
        return Grid(1, t, h, w)


@dataclass(frozen=True)
class Batch:
    """What a trainable is given: one of `video`, `latents`, `tokens`, and whatever conditions there are.

    With several views `t` of what is seen (and of cameras) stands for `(v t)`: all frames of the first view, then those of the second.
    Views are seen at the same moments, so actions have their own plain `t`.

    Args:
        video: float `b c t h w` in [-1, 1].
        latents: float `b c t h w`, as the tokenizer gives them (a world normalises them itself).
        tokens: int64 `b t h w`.
        actions: float `b t a`, raw units; action `i` leads from frame `i` to frame `i+1` of the finest clock.
        context: text embeddings float `b n d`; `context_mask` bool `b n`, true where there is text. With `view_text` it is
            `(v n)`: what is said of the first view, then of the second.
        text: the sentences themselves, one a row; `view_text`: one a view for each row, empty where views have none of their own.
        fps: float `b`.
        keys: which sample each row is, for messages.
        views: how many ride on time.
        poses: where the camera of each frame of the finest clock stands, float32 `b t 4 4` from its axes (OpenCV) to those of the
            row's first camera, in the data's own unit of length. The first one is therefore the identity.
        intrinsics: float32 `b t 3 3`, in pixels of the frames as they are given to the tokenizer.
        trajectory: float32 `b 64 3`: where the vehicle goes after a row's first frame, a point every 0.1 s, as it sees it from there
            (ahead, to the left, up; metres).
        padding: float32 `b 1 h w` in pixels, 1 where there is no picture but what was filled in around it.
    """

    video: Tensor | None = None
    latents: Tensor | None = None
    tokens: Tensor | None = None
    actions: Tensor | None = None
    context: Tensor | None = None
    context_mask: Tensor | None = None
    text: tuple[str, ...] = ()
    fps: Tensor | None = None
    keys: tuple[str, ...] = ()
    views: int = 1
    view_text: tuple[tuple[str, ...], ...] = ()
    poses: Tensor | None = None
    intrinsics: Tensor | None = None
    trajectory: Tensor | None = None
    padding: Tensor | None = None

    @property
    def grid(self) -> Grid:
        """Of what is seen, whichever form it has; `t` is that of one view."""
        for x in (self.video, self.latents, self.tokens):
            if x is not None:
                t, h, w = x.shape[-3:]
                return Grid(self.views, t // self.views, h, w)
        return Grid(0, 0, 0, 0)

    @property
    def size(self) -> int:
        for x in (self.video, self.latents, self.tokens):
            if x is not None:
                return len(x)
        return 0

    def to(self, device: Any) -> Batch:
        moved = {
            f.name: v.to(device)
            for f in dataclasses.fields(self)
            if hasattr(v := getattr(self, f.name), "to") and f.name != "text"
        }
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class Conditioning:
    """What steers a world while it is sampled. A condition enters by a port, never by a subclass.

    Args:
        context, context_mask: text embeddings `b n d` and `b n`, for cross-attention.
        negative: embeddings of the negative prompt, same shapes (guidance's other end; zeros when absent).
        actions: float `b t a`, raw units, one per generated frame.
        channels: extra maps `b c t h w` concatenated to the latent.
        modulation: extra vectors `b d` added to the timestep vector.
        clip_channels: the same port as `channels`, for what holds for a whole clip, given frames too: `b d v t h w`, axes of 1 where all
            are alike.
        views: how many ride on `t` of latents and channels; a `context` of `b v n d` (its mask `b v n`) has a text of each.
        trajectory: `b 64 3`, as in a `Batch`, seen from the clip's first frame.
        poses: camera-to-world `b t 4 4` (OpenCV) on the finest clock: of the last given frame, then of each further one.
        intrinsics: `b t 3 3` of the same frames, in pixels.
    """

    context: Tensor | None = None
    context_mask: Tensor | None = None
    negative: Tensor | None = None
    actions: Tensor | None = None
    channels: Tensor | None = None
    modulation: Tensor | None = None
    clip_channels: Tensor | None = None
    views: int = 1
    trajectory: Tensor | None = None
    poses: Tensor | None = None
    intrinsics: Tensor | None = None


@dataclass(frozen=True)
class Verdict:
    """What one rail of the guard did. `failed` always blocks; `skipped` says why in `reason`.

    Args:
        rail: its name in the table.
        state: `ran`, `skipped` or `failed`.
        blocked: whether this rail alone refuses.
        score: its score in [0, 1], when it has one; `version`: of the rail and its data.
        category: of the guard's taxonomy, when the rail names one.
    """

    rail: str
    state: Literal["ran", "skipped", "failed"]
    blocked: bool
    reason: str = ""
    score: float | None = None
    version: str = "1"
    seconds: float = 0.0
    category: str = ""


@dataclass(frozen=True)
class Rollout:
    """A dreamed video and everything needed to dream it again.

    Args:
        frames: uint8 `t h w 3`; the first `num_given` were given, not dreamed.
        sidecar: JSON-able record: world and its hash, prompt, seed, steps, guidance, versions, verdicts, sha256 of the pixels.
        path: the mp4, when one was written (the sidecar lies beside it as `.json`).
    """

    frames: np.ndarray
    fps: float
    num_given: int = 0
    actions: np.ndarray | None = None
    prompt: str = ""
    seed: int = 0
    verdicts: tuple[Verdict, ...] = ()
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""

    def summary(self) -> dict[str, Any]:
        """What the command line tells of it: where it lies and what it is; the whole record is the sidecar."""
        t, h, w = self.frames.shape[:3]
        world = self.sidecar.get("world", {})
        return {
            "path": self.path,
            "video": f"{t} frames of {h} x {w}, {self.fps:g} a second, {self.num_given} given",
            "prompt": self.prompt,
            "seed": self.seed,
            "world": world.get("name", ""),
            "adapters": [a["name"] for a in world.get("adapters", ())],
            "rails that ran": [v.rail for v in self.verdicts if v.state == "ran"],
        }


@dataclass(frozen=True)
class Report:
    """Figures by name, the notes that qualify them, and where the readable version lies."""

    title: str
    metrics: Mapping[str, Any]
    notes: Sequence[str] = ()
    path: str = ""
