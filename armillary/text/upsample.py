"""The prompt upsampler: worlds are trained on long captions, people write short prompts (paper section 5).

`endpoint` asks any server that speaks the chat-completions protocol (vLLM, SGLang, Ollama, llama.cpp or a hosted one); `template` needs
nothing and only puts the prompt into a caption's form. What comes back has passed no guard: ask it again with the upsampled text.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Protocol

from armillary.errors import BadInput, Failed
from armillary.progress import say
from armillary.text.prompt import check_prompt

LIMIT = 2000  # characters of a prompt given and of one made
INSTRUCTION = (
    "You turn a short prompt for a video generator into one caption of at most 100 words, as a careful viewer would describe the finished "
    "video: first who or what is seen and what it does, then the surroundings, the light and how the camera behaves. Keep every subject, "
    "number, colour, direction and action of the prompt. Add no further subject, event or writing. Answer with the caption alone."
)


class Upsampler(Protocol):
    """`upsample(prompt)` gives a longer one that says the same."""

    def upsample(self, prompt: str) -> str: ...


@dataclass(frozen=True)
class TemplateUpsampler:
    """The prompt as a whole sentence, followed by what is true of every video we are trained on: nothing new happens in it.

    Args:
        view, manner: the sentences about camera and course; either may be empty. A prompt that already speaks of its camera keeps the
            word, and one that already is a caption (40 words and more) is only tidied.
    """

    view: str = "The scene is seen from one fixed camera."
    manner: str = "The motion is continuous and physically plausible, without cuts."

    def upsample(self, prompt: str) -> str:
        text = " ".join(check_prompt(prompt, LIMIT).split())
        text = text[0].upper() + text[1:]
        if text[-1] not in ".!?。！？":
            text += "."
        if len(text.split()) >= 40:
            return text
        said = text.casefold()
        parts = [text]
        if self.view and not re.search(r"\b(camera|view|shot|angle|pov|footage|close-?up)\b", said):
            parts.append(self.view)
        if self.manner and not re.search(r"\b(cuts?|montage|plausibl[ey])\b", said):
            parts.append(self.manner)
        return " ".join(parts)


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

    def upsample(self, prompt: str) -> str:
        """The server's caption.

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
        body = {
            "model": model,
            "messages": [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), headers, method="POST")
        answer = self._ask(request, url)
        try:
            said = json.loads(answer)["choices"][0]["message"]["content"]
            return check_prompt(said, LIMIT)
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


UPSAMPLERS: dict[str, type[TemplateUpsampler] | type[EndpointUpsampler]] = {
    "template": TemplateUpsampler,
    "endpoint": EndpointUpsampler,
}
