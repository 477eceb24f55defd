"""The prompt upsampler: the template, and the endpoint against a small server of our own."""

import http.server
import json
import threading

import numpy as np
import pytest

from armillary.errors import BadInput, Failed
from armillary.text.upsample import TemplateUpsampler, upsampler
from armillary.text.upsample_endpoint import EndpointUpsampler


@pytest.fixture
def server():
    """Answers with what is in `server.answers`, one (status, body) after another; keeps what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append((self.path, self.headers.get("Authorization"), body))
            status, answer = made.answers.pop(0)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    made = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.answers, made.url = [], [], f"http://127.0.0.1:{made.server_port}/v1"
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def said(text):
    return (200, {"choices": [{"message": {"role": "assistant", "content": text}}]})


def test_endpoint_asks_and_answers(server):
    server.answers = [said(" A red block slides left across a wooden table. ")]
    up = EndpointUpsampler(f"{server.url}/", "small", "secret-key")
    assert up.upsample("red block goes left") == "A red block slides left across a wooden table."
    path, authorization, body = server.asked[0]
    assert path == "/v1/chat/completions" and authorization == "Bearer secret-key"
    assert body["model"] == "small" and body["messages"][-1] == {"role": "user", "content": "red block goes left"}
    assert "secret-key" not in repr(up)


def test_endpoint_from_the_environment(server, monkeypatch):
    server.answers = [said("A long caption.")]
    monkeypatch.setenv("ARMILLARY_UPSAMPLER_URL", server.url)
    monkeypatch.setenv("ARMILLARY_UPSAMPLER_MODEL", "other")
    monkeypatch.delenv("ARMILLARY_UPSAMPLER_KEY", raising=False)
    assert EndpointUpsampler().upsample("short") == "A long caption."
    assert server.asked[0][1] is None and server.asked[0][2]["model"] == "other"


def test_endpoint_tries_again_only_when_that_may_help(server, capsys):
    server.answers = [(503, {}), (429, {}), said("A caption.")]
    assert EndpointUpsampler(server.url, "m", wait=0.0).upsample("x") == "A caption."
    assert capsys.readouterr().err.count("trying again") == 2
    server.answers = [(401, {"error": "no such key"}), said("never asked")]
    with pytest.raises(Failed, match=r"HTTP 401: .*no such key"):
        EndpointUpsampler(server.url, "m", wait=0.0).upsample("x")
    assert len(server.answers) == 1
    server.answers = [(500, {})] * 2
    with pytest.raises(Failed, match="HTTP 500"):
        EndpointUpsampler(server.url, "m", retries=1, wait=0.0).upsample("x")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {},
        {"choices": []},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": " "}}]},
    ],
)
def test_endpoint_refuses_answers_without_a_caption(server, answer):
    server.answers = [(200, answer)]
    with pytest.raises(Failed, match="no caption"):
        EndpointUpsampler(server.url, "m").upsample("x")


def test_endpoint_that_is_not_there(monkeypatch):
    for name in ("URL", "MODEL"):
        monkeypatch.delenv(f"ARMILLARY_UPSAMPLER_{name}", raising=False)
    with pytest.raises(BadInput, match="ARMILLARY_UPSAMPLER_URL"):
        EndpointUpsampler().upsample("x")
    with pytest.raises(BadInput, match="http://"):
        EndpointUpsampler("file:///etc", "m").upsample("x")
    with pytest.raises(Failed, match="no answer in 2 tries"):
        EndpointUpsampler("http://127.0.0.1:9", "m", retries=1, wait=0.0, timeout=2.0).upsample("x")


def test_template_keeps_every_word_and_adds_only_the_view():
    up = TemplateUpsampler()
    made = up.upsample("robot pushes  the red cube")
    assert made.startswith("Robot pushes the red cube. ") and made.endswith(f"{up.view} {up.manner}")
    assert up.upsample("A close-up of a gripper!") == f"A close-up of a gripper! {up.manner}"
    assert up.upsample("wide shot, no cuts") == "Wide shot, no cuts."
    assert up.upsample(made) == made
    long = "word " * 40
    assert up.upsample(long) == long.strip().capitalize() + "."
    assert TemplateUpsampler("", "").upsample("x") == "X."


def test_endpoint_shows_the_picture(server):
    server.answers = [said("A red block on a grey table.")]
    EndpointUpsampler(server.url, "sees").upsample("red block", np.full((8, 8, 3), 90, np.uint8))
    picture, words = server.asked[0][2]["messages"][-1]["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,") and words["text"] == "red block"
    assert "first frame" in server.asked[0][2]["messages"][0]["content"]


def test_no_answer_loses_or_contradicts_what_was_asked(server):
    up = EndpointUpsampler(server.url, "m")
    server.answers = [said("A red block slides over a wooden table.")]  # where to?
    assert up.upsample("push the red block to the left") == (
        "Push the red block to the left. A red block slides over a wooden table."
    )
    server.answers = [said("A robot arm pushes the red block to the right.")]
    with pytest.raises(Failed, match="contradicts"):
        up.upsample("push the red block to the left")
    server.answers = [said("A robot arm pushes the red block to the left.")]
    with pytest.raises(Failed, match="longer than this world reads"):
        up.upsample("push the red block to the left", fits=lambda t: len(t) < 20)


def test_upsamplers_by_name(tmp_path):
    assert upsampler().name == "small" and upsampler("template").name == "template"
    assert upsampler(tmp_path).folder == tmp_path
    with pytest.raises(BadInput, match="Did you mean 'template'"):
        upsampler("templat")


def test_template_fits():
    up = TemplateUpsampler()
    assert up.upsample("a red block", fits=lambda t: len(t) < 60) == "A red block. The scene is seen from one fixed camera."
