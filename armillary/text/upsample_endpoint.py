"""The prompt upsampler that asks a server: vLLM, SGLang, Ollama, llama.cpp or a hosted one, with the picture where there is one."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.errors import BadInput, Failed
from armillary.progress import say
from armillary.text.keep import INSTRUCTION, LIMIT, SEEN, Fits, kept
from armillary.text.prompt import check_prompt


@dataclass(frozen=True)
class EndpointUpsampler:
    """Asks a chat-completions server.

    Args:
        url: its base, such as `http://localhost:8000/v1`; `$ARMILLARY_UPSAMPLER_URL` when empty.
        model: its name there; `$ARMILLARY_UPSAMPLER_MODEL` when empty.
        key: sent as a bearer token; `$ARMILLARY_UPSAMPLER_KEY` when empty, none when that is too. It is in no message and no repr.
        timeout: seconds for each try; `retries`: further tries after a refusal that may pass (429, 5xx, no connection).
        wait: seconds before the second try; doubled each time.
    """

    url: str = ""
    model: str = ""
    key: str = ""
    timeout: float = 60.0
    retries: int = 2
    wait: float = 1.0
    max_tokens: int = 512
    temperature: float = 0.01

    def __repr__(self) -> str:
        return f"EndpointUpsampler(url={self.url!r}, model={self.model!r})"

    @property
    def name(self) -> str:
        return f"endpoint:{self.model or os.environ.get('ARMILLARY_UPSAMPLER_MODEL', '')}"

    def upsample(self, prompt: str, image: np.ndarray | None = None, fits: Fits | None = None) -> str:
        """The server's caption; with `image` (uint8 `h w 3`) its model is one that sees.

        Raises:
            BadInput: no address or model is named, or the address is none. Failed: no usable answer came; the prompt was not replaced.
        """
        prompt = check_prompt(prompt, LIMIT)
        url = (self.url or os.environ.get("ARMILLARY_UPSAMPLER_URL", "")).rstrip("/")
        model = self.model or os.environ.get("ARMILLARY_UPSAMPLER_MODEL", "")
        key = self.key or os.environ.get("ARMILLARY_UPSAMPLER_KEY", "")
        if not url or not model:
            raise BadInput("The upsampler's server is not named: set ARMILLARY_UPSAMPLER_URL and ARMILLARY_UPSAMPLER_MODEL.")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BadInput(f"The upsampler's address begins with http:// or https://; got {url!r}.")
        asked: str | list[dict[str, Any]] = prompt
        if image is not None:
            asked = [{"type": "image_url", "image_url": {"url": _data_url(image)}}, {"type": "text", "text": prompt}]
        told = INSTRUCTION + (SEEN if image is not None else "")
        body = {
            "model": model,
            "messages": [{"role": "system", "content": told}, {"role": "user", "content": asked}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers, method="POST")
        answer = self._ask(request, url)
        try:
            said = json.loads(answer)["choices"][0]["message"]["content"]
            return kept(prompt, check_prompt(said, LIMIT), fits)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Failed(f"{url} answered with something that holds no caption ({error}): {answer[:200]!r}") from error

    def _ask(self, request: urllib.request.Request, url: str) -> bytes:
        for left in range(self.retries, -1, -1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return response.read(1 << 20)
            except urllib.error.HTTPError as error:
                detail = error.read(300).decode(errors="replace")
                if left == 0 or (error.code != 429 and error.code < 500):
                    raise Failed(f"{url} refused with HTTP {error.code}: {detail}") from error
                reason = f"HTTP {error.code}"
            except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
                if left == 0:
                    raise Failed(f"{url} gave no answer in {self.retries + 1} tries: {error}") from error
                reason = str(error)
            pause = self.wait * 2 ** (self.retries - left)
            say(f"The upsampler at {url} did not answer ({reason}); trying again in {pause:g} s.")
            time.sleep(pause)
        raise AssertionError("the loop returns or raises")


def _data_url(image: np.ndarray) -> str:
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()
