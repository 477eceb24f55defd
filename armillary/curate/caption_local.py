"""Captions from a vision-language model that lies in a folder on this machine, run by the `transformers` package. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armillary.curate.caption_endpoint import plain
from armillary.curate.caption_window import Answer, CaptionConfig, Window, picked
from armillary.errors import BadInput, require


class Local:
    """Any folder that `AutoModelForImageTextToText` and `AutoProcessor` read: safetensors only, none of its own code is run.

    Raises:
        BadInput: no folder, or one that holds no such model. MissingExtra: `transformers` is not installed.
    """

    def __init__(self, config: CaptionConfig | None = None) -> None:
        self.config = c = config or CaptionConfig()
        folder = Path(c.model)
        if not c.model or not (folder / "config.json").is_file():
            raise BadInput(
                f"The transformers captioner wants caption.model, the folder of a vision-language model; got {c.model!r}."
            )
        self.source = f"transformers:{folder.resolve().name}"
        self._pair: tuple[Any, Any] | None = None

    def captions(self, windows: Sequence[Window]) -> list[Answer]:
        return [self._one(w) for w in windows]

    def pair(self) -> tuple[Any, Any]:
        """(processor, model), loaded when the first picture is there and kept."""
        if self._pair is None:
            hub, torch = require("transformers", "captions by a local model"), require("torch", "captions by a local model")
            try:
                processor = hub.AutoProcessor.from_pretrained(self.config.model, local_files_only=True, trust_remote_code=False)
                model = hub.AutoModelForImageTextToText.from_pretrained(
                    self.config.model, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="auto"
                )
            except (OSError, ValueError, KeyError) as error:
                raise BadInput(f"{self.config.model} holds no vision-language model that can be read: {error}") from error
            self._pair = processor, model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return self._pair

    def _one(self, window: Window) -> Answer:
        pictures = picked(window.looks, self.config.frames)
        if not pictures:
            return Answer("", "there is no picture of it")
        processor, model = self.pair()
        try:
            text = plain(said(processor, model, [k.rgb for k in pictures], self.config))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:  # out of memory, a prompt too long, no chat template
            return Answer("", f"{type(error).__name__}: {str(error)[:300]}")
        return Answer(text) if text else Answer("", "the answer is empty")


def said(processor: Any, model: Any, pictures: Sequence[Any], config: CaptionConfig) -> str:
    """What the model says of pictures (uint8 `h w 3` each): the likeliest words, so that the same pictures give the same caption."""
    from PIL import Image

    torch = require("torch", "captions by a local model")
    content: list[dict[str, Any]] = [{"type": "image", "image": Image.fromarray(p)} for p in pictures]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": config.prompt}]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    ).to(model.device, dtype=model.dtype)
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=config.tokens, do_sample=False)
    return processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
