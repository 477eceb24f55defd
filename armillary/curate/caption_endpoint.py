"""Captions from a vision model behind `POST {url}/chat/completions`: vLLM, SGLang, Ollama, llama.cpp and whoever else speaks OpenAI's way.

Several requests are under way at once. A request that fails in a way that may pass (429, 408, 5xx, no connection, time-out, an answer
that is no answer) is tried again after a growing pause; one that fails for good is that window's error. Nothing here ends a run.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import json
import os
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from armillary.curate.analyse import Look
from armillary.curate.caption_window import Answer, CaptionConfig, Window, picked
from armillary.errors import BadInput, require

LARGEST = 1 << 20  # bytes of an answer
LONGEST = 4000  # characters of a caption
PASSING = (408, 409, 425, 429)  # and every 5xx: worth another try


class _Broken(Exception):
    """A try that gave no caption. `again`: whether another may. `wait`: seconds the endpoint asked for."""

    def __init__(self, why: str, again: bool = True, wait: float = 0.0) -> None:
        super().__init__(why)
        self.again, self.wait = again, wait


class Endpoint:
    """A captioner by HTTP. See `CaptionConfig` for what can be set.

    Raises:
        BadInput: when it is made without an address or a model.
    """

    def __init__(self, config: CaptionConfig | None = None, sleep: Callable[[float], Any] = time.sleep) -> None:
        self.config = c = config or CaptionConfig()
        self.url = (c.url or os.environ.get("ARMILLARY_CAPTION_URL", "")).rstrip("/")
        self.model = c.model or os.environ.get("ARMILLARY_CAPTION_MODEL", "")
        if not self.url.startswith(("http://", "https://")) or not self.model:
            raise BadInput(
                "The endpoint captioner wants an address and a model: set caption.url (for instance http://localhost:8000/v1) and "
                f"caption.model, or $ARMILLARY_CAPTION_URL and $ARMILLARY_CAPTION_MODEL; got {self.url!r} and {self.model!r}."
            )
        self.source = f"endpoint:{self.model}"
        self.sleep = sleep

    def captions(self, windows: Sequence[Window]) -> list[Answer]:
        failures = _Failures(self.config.give_up)
        if not windows:
            return []
        with ThreadPoolExecutor(max(1, min(self.config.concurrency, len(windows)))) as pool:
            return list(pool.map(lambda w: self._one(w, failures), windows))

    def _one(self, window: Window, failures: _Failures) -> Answer:
        if failures.many:
            return Answer("", f"not asked: {failures.last}, and so for {failures.count} windows before")
        answer = self._tried(window)
        failures.note(answer.error)
        return answer

    def _tried(self, window: Window) -> Answer:
        c = self.config
        body = json.dumps(self.request(window)).encode()
        dice = random.Random(f"{window.clip.id}:{window.first}")  # pauses that differ from clip to clip, not from run to run
        for k in range(c.retries + 1):
            try:
                return Answer(self._asked(body))
            except _Broken as problem:
                if not problem.again or k == c.retries:
                    tries = f" ({k + 1} tries)" if k else ""
                    return Answer("", f"{problem}{tries}")
                pause = c.backoff * 2**k * (0.5 + dice.random())
                self.sleep(min(max(pause, problem.wait), c.max_wait))
        raise AssertionError("the loop above returns")

    def request(self, window: Window) -> dict[str, Any]:
        """The body: the prompt, then pictures as data URLs."""
        content: list[dict[str, Any]] = [{"type": "text", "text": self.config.prompt}]
        content += [{"type": "image_url", "image_url": {"url": _data_url(k)}} for k in picked(window.looks, self.config.frames)]
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "messages": messages, "max_tokens": self.config.tokens, "temperature": 0}

    def _asked(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.config.key_env, ""):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        with _Deadline(self.config.timeout) as deadline:
            try:
                with deadline.open(request) as reply:
                    data = reply.read(LARGEST + 1)
            except urllib.error.HTTPError as error:
                with error:
                    again = error.code >= 500 or error.code in PASSING
                    wait = seconds_asked(error.headers.get("Retry-After", "")) if again else 0.0
                    raise _Broken(f"HTTP {error.code} {error.reason}", again, wait) from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = getattr(error, "reason", error)
                late = deadline.over or isinstance(reason, TimeoutError)
                words = f"no answer within {self.config.timeout:g} s" if late else f"{type(reason).__name__}: {reason}"
                raise _Broken(words) from error
            if deadline.over:  # a body that is cut off reads like one that ended
                raise _Broken(f"no answer within {self.config.timeout:g} s")
        return caption_in(data)


class _Deadline:
    """A time limit on a whole request: an endpoint that sends a byte now and then never runs into a socket's own time-out."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.over = seconds, False
        self.sockets: list[socket.socket] = []
        self.timer = threading.Timer(seconds, self._end)
        self.timer.daemon = True

    def __enter__(self) -> _Deadline:
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def _end(self) -> None:
        self.over = True
        for held in self.sockets:
            try:
                held.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already

    def watch(self, held: socket.socket) -> None:
        self.sockets.append(held)
        if self.over:  # connecting alone took all the time
            self._end()

    def open(self, request: urllib.request.Request) -> Any:
        def made(kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
            watch = self.watch

            class Watched(kind):
                def connect(self) -> None:
                    super().connect()
                    watch(self.sock)

            return Watched

        class Plain(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(made(http.client.HTTPConnection), req)  # type: ignore[arg-type]

        class Safe(urllib.request.HTTPSHandler):
            def https_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(made(http.client.HTTPSConnection), req)  # type: ignore[arg-type]

        return urllib.request.build_opener(Plain, Safe, _Stay).open(request, timeout=self.seconds)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key goes to the address it was given for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Failures:
    """How many windows failed in a row, over all threads."""

    def __init__(self, most: int) -> None:
        self.most, self.count, self.last, self.lock = most, 0, "", threading.Lock()

    @property
    def many(self) -> bool:
        return bool(self.most) and self.count >= self.most

    def note(self, error: str) -> None:
        with self.lock:
            self.count, self.last = (self.count + 1, error) if error else (0, "")


def seconds_asked(value: str) -> float:
    """What a `Retry-After` asks for: seconds, or a date; nothing where it is neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(value)
        return max(0.0, then.timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def caption_in(data: bytes) -> str:
    """The text of an answer, in one line; what a model thought aloud first is left out.

    Raises:
        _Broken: for what is no answer, or says nothing.
    """
    if len(data) > LARGEST:
        raise _Broken(f"an answer of more than {LARGEST} bytes", again=False)
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise _Broken(f"the answer is no JSON: {data[:60]!r}") from error
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise _Broken(f"the answer has no choices[0].message.content: {data[:120]!r}") from error
    if isinstance(content, list):
        content = " ".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    text = plain(content) if isinstance(content, str) else ""
    if not text:
        raise _Broken("the answer is empty")
    return text


def plain(text: str) -> str:
    """One line of printable characters, of bounded length."""
    text = text.rsplit("</think>", 1)[-1]
    return " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())[:LONGEST]


def _data_url(look: Look) -> str:
    """The look's own JPEG where it is one, or a new one."""
    packed = look.picture
    if not isinstance(packed, bytes):
        cv2 = require("cv2", "captions from an endpoint")
        bgr = cv2.cvtColor(look.rgb, cv2.COLOR_RGB2BGR)
        packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(packed).decode()
