"""Captions: from a sidecar beside the video, from a vision model elsewhere or here, or from what was measured.

One caption a window of 256 frames. The clip's caption is its first window's; when there are several, `tags["captions"]` holds all as
JSON: `[{"start_frame", "end_frame", "caption"}, …]` in frames of the clip. `tags["caption_source"]` says whose words they are: `sidecar`,
`endpoint:<model>`, `transformers:<folder>`, `measured`, or `none`; `tags["caption_error"]` why there is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from armillary.curate.caption_endpoint import Endpoint, plain
from armillary.curate.caption_local import Local
from armillary.curate.caption_measured import Measured
from armillary.curate.caption_window import Answer, CaptionConfig, Captioner, Window, windows_of
from armillary.curate.stage import Context
from armillary.errors import BadInput, lookup
from armillary.types import Clip

CAPTIONERS: dict[str, Any] = {"measured": Measured, "endpoint": Endpoint, "transformers": Local}

OURS = ("caption", "captions", "caption_source", "caption_error", "duplicate_of", "damaged")  # tags no sidecar may set
FACTS = 32  # texts taken from one sidecar

__all__ = ["CAPTIONERS", "Caption", "CaptionConfig", "Captioner", "read_sidecar"]


class Caption:
    """The stage: captions for every clip that is not rejected."""

    name = "caption"

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = c = config or CaptionConfig()
        self.captioner: Captioner | None = None if c.by == "none" else lookup(CAPTIONERS, c.by, "captioner")(c)

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        given, facts = self._given(context.path)
        clips = [c.replace(tags={**c.tags, **facts}) for c in clips]
        if given.get("caption"):
            return [c if c.rejected else _told(c, given["caption"], "sidecar") for c in clips]
        if self.captioner is None:
            return [c if c.rejected else _told(c, "", "none") for c in clips]
        windows = {c.id: windows_of(c, context.segment) for c in clips if not c.rejected}
        flat = [w for group in windows.values() for w in group]
        answers = iter(self.captioner.captions(flat))
        found = {key: [(w, next(answers)) for w in group] for key, group in windows.items()}
        return [self._captioned(c, found[c.id]) if c.id in found else c for c in clips]

    def _given(self, video: Path) -> tuple[dict[str, str], dict[str, str]]:
        """(what the sidecar says, what of it becomes tags). One that cannot be read is an error of the caption, not of the clip."""
        try:
            given = read_sidecar(video) if self.config.sidecar else {}
        except BadInput as error:
            return {}, {"caption_error": str(error)}
        return given, {k: v for k, v in given.items() if k not in OURS}

    def _captioned(self, clip: Clip, found: list[tuple[Window, Answer]]) -> Clip:
        assert self.captioner is not None
        texts = [a.text for _, a in found if a.text]
        clip = _told(clip, texts[0] if texts else "", self.captioner.source if texts else "none")
        tags = dict(clip.tags)
        if len(found) > 1 and texts:
            rows = [{"start_frame": w.first, "end_frame": w.last, "caption": a.text} for w, a in found]
            tags["captions"] = json.dumps(rows, ensure_ascii=False)
        if errors := [a.error for _, a in found if a.error]:
            tags["caption_error"] = errors[0] if len(found) == 1 else f"{len(errors)} of {len(found)} windows: {errors[0]}"
        return clip.replace(tags=tags)


def _told(clip: Clip, caption: str, source: str) -> Clip:
    return clip.replace(caption=caption, tags={**clip.tags, "caption_source": source})


def read_sidecar(video: Path) -> dict[str, str]:
    """What stands in `name.json` (its `caption`, and every other text as a tag) or `name.txt` (the caption) beside a video.

    Raises:
        BadInput: for a sidecar that cannot be read.
    """
    for path in (video.with_suffix(".json"), video.with_suffix(".txt")):
        try:
            there = path.is_file() and path.stat().st_size <= 1 << 20
        except OSError:  # a name so long that another suffix makes it too long: no such file can be
            there = False
        if not there:
            continue
        try:
            text = path.read_text()
            data = json.loads(text) if path.suffix == ".json" else {"caption": text}
        except (OSError, ValueError) as error:
            raise BadInput(f"The sidecar {path} is not readable: {error}.") from error
        if isinstance(data, dict):
            texts = [(str(k), plain(v)) for k, v in data.items() if isinstance(v, str)]
            return dict(texts[:FACTS])
    return {}
