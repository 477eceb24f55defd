"""The prompt upsampler: worlds are trained on long captions, people write short prompts (paper section 5).

`small` needs nothing but the shipped weights and knows the simulators' words; `endpoint` asks any server that speaks the chat-completions
protocol; `local` runs a language model, or one that sees, from a folder; `template` only puts the prompt into a caption's form. What comes
back has passed no guard: ask it again with the upsampled text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from armillary.errors import BadInput, did_you_mean
from armillary.text.keep import LIMIT, Fits, sentence
from armillary.text.prompt import check_prompt
from armillary.text.upsample_endpoint import EndpointUpsampler
from armillary.text.upsample_local import LocalUpsampler
from armillary.text.upsample_small import SmallUpsampler


class Upsampler(Protocol):
    """Makes a longer prompt that says the same. `name` goes into the record of what it made."""

    @property
    def name(self) -> str: ...

    def upsample(self, prompt: str, image: np.ndarray | None = None, fits: Fits | None = None) -> str:
        """A longer prompt.

        Args:
            image: the first frame, uint8 `h w 3`, where the video is to go on from one; whoever cannot see it invents nothing.
            fits: whether the world's text encoder takes in the whole of a text.

        Raises:
            BadInput: the prompt is none, or the upsampler is not set up. Failed: nothing usable came; the prompt was not replaced.
        """
        ...


@dataclass(frozen=True)
class TemplateUpsampler:
    """The prompt as a whole sentence, followed by what is true of every video we are trained on: nothing new happens in it.

    Args:
        view, manner: the sentences about camera and course; either may be empty. A prompt that already speaks of its camera keeps the
            word, and one that already is a caption (40 words and more) is only tidied.
    """

    view: str = "The scene is seen from one fixed camera."
    manner: str = "The motion is continuous and physically plausible, without cuts."

    @property
    def name(self) -> str:
        return "template"

    def upsample(self, prompt: str, image: np.ndarray | None = None, fits: Fits | None = None) -> str:
        text = sentence(check_prompt(prompt, LIMIT))
        if len(text.split()) >= 40:
            return text
        said = text.casefold()
        more = []
        if self.view and not re.search(r"\b(camera|view|shot|angle|pov|footage|close-?up)\b", said):
            more.append(self.view)
        if self.manner and not re.search(r"\b(cuts?|montage|plausibl[ey])\b", said):
            more.append(self.manner)
        while more and fits is not None and not fits(" ".join([text, *more])):
            more.pop()
        return " ".join([text, *more])


UPSAMPLERS: dict[str, type[Upsampler]] = {
    "small": SmallUpsampler,
    "template": TemplateUpsampler,
    "endpoint": EndpointUpsampler,
    "local": LocalUpsampler,
}


def upsampler(name_or_folder: str | Path = "small") -> Upsampler:
    """An upsampler by its name in `UPSAMPLERS`, or the folder of a language model.

    Raises:
        BadInput: there is neither.
    """
    name = str(name_or_folder)
    if name in UPSAMPLERS:
        return UPSAMPLERS[name]()
    if Path(name).is_dir():
        return LocalUpsampler(Path(name))
    raise BadInput(did_you_mean("upsampler", name, UPSAMPLERS) + " The folder of a language model works too.")
