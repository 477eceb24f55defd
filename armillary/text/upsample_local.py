"""The prompt upsampler that runs a model from a folder on this machine, by the `transformers` package. Nothing is downloaded.

A causal language model is asked by its chat template where it has one, and else in the form that `recipes/upsampler.py` trains (`asked`).
A folder that also holds an image processor is a vision-language model: it is shown the first frame where there is one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import BadInput, Failed, require
from armillary.text.keep import INSTRUCTION, LIMIT, SEEN, Fits, kept
from armillary.text.prompt import check_prompt


def asked(prompt: str) -> str:
    """How a model without a chat template is asked, in training too."""
    return f"Short: {prompt}\nLong:"


@dataclass
class LocalUpsampler:
    """Safetensors only, and none of the folder's own code is run; loaded at the first prompt.

    Args:
        folder: of the model; `$ARMILLARY_UPSAMPLER_FOLDER` when None.
        tokens: most tokens of an answer.
    """

    folder: Path | None = None
    tokens: int = 256
    device: str = "cpu"
    _pair: Any = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        given = str(self.folder or os.environ.get("ARMILLARY_UPSAMPLER_FOLDER", ""))
        if not given or not (Path(given) / "config.json").is_file():
            raise BadInput(
                f"The local upsampler wants the folder of a language model: give it, or set ARMILLARY_UPSAMPLER_FOLDER; got {given!r}."
            )
        return Path(given)

    @property
    def name(self) -> str:
        return f"local:{self.path.resolve().name}"

    @property
    def sees(self) -> bool:
        return any((self.path / f).is_file() for f in ("preprocessor_config.json", "processor_config.json"))

    def pair(self) -> tuple[Any, Any]:
        """(tokenizer or processor, model)."""
        if self._pair is None:
            path = self.path  # a folder that is not there is said before a library that is not
            hub = require("transformers", "a local upsampler")
            reader, maker = (
                (hub.AutoProcessor, hub.AutoModelForImageTextToText)
                if self.sees
                else (hub.AutoTokenizer, hub.AutoModelForCausalLM)
            )
            safe = {"local_files_only": True, "trust_remote_code": False}
            try:
                model = maker.from_pretrained(path, use_safetensors=True, dtype="auto", **safe)
                self._pair = reader.from_pretrained(path, **safe), model.to(self.device).eval()
            except (OSError, ValueError, KeyError) as error:
                raise BadInput(f"{self.path} holds no language model that can be read: {error}") from error
        return self._pair

    def upsample(self, prompt: str, image: np.ndarray | None = None, fits: Fits | None = None) -> str:
        """The model's likeliest caption: the same prompt gives the same.

        Raises:
            BadInput: no such folder, or a picture for a model that sees none. Failed: nothing usable came; the prompt was not replaced.
        """
        prompt = check_prompt(prompt, LIMIT)
        if image is not None and not self.sees:
            raise BadInput(
                f"{self.path} sees no pictures; give the folder of a vision-language model, or no --image and --video."
            )
        try:
            said = self._said(prompt, image)
        except (
            RuntimeError,
            IndexError,
            TypeError,
        ) as error:  # out of memory, a prompt too long, a template that wants something else
            raise Failed(f"{self.name} could not answer: {type(error).__name__}: {str(error)[:300]}") from error
        text = " ".join(said.split())[:LIMIT]
        if not text:
            raise Failed(f"{self.name} answered with nothing.")
        return kept(prompt, text, fits)

    def _said(self, prompt: str, image: np.ndarray | None) -> str:
        torch = require("torch")
        reader, model = self.pair()
        if getattr(reader, "chat_template", None):
            content: Any = prompt
            if self.sees:
                from PIL import Image

                shown = [] if image is None else [{"type": "image", "image": Image.fromarray(image)}]
                content = [*shown, {"type": "text", "text": f"{INSTRUCTION}{SEEN if shown else ''}\n{prompt}"}]
            told = [] if self.sees else [{"role": "system", "content": INSTRUCTION}]
            inputs = reader.apply_chat_template(
                [*told, {"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        else:
            inputs = reader(asked(prompt), return_tensors="pt")
            inputs.pop("token_type_ids", None)
        inputs = inputs.to(model.device)
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=self.tokens, do_sample=False)
        words = reader.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        return words.rsplit("</think>", 1)[-1].strip().split("\n\n")[0]
