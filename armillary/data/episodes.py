"""Windows of one camera of recorded episodes (a LeRobot dataset), with their actions and sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from armillary import media
from armillary.data.base import Entry, Split, hash_files, split_entries
from armillary.data.lerobot.write import truth_path
from armillary.data.moments import fitted
from armillary.data.pixels import Pixels, fit_spec
from armillary.data.truth import load_truth
from armillary.errors import BadInput
from armillary.progress import say, track
from armillary.sims.words.retell import retell
from armillary.types import Camera, Episode


@dataclass(frozen=True)
class EpisodesConfig:
    """A LeRobot dataset, seen through one camera. Where the recorder knew its pose (`armillary sim record`), batches hold it.

    Args:
        path: its folder.
        camera: name of the camera; empty for the first.
        frames: in a window (1 + temporal x k for a tokenizer that compresses time).
        size: height and width; frames are cropped to that shape in the middle and resized by area.
        held_out: share of the episodes kept apart, chosen by a hash of the episode's number.
        focus: share of the windows drawn where most happens: contact, where the recorder knew it, else change of the picture.
        memory: GiB of decoded frames to keep.
        actions: false leaves them out, for a world that only watches.
        said: which sentence goes with a window: the episode's instruction or its caption, drawn anew each time, or always one of them
            where there is one. A caption says all that is seen, which is what painting from words needs.
        retold: further wordings of a simulator's caption that are drawn as often as it: a plain one, and so many middle and long ones.
    """

    path: str
    camera: str = ""
    frames: int = 9
    size: tuple[int, int] = (64, 64)
    held_out: float = 0.05
    focus: float = 0.0
    memory: float = 4.0
    actions: bool = True
    said: Literal["any", "caption", "instruction"] = "any"
    retold: int = 0

    def build(self, split: Split = "train") -> Pixels:
        """Raises BadInput: no dataset there, no such camera, or no episode is long enough."""
        from armillary.data.lerobot.read import LeRobotDataset

        root = Path(self.path)
        source = LeRobotDataset(root)
        camera = self.camera or next(iter(source.cameras), "")
        if camera not in source.cameras:
            raise BadInput(f"{root} has no camera {camera!r}; it has {', '.join(source.cameras) or 'none'}.")
        entries, numbers, broken = [], {}, []
        for i in track(range(len(source)), "read the index"):
            try:
                views = load_truth(truth_path(root, i))[2] if source.own else []
                entry = _entry(
                    i,
                    source.episode(i, cameras=()),
                    [_fitted(v, self.size) for v in views if v.name == camera],
                    self.said,
                    self.retold,
                )
                if source.features[source.keys[camera]]["dtype"] == "video":
                    source.video_path(i, camera)
                if entry.actions is not None and not np.isfinite(entry.actions).all():
                    raise BadInput(f"Episode {i} has actions that are NaN or infinite.")
            except BadInput as error:
                broken.append(str(error))
                continue
            entries.append(entry)
            numbers[entry.key] = i
        if not entries:
            raise BadInput(f"No episode of {root} can be read; the first: {broken[0]}")
        if broken:
            say(
                f"warning: {len(broken)} of {len(source)} episodes of {root} cannot be read and are left out: {'; '.join(broken[:5])}"
            )
        if split == "train" and (short := [f"{e.key} ({e.length})" for e in entries if e.length < self.frames]):
            more = f" and {len(short) - 8} more" if len(short) > 8 else ""
            say(f"note: {len(short)} episodes are shorter than {self.frames} frames and left out: {', '.join(short[:8])}{more}")
        training = split_entries([e for e in entries if e.length >= self.frames] or entries, self.held_out, "train", str(root))
        acting = self.actions and source.spec.dim > 0

        def read(entry: Entry) -> np.ndarray:
            return media.fit(source.episode(numbers[entry.key], cameras=(camera,)).frames[camera], self.size)

        settings = json.dumps({"camera": camera, "size": list(self.size)})
        files = (
            p for folder in ("meta", "data", "videos", "images", "truth") for p in (root / folder).rglob("*") if p.is_file()
        )
        return Pixels(
            str(root),
            entries,
            read,
            hash=hash_files(root, files, settings),
            split=split,
            frames=self.frames,
            size=self.size,
            fps=source.fps,
            spec=fit_spec(source.spec, training) if acting else None,
            held_out=self.held_out,
            focus=self.focus,
            memory=self.memory,
        )


def _fitted(camera: Camera, size: tuple[int, int]) -> Camera:
    """The camera of the frames that come out."""
    shape = (camera.height, camera.width)
    intrinsics = fitted(camera.intrinsics, shape, shape, size, video=False)
    return Camera(camera.name, size[1], size[0], intrinsics, camera.pose)


def _entry(index: int, episode: Episode, cameras: Sequence[Camera], said: str = "any", retold: int = 0) -> Entry:
    contact = episode.truth.get("contact")
    if contact is not None:
        contact = np.asarray(contact, np.float32).reshape(len(episode), -1).max(1)
    key = f"episode_{index:06d}"
    # A caption says what is seen and an instruction what was asked for: a world should understand either.
    sentences = {"instruction": episode.instruction, "caption": episode.caption}
    texts = tuple(t for t in sentences.values() if t)
    if said != "any" and sentences[said]:
        texts = (sentences[said],)
    if retold and episode.caption in texts:
        texts += retell(episode.caption, retold, index)
    actions = np.asarray(episode.actions, np.float32)
    return Entry(key, key, len(episode), texts, actions, contact, tuple(cameras))
