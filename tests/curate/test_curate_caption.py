"""Captions: from a sidecar, from measurements, and from an endpoint that works, stumbles or refuses."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from armillary.curate.analyse import Look
from armillary.curate.caption import CaptionConfig, Endpoint, Measured, colours_of, read_sidecar
from armillary.errors import BadInput, Failed
from armillary.types import Clip

CLIP = Clip("c", "s.mp4", 0, 4.2, width=64, height=96, scores={"objects": 0.02}, tags={"camera": "pan left", "type": "picture"})


def look(colour):
    return Look(0.0, np.full((40, 60, 3), colour, np.uint8), {})


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((220, 20, 20), "red"), ((20, 200, 20), "green"), ((20, 20, 220), "blue"), ((10, 10, 10), "black"),
        ((250, 250, 250), "white"), ((120, 122, 119), "grey"), ((240, 220, 20), "yellow"), ((110, 70, 30), "brown"),
    ],
)  # fmt: skip
def test_colours_have_their_plain_names(colour, name):
    assert colours_of([look(colour)]) == [name]


def test_the_measured_caption_says_what_was_measured():
    text = Measured().caption(CLIP, [look((20, 20, 220))])
    assert (
        text == "A portrait video clip of 4.2 seconds, panning left; evenly lit, mostly blue; with some movement."
        or "dark" in text
    )
    assert "panning left" in text and "blue" in text and "portrait" in text
    assert Measured().caption(CLIP.replace(tags={}, scores={}), []) == "A portrait video clip of 4.2 seconds."


def test_sidecars(tmp_path):
    video = tmp_path / "a.mp4"
    assert read_sidecar(video) == {}
    (tmp_path / "a.txt").write_text("two\nlines ")
    assert read_sidecar(video) == {"caption": "two lines"}
    (tmp_path / "a.json").write_text(json.dumps({"caption": "better", "type": "simulated", "frames": 3}))
    assert read_sidecar(video) == {"caption": "better", "type": "simulated"}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(BadInput):
        read_sidecar(video)


@pytest.fixture
def server():
    seen, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers.get("Authorization"), body))
            code, reply = answers.pop(0)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        def log_message(self, *_):
            return

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1", seen, answers
    http.shutdown()
    http.server_close()


def good(text):
    return 200, {"choices": [{"message": {"content": text}}]}


def test_the_endpoint_is_asked_as_openai_does(server, monkeypatch):
    url, seen, answers = server
    monkeypatch.setenv("ARMILLARY_CAPTION_KEY", "k-123")
    answers += [(503, {}), (200, b"not json"), good("  a  dog\nruns ")]
    captioner = Endpoint(CaptionConfig(by="endpoint", url=url, model="m", frames=2, retries=2))
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert captioner.caption(CLIP, [look(c) for c in (10, 90, 200)]) == "a dog runs"
    path, key, body = seen[-1]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer k-123", "m")
    parts = body["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url", "image_url"]
    assert parts[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert len(seen) == 3


def test_the_endpoint_fails_in_words(server, monkeypatch):
    url, seen, answers = server
    monkeypatch.setattr("time.sleep", lambda _: None)
    captioner = Endpoint(CaptionConfig(by="endpoint", url=url, model="m", retries=1))
    answers += [(401, {})]
    with pytest.raises(BadInput, match="401"):
        captioner.caption(CLIP, [look(9)])
    answers += [(500, {}), (500, {})]
    with pytest.raises(Failed, match="500"):
        captioner.caption(CLIP, [look(9)])
    assert len(seen) == 3
    for wrong in (CaptionConfig(by="endpoint"), CaptionConfig(by="endpoint", url="file:///etc", model="m")):
        with pytest.raises(BadInput):
            Endpoint(wrong)
