"""The table of rails and the gate that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armillary.errors import BadInput
from armillary.guard.centerface import FaceDetector
from armillary.guard.classifier import DEFAULT, Classifier, LazyModel
from armillary.guard.endpoint import Endpoint, EndpointConfig, Post, post
from armillary.guard.faces import Faces, FacesConfig, FacesOff
from armillary.guard.frames import FrameClassifier, Frames, FramesConfig
from armillary.guard.gate import Gate, Timeouts
from armillary.guard.inputs import Input
from armillary.guard.language import Language
from armillary.guard.local import Local, LocalConfig, Say
from armillary.guard.rail import FrameRail, PromptRail
from armillary.guard.technical import Technical, TechnicalConfig
from armillary.guard.words import Words
from armillary.guard.yunet import YuNet

# Every rail by name; the first six look at prompts, the others at frames.
RAILS: dict[str, Any] = {
    "input": Input,
    "language": Language,
    "words": Words,
    "classifier": Classifier,
    "endpoint": Endpoint,
    "local": Local,
    "technical": Technical,
    "frames": Frames,
    "faces": Faces,
}


def default_gate(
    *,
    lists: Sequence[str | Path] = (),
    weights: str | Path = DEFAULT,
    threshold: float | None = None,
    language: str = "block",
    endpoint: EndpointConfig | None = None,
    send: Post = post,
    local: LocalConfig | None = None,
    say: Say | None = None,
    faces: str = "blur",
    detector: FaceDetector | None = None,
    frame_classifier: FrameClassifier | None = None,
    frames: FramesConfig | None = None,
    technical: TechnicalConfig | None = None,
    timeouts: Timeouts | None = None,
) -> Gate:
    """The gate that ships: input, language, words, classifier and, when given, an endpoint and a local model before; technical, frames,
    faces after.

    Args:
        lists: word-list folders of your own; a file there replaces the shipped one of that name.
        weights: the prompt classifier's folder or shipped name; missing weights refuse every prompt.
        threshold: of the classifier, instead of the frozen one.
        language: `block` refuses prompts that are not English, `record` only says so.
        endpoint: a served safety model; without one, the one that the environment names (`EndpointConfig.from_environment`).
        local: a safety model in a folder here; without one, the one that the environment names (`LocalConfig.from_environment`).
        faces: `blur`, `solid` or `off`; `off` is recorded.
        detector: of faces; without one, the file that the environment names (`YuNet.from_environment`), else CenterFace.
        timeouts: None is the default, with more for a local model, which loads at the first prompt.
    """
    if faces not in ("blur", "solid", "off"):
        raise BadInput(f"faces={faces!r}: 'blur', 'solid' or 'off' is wanted.")
    model = LazyModel(weights)
    before: list[PromptRail] = [
        Input(),
        Language(model.known, language),
        Words(lists, model.known),
        Classifier(model, threshold),
    ]
    endpoint = endpoint or EndpointConfig.from_environment()
    if endpoint is not None:
        before.append(Endpoint(endpoint, send))
    local = local or LocalConfig.from_environment()
    if local is not None:
        before.append(Local(local, say, None if local.multilingual else Language(model.known)))
        timeouts = timeouts or Timeouts(prompt=600.0)
    found = detector or YuNet.from_environment()
    last: FrameRail = FacesOff() if faces == "off" else Faces(found, FacesConfig(style=faces))
    return Gate(before, (Technical(technical), Frames(frame_classifier, frames), last), timeouts)
