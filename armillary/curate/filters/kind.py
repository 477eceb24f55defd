"""What sort of footage it is, and of what: the taxonomy of `docs/curation-types.md`, and how much of each class is taken.

Paper section 3.2.4 trains a classifier on a taxonomy to leave out abstract patterns, games and animation and to take more of some topics
and less of others. Here `curate.kinds` judges: by default from how the pictures are made, with a local vision model from what is in them.
One rule stands beside it, for what needs no belief: pictures of flat areas and a few exact values are graphics. A class that is not sure
enough is `unknown` and stays in; the topic is `other` then. The topic never rejects by itself.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from armillary.curate import kinds
from armillary.curate.filters.motion import Motion
from armillary.curate.filters.traits import traits
from armillary.curate.stage import Context, noted
from armillary.errors import BadInput
from armillary.types import Clip, Rejection

WHY = {
    "rendered": "a simulator's render",
    "animation": "drawn or rendered animation",
    "game": "a game with its overlay",
    "screen": "a screen, slides or a diagram",
    "abstract": "an abstract or test pattern",
    "natural": "natural footage",
    "unknown": "of no type that is known",
}
GRAPHICS = ("screen", "animation", "abstract")


@dataclass(frozen=True)
class TypeConfig:
    """Args:
    reject: types that are left out; out: least belief in all of them together that does it.
    sure: least belief that names a type, topic_sure: a topic.
    few: share of pixels with one of a few exact luma values (`measure.few_values`) from which it is graphics.
    plain: share of 8x8 cells without texture from which it is.
    weights: type or topic -> how much of it is taken: 0.25 keeps every fourth clip, by a hash of its id; 2 notes `tags["repeat"] = "2"`.
    model: a type classifier, by name or folder. embedder: a local CLIP or SigLIP folder, for a classifier that was trained on its vectors.
    """

    reject: tuple[str, ...] = ("animation", "game", "screen", "abstract")
    out: float = 0.7
    sure: float = 0.45
    topic_sure: float = 0.45
    few: float = 0.7
    plain: float = 0.7
    weights: Mapping[str, float] = field(default_factory=dict)
    model: str = kinds.DEFAULT
    embedder: str = ""

    def __post_init__(self) -> None:
        known = (*kinds.TYPES, *kinds.TOPICS, "unknown")
        for name in (*self.reject, *self.weights):
            if name not in known:
                raise BadInput(f"There is no type or topic {name!r}; there are {', '.join(known)}.")
        for name, weight in self.weights.items():
            if not 0 <= weight <= 100:
                raise BadInput(f"The weight of {name!r} is {weight}; it must lie between 0 (none) and 100.")


class Type:
    name = "type"

    def __init__(self, config: TypeConfig | None = None) -> None:
        self.config = config or TypeConfig()

    @functools.cached_property
    def judge(self) -> kinds.Kinds:
        model = kinds.load(self.config.model)
        wanted = self.embedder.name if self.embedder else kinds.TRAITS
        if model.embedder != wanted:
            raise BadInput(
                f"The type classifier {self.config.model!r} was trained on vectors of {model.embedder!r}, not of {wanted!r}."
            )
        return model

    @functools.cached_property
    def embedder(self) -> kinds.Embedder | None:
        return kinds.embedder(self.config.embedder) if self.config.embedder else None

    def process(self, clips: list[Clip], context: Context) -> list[Clip]:
        return [self._one(clip, context) for clip in clips]

    def _one(self, clip: Clip, context: Context) -> Clip:
        c = self.config
        looks = context.segment.looks_within(clip.start, clip.end)
        if not looks or float(np.median([k.measures["contrast"] for k in looks])) < 4.0:  # nothing, or one colour
            return noted(clip, tags={"type": "unknown", "topic": "other"})
        vector = self._vector(clip, context)
        beliefs = self.judge(vector)
        kind, topic = beliefs["type"], beliefs["topic"]
        few, plain = (float(np.median([k.measures[name] for k in looks])) for name in ("few", "plain"))
        graphics = min(few / c.few, plain / c.plain)
        outside = sum(kind.shares.get(n, 0.0) for n in c.reject)
        tag, why = self._word(kind, graphics, outside)
        about = topic.name if topic.sure >= c.topic_sure else "other"
        scores = {"graphics": graphics, "type_sure": kind.sure, "type_outside": outside, "topic_sure": topic.sure}
        scores |= {f"type_{n}": s for n, s in kind.shares.items()}
        scores |= {f"topic_{n.replace(' ', '_')}": s for n, s in topic.shares.items()}
        rejections = (why,) if why else ()
        tags = {"type": tag, "topic": about}
        if not rejections and not clip.rejected:
            more, rejections = sampled(clip.id, c.weights.get(tag, 1.0) * c.weights.get(about, 1.0), f"{tag}, {about}")
            tags |= more
        return noted(clip, scores, tags, rejections)

    def _word(self, kind: kinds.Belief, graphics: float, outside: float) -> tuple[str, Rejection | None]:
        """The type's name, and the reason to leave the clip out if there is one."""
        c = self.config
        if graphics >= 1.0:
            tag = kind.name if kind.name == "game" else max(GRAPHICS, key=lambda n: (kind.shares.get(n, 0.0), n))
            why = Rejection("type", f"{WHY[tag]}: flat areas of a few exact values", float(f"{graphics:.6g}"), 1.0)
            return tag, why if tag in c.reject else None
        if c.reject and outside >= c.out:
            tag = max(c.reject, key=lambda n: (kind.shares.get(n, 0.0), n))
            return tag, Rejection("type", WHY[tag], float(f"{outside:.6g}"), c.out)
        known = kind.sure >= c.sure and kind.name not in c.reject
        return kind.name if known else "unknown", None

    def _vector(self, clip: Clip, context: Context) -> np.ndarray:
        if self.embedder is not None:
            looks = context.segment.looks_within(clip.start, clip.end)
            picks = np.unique(np.linspace(0, len(looks) - 1, min(4, len(looks))).round().astype(int))
            return self.embedder.embed([looks[i].rgb for i in picks])
        measured = clip if "camera_speed" in clip.scores else Motion().process([clip], context)[0]
        vector = traits(measured, context.segment)
        assert vector is not None, "a clip with looks has traits"
        return vector


def lot(clip_id: str) -> float:
    """A number in [0, 1) that hangs on the id alone: the same clip draws the same in every run."""
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:7], "big") / 2**56


def sampled(clip_id: str, weight: float, what: str) -> tuple[dict[str, str], tuple[Rejection, ...]]:
    """(tags, rejections) of taking `weight` of a class: below one by lot, from one on as often as it says, the remainder by lot."""
    drawn = lot(clip_id)
    if weight < 1.0:
        why = f"sampled out: {weight:g} of {what} is taken"
        return {}, ((Rejection("type", why, float(f"{drawn:.6g}"), weight),) if drawn >= weight else ())
    count = int(weight) + (drawn < weight - int(weight))
    return ({"repeat": str(count)} if count > 1 else {}), ()
