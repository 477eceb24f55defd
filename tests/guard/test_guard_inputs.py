"""The input rail and the endpoint rail."""

from __future__ import annotations

import json
import urllib.error

import pytest

from armillary.errors import BadInput, Failed
from armillary.guard import Gate
from armillary.guard.endpoint import Endpoint, EndpointConfig, parse
from armillary.guard.inputs import Input

CONFIG = EndpointConfig("http://127.0.0.1:9/v1", "guard", key="very-secret")


@pytest.mark.parametrize(
    "text", ["", "   ", "\u200b\u200b", "a\0b", "\ud800 x", "👊🔪", "x" * 8001, "\u2800\u3164", "...", 5], ids=repr
)
def test_unusable_prompts_are_refused(text):
    finding = Input().check(text)
    assert finding.blocked and finding.reason


@pytest.mark.parametrize("text", ["a", "x" * 8000, "A robot 🤖 waves.", "東京", "7"])
def test_usable_prompts_pass(text):
    assert not Input().check(text).blocked


@pytest.mark.parametrize(
    ("answer", "blocked"),
    [
        ("safe", False), ("\n\nsafe", False), ("unsafe\nS1", True), (" unsafe\nS1,S9 ", True), ("UNSAFE", True), ("unsafe\nS8", True),
        ("Safety: Safe\nCategories: None", False), ("Safety: Unsafe\nCategories: Violent", True),
        ("Safety: Controversial\nCategories: Violent", True),
    ],
)  # fmt: skip
def test_answers(answer, blocked):
    assert parse(answer, CONFIG)[0] is blocked


@pytest.mark.parametrize(
    "answer", ["", "yes", "This is not unsafe at all", "I think it is safe.", "safe\nS1", "Safety: Safe\nSafety: Unsafe",
    "unsafe\nbecause", "Safety: maybe"]
)  # fmt: skip
def test_no_verdict_is_no_pass(answer):
    with pytest.raises(Failed):
        parse(answer, CONFIG)


def test_policy_of_ignored_and_controversial():
    lenient = EndpointConfig("http://x", "m", controversial=False, ignore=("S8",))
    assert parse("unsafe\nS8", lenient)[0] is False and parse("unsafe\nS8,S1", lenient)[0] is True
    assert parse("Safety: Controversial", lenient)[0] is False


def reply(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_request_and_reply():
    sent = {}

    def send(url, body, headers, seconds):
        sent.update(url=url, body=json.loads(body), headers=headers)
        return reply("unsafe\nS1")

    finding = Endpoint(CONFIG, send).check("hello")
    assert finding.blocked and "violent crimes" in finding.reason
    assert sent["url"].endswith("/v1/chat/completions") and sent["body"]["messages"] == [{"role": "user", "content": "hello"}]
    assert sent["headers"]["Authorization"] == "Bearer very-secret"


@pytest.mark.parametrize(
    "answer",
    [
        urllib.error.URLError("refused"),
        TimeoutError("late"),
        b"<html>",
        b"{}",
        b'{"choices": []}',
        reply(None),
        reply("perhaps"),
        b"[1]",
    ],
    ids=repr,
)
def test_every_trouble_blocks_and_keeps_the_key(answer):
    def send(*_):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    (verdict,) = Gate(before=(Endpoint(CONFIG, send),)).check_prompt("hello")
    assert verdict.state == "failed" and verdict.blocked and "very-secret" not in verdict.reason


def test_a_real_socket_that_nobody_listens_on_blocks():
    (verdict,) = Gate(before=(Endpoint(EndpointConfig("http://127.0.0.1:9/v1", "m", seconds=2)),)).check_prompt("hello")
    assert verdict.state == "failed" and verdict.blocked


def test_bad_address():
    with pytest.raises(BadInput, match="http"):
        Endpoint(EndpointConfig("file:///etc/passwd", "m"))
