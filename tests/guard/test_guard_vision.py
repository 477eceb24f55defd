"""The vision endpoint: a server of our own that answers by what it sees in the picture it gets."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from armillary.errors import BadInput
from armillary.guard import Gate
from armillary.guard.endpoint import EndpointConfig
from armillary.guard.frames import Frames
from armillary.guard.vision import Vision


class Server(BaseHTTPRequestHandler):
    """Calls red pictures violent, and does not know what to say to blue ones."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        url = asked["messages"][0]["content"][0]["image_url"]["url"]
        colour = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))).reshape(-1, 3).mean(0)
        answer = "unsafe\nS1" if colour.argmax() == 0 else "safe" if colour.argmax() == 1 else "I would rather not say."
        body = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def rail():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield Frames(Vision(EndpointConfig(f"http://127.0.0.1:{running.server_address[1]}/v1", "eye", seconds=10)))
    running.shutdown()
    running.server_close()


def film(*colours):
    return np.stack([np.full((24, 32, 3), (220 * (c == "r"), 220 * (c == "g"), 220 * (c == "b")), np.uint8) for c in colours])


@pytest.mark.parametrize(
    ("colours", "state", "blocked"), [("gggg", "ran", False), ("gggr", "ran", True), ("ggbg", "failed", True)]
)
def test_answers_decide(rail, colours, state, blocked):
    verdict = Gate(after=(rail,)).check_frames(film(*colours), 4.0)[0][0]
    assert (verdict.state, verdict.blocked) == (state, blocked)
    assert "violence" in verdict.reason or colours != "gggr"


def test_nobody_there_refuses_and_a_bad_address_is_named():
    rail = Frames(Vision(EndpointConfig("http://127.0.0.1:9/v1", "eye", key="secret", seconds=2)))
    verdict = Gate(after=(rail,)).check_frames(film("g", "g"), 4.0)[0][0]
    assert (
        verdict.state == "failed" and verdict.blocked and "did not answer" in verdict.reason and "secret" not in verdict.reason
    )
    with pytest.raises(BadInput, match="http"):
        Vision(EndpointConfig("file:///x", "eye"))
