"""A prompt rail that asks a served safety model: OpenAI's chat protocol, answers in the forms of Llama Guard, Aegis and Qwen3Guard.

Llama Guard and Aegis 1 answer `safe`, or `unsafe` and a line of categories; Qwen3Guard answers `Safety: Unsafe` and `Categories: ...`;
Aegis 2 answers a JSON object. Whatever is none of these, from its first letter to its last, is no answer, and no answer refuses: a
substring test for «unsafe», with everything else passing, is how such rails fail open. `guard/local.py` reads a local model's answers by
the same `parse`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from armillary.errors import BadInput, Failed
from armillary.guard.rail import Finding
from armillary.guard.taxonomy import HAZARDS, known_words, of_codes, of_words

Post = Callable[[str, bytes, dict[str, str], float], bytes]
_QWEN = re.compile(
    r"\s*safety\s*:\s*(safe|unsafe|controversial)\s*(?:\n\s*categor(?:y|ies)\s*:([^\n]*))?(?:\n\s*refusal\s*:\s*(?:yes|no)\s*)?",
    re.IGNORECASE,
)
_LLAMA = re.compile(r"\s*(safe|unsafe)\s*(?:\n\s*((?:[SO]\d{1,2})(?:\s*,\s*[SO]\d{1,2})*)\s*)?", re.IGNORECASE)


class Policy(Protocol):
    """What the caller decided about answers: whether the class between safe and unsafe refuses, and which hazards do not."""

    @property
    def controversial(self) -> bool: ...
    @property
    def ignore(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class EndpointConfig:
    """Where to ask.

    Args:
        url: base address of the server, e.g. `http://127.0.0.1:8000/v1`.
        model: the name it serves.
        key: bearer token, empty for none; never put into a verdict.
        seconds: for one request.
        controversial: whether Qwen3Guard's middle class refuses too.
        ignore: hazard classes that do not refuse, e.g. `("S8",)`.
    """

    url: str
    model: str
    key: str = ""
    seconds: float = 20.0
    controversial: bool = True
    ignore: tuple[str, ...] = ()

    @staticmethod
    def from_environment() -> EndpointConfig | None:
        """`ARMILLARY_GUARD_URL`, `ARMILLARY_GUARD_MODEL` and, if wanted, `ARMILLARY_GUARD_KEY`; None when no address is set.

        Raises:
            BadInput: an address without a model: a guard that was asked for must not be left out in silence.
        """
        url, model = os.environ.get("ARMILLARY_GUARD_URL", ""), os.environ.get("ARMILLARY_GUARD_MODEL", "")
        if bool(url) != bool(model):
            raise BadInput("ARMILLARY_GUARD_URL and ARMILLARY_GUARD_MODEL belong together; only one of them is set.")
        return EndpointConfig(url, model, os.environ.get("ARMILLARY_GUARD_KEY", "")) if url else None


def parse(answer: str, config: Policy) -> tuple[bool, str, str]:
    """(refuse, why, category) from a model's words.

    Raises:
        Failed: when they are no verdict, or one that contradicts itself.
    """
    if match := _LLAMA.fullmatch(answer):
        if match[1].lower() == "safe":
            if match[2]:
                raise Failed(f"the safety model says safe and names hazards: {answer[:80]!r}")
            return False, "safe", ""
        codes = [c.strip().upper() for c in (match[2] or "").split(",") if c.strip()]
        told = ", ".join(f"{c} {HAZARDS.get(c, ('', ''))[1]}".strip() for c in codes) or "no class named"
        ignored = bool(codes) and all(c in config.ignore for c in codes)
        return not ignored, told + (" (ignored by configuration)" if ignored else ""), of_codes(codes)
    if match := _QWEN.fullmatch(answer):
        return _worded(match[1].lower(), (match[2] or "").strip(), answer, config)
    if answer.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            told = json.loads(answer)
            label, classes = told.get("User Safety"), told.get("Safety Categories", "")
            if label in ("safe", "unsafe") and isinstance(classes, str):
                return _worded(label, classes.strip(), answer, config)
    raise Failed(f"the safety model's answer is no verdict: {answer[:80]!r}")


def _worded(label: str, why: str, answer: str, config: Policy) -> tuple[bool, str, str]:
    """The verdict of a label and of classes in words."""
    named = "" if why.lower() in ("none", "") else why
    if label == "safe" and named:
        raise Failed(f"the safety model says safe and names hazards: {answer[:80]!r}")
    blocked = label == "unsafe" or (label == "controversial" and config.controversial)
    if not blocked and named and not known_words(named):
        raise Failed(f"the safety model names a class that is not known here: {answer[:80]!r}")
    told = f"{label}: {why}" if why else label
    return blocked, told if blocked or label == "safe" else told + " (passed by configuration)", of_words(named)


def post(url: str, body: bytes, headers: dict[str, str], seconds: float) -> bytes:
    """One POST; at most a mebibyte of answer is read."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=seconds) as reply:
        return reply.read(1 << 20)


class Endpoint:
    """The rail.

    Args:
        send: replaces `post`, for callers with a transport of their own.
    """

    name, first = "endpoint", False

    def __init__(self, config: EndpointConfig, send: Post = post) -> None:
        if not config.url.startswith(("http://", "https://")):
            raise BadInput(f"An endpoint's address starts with http:// or https://; got {config.url!r}.")
        if not config.model:
            raise BadInput("An endpoint wants the name of the model it serves.")
        self.config, self.send = config, send
        self.version = f"1+{config.model}"

    def check(self, text: str) -> Finding:
        config = self.config
        body: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": 100,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {config.key}"} if config.key else {})
        try:
            raw = self.send(config.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers, config.seconds)
        except (urllib.error.URLError, OSError) as error:
            raise Failed(f"the safety endpoint did not answer: {error}") from error
        try:
            answer = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Failed("the safety endpoint's answer is no chat completion") from error
        if not isinstance(answer, str):
            raise Failed("the safety endpoint's answer holds no text")
        blocked, why, category = parse(answer, config)
        return Finding(blocked, why, category=category)
