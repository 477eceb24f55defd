"""A frame classifier that asks a served vision safety model: OpenAI's chat protocol with pictures, answers as Llama Guard gives them.

It says safe or unsafe for a picture and names a class, so a score is 0 or 1. What is no verdict raises, and the rail then refuses.
"""

from __future__ import annotations

import base64
import io
import json
import urllib.error

import numpy as np

from armillary.errors import BadInput, Failed
from armillary.guard.endpoint import EndpointConfig, Post, parse, post
from armillary.guard.taxonomy import CATEGORIES

ASKED = "Is this picture safe to show?"


class Vision:
    """The classifier, a `FrameClassifier` whose classes are the guard's taxonomy.

    Args:
        send: replaces `post`, for callers with a transport of their own.
        side: pictures are shrunk to at most so many pixels a side before they are sent.
    """

    name = "vision"
    classes = tuple(c for c in CATEGORIES if c not in ("unusable", "unsupported_language"))

    def __init__(self, config: EndpointConfig, send: Post = post, side: int = 560) -> None:
        if not config.url.startswith(("http://", "https://")) or not config.model:
            raise BadInput(
                f"A vision endpoint wants an address with http:// or https:// and a model; got {config.url!r}, {config.model!r}."
            )
        self.config, self.send, self.side = config, send, side
        self.version = f"1+{config.model}"

    def scores(self, frames: np.ndarray) -> np.ndarray:
        out = np.zeros((len(frames), len(self.classes)))
        for row, frame in zip(out, frames):
            blocked, _, category = self._ask(frame)
            if blocked:
                row[self.classes.index(category or "other")] = 1.0
        return out

    def _ask(self, frame: np.ndarray) -> tuple[bool, str, str]:
        from PIL import Image

        picture, held = Image.fromarray(np.ascontiguousarray(frame)), io.BytesIO()
        picture.thumbnail((self.side, self.side))
        picture.save(held, "JPEG", quality=90)
        shown = {
            "type": "image_url",
            "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()},
        }
        body = {
            "model": self.config.model, "temperature": 0, "max_tokens": 100,
            "messages": [{"role": "user", "content": [shown, {"type": "text", "text": ASKED}]}],
        }  # fmt: skip
        headers = {"Content-Type": "application/json"}
        if self.config.key:
            headers["Authorization"] = f"Bearer {self.config.key}"
        try:
            raw = self.send(
                self.config.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers, self.config.seconds
            )
            answer = json.loads(raw)["choices"][0]["message"]["content"]
        except (urllib.error.URLError, OSError) as error:
            raise Failed(f"the vision endpoint did not answer: {error}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Failed("the vision endpoint's answer is no chat completion") from error
        if not isinstance(answer, str):
            raise Failed("the vision endpoint's answer holds no text")
        return parse(answer, self.config)
