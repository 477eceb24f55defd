"""The annotators' side: agreement, labels, the page's server, and the head that learns from labels."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

from armillary import media
from armillary.cli.main import run
from armillary.errors import BadInput
from armillary.guard import Gate
from armillary.guard.agreement import agreement, alpha, check_label, read_labels
from armillary.guard.frames import Frames
from armillary.guard.head import Head, HeadConfig, frame_labels, load_head, train_head
from armillary.guard.review import Review, server

# The worked example of Krippendorff (2011): twelve units, four observers.
TABLE = [[1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2],
         [5, 5, 5], [1, 1], [3]]  # fmt: skip


def test_alpha_of_the_published_example():
    assert alpha(TABLE) == pytest.approx(0.743, abs=5e-4)
    assert alpha(TABLE, "ordinal") == pytest.approx(0.815, abs=5e-4)


def test_alpha_at_its_edges():
    assert alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert alpha([["a", "b"], ["b", "a"]]) == pytest.approx(-0.5)
    assert alpha([["a", "a"]]) is None and alpha([["a"], ["b"]]) is None and alpha([]) is None
    rng = np.random.default_rng(0)
    assert abs(alpha(rng.integers(0, 3, (4000, 2)).tolist()) or 1) < 0.05, "chance is zero"


def label(clip, annotator, *marks):
    fields = ("category", "first", "last", "severity")
    return {"clip": clip, "annotator": annotator, "marks": [dict(zip(fields, m)) for m in marks]}


def test_agreement_lists_disagreements():
    told = agreement([
        label("a", "ann", ("violence", 2, 5, 4)), label("a", "bob", ("violence", 4, 7, 5)),
        label("b", "ann"), label("b", "bob"), label("c", "ann"), label("c", "bob", ("gore", 0, 1, 3)), label("d", "ann"),
    ])  # fmt: skip
    assert (told["clips"], told["judged_by_two"], told["annotators"]) == (4, 3, ["ann", "bob"])
    assert [d["clip"] for d in told["disagreements"]] == ["c"] and told["frame_overlap"] == pytest.approx(2 / 6, abs=1e-4)
    assert all(-1 <= v < 1 for v in told["alpha"].values())


@pytest.mark.parametrize(
    "mark",
    [("nice", 0, 1, 1), ("gore", 3, 2, 1), ("gore", -1, 2, 1), ("gore", 0, 10, 1), ("gore", 0, 1, 6), ("gore", 0, 1.5, 2),
     ("gore", 0, True, 1)],
)  # fmt: skip
def test_labels_that_cannot_be(mark):
    with pytest.raises(BadInput):
        check_label(label("a", "ann", mark), 10)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    rng = np.random.default_rng(0)
    for i in range(8):
        frames = rng.integers(60, 90, (8, 48, 64, 3), np.uint8)
        if i % 2:  # something red from frame 3 on
            frames[3:, 8:40, 8:56] = (200, 20, 20)
        media.write_video(folder / f"{i}.mp4", frames, 8.0)
    return folder


@pytest.fixture
def page(clips):
    running = server(clips)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def ask(url, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_page_serves_frames_and_takes_labels(page, clips):
    assert b"<!doctype html>" in ask(page + "/")[1]
    assert json.loads(ask(page + "/clip?name=1.mp4")[1])["frames"] == 8
    kind = ask(page + "/frame?name=1.mp4&index=7")[1]
    assert kind[:2] == b"\xff\xd8"
    assert ask(page + "/label", label("1.mp4", "ann", ("gore", 3, 7, 4)))[0] == 200
    assert ask(page + "/label", label("1.mp4", "ann", ("gore", 2, 7, 4)))[0] == 200
    mine = {c["name"]: c["marks"] for c in json.loads(ask(page + "/mine?annotator=ann")[1])["clips"]}
    assert len(mine) == 8 and mine["1.mp4"][0]["first"] == 2 and mine["0.mp4"] is None
    others = json.loads(ask(page + "/mine?annotator=bob")[1])["clips"]
    assert all(c["marks"] is None for c in others), "people are blind to each other"
    assert [c["name"] for c in others] != list(mine), "and each has an order of their own"
    assert read_labels(clips / "labels") == [label("1.mp4", "ann", ("gore", 2, 7, 4))]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/frame?name=../a.mp4&index=0", None, 400), ("/frame?name=1.mp4&index=8", None, 400),
        ("/frame?name=1.mp4&index=-1", None, 400),
        ("/mine?annotator=../x", None, 400), ("/nothing", None, 404), ("/label", ["x"], 400),
        ("/other", {}, 404),
        ("/label", label("9.mp4", "ann"), 400), ("/label", label("1.mp4", "../ann"), 400),
        ("/label", label("1.mp4", "ann", ("gore", 0, 8, 1)), 400),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(page, clips, path, body, code):
    got, told = ask(page + path, body)
    assert got == code and json.loads(told)["error"]
    assert not (clips / "labels").exists()


def test_other_hosts_and_forms_are_turned_away(page):
    assert ask(page + "/", Host="evil.example")[0] == 403
    assert ask(page + "/label", label("1.mp4", "ann"), **{"Content-Type": "text/plain"})[0] == 400


def test_a_folder_without_clips(tmp_path):
    with pytest.raises(BadInput, match="no video"):
        server(tmp_path)
    assert run(["guard", "review", str(tmp_path), "--report"]) == 2


def test_the_page_works_in_a_browser(page):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom", page + "/"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert 'value="animal_cruelty"' in done.stdout, "the script ran and asked for the categories"


class Colour:
    """Mean colour of a picture: enough to see red."""

    name, version = "colour", "1"

    def embed(self, frames):
        return frames.reshape(len(frames), -1, 3).mean(1)


def marked():
    return [label(f"{i}.mp4", who, *([("gore", 3, 7, 4)] if i % 2 else [])) for i in range(8) for who in ("ann", "bob")]


def test_a_head_learns_what_was_marked_and_decides_in_the_rail(clips, tmp_path):
    read = Review(clips).clips.get
    told = train_head(marked(), read, Colour(), tmp_path / "head")
    assert told["classes"]["gore"]["recall"] >= 0.9 and not told["left_out"]
    head = load_head(tmp_path / "head", Colour())
    rail = Frames(head, head.frames_config())
    for i in range(8):
        verdict = Gate(after=(rail,)).check_frames(*read(f"{i}.mp4"))[0][0]
        assert verdict.state == "ran" and verdict.blocked is bool(i % 2), i

    class Other(Colour):
        version = "2"

    with pytest.raises(BadInput, match="trained on colour 1"):
        load_head(tmp_path / "head", Other())


def test_what_a_head_cannot_learn_is_said(clips, tmp_path):
    read = Review(clips).clips.get
    few = [*marked(), label("0.mp4", "ann", ("hate", 0, 1, 2)), label("gone.mp4", "ann")]
    told = train_head(few, read, Colour(), tmp_path / "head")
    assert set(told["left_out"]) == {"hate", "gone.mp4"}
    with pytest.raises(BadInput, match="Nothing to learn"):
        train_head([label("0.mp4", "ann"), label("1.mp4", "ann", ("gore", 0, 7, 1))], read, Colour(), tmp_path / "none")
    with pytest.raises(BadInput, match="NaN"):
        Head(HeadConfig(("a",), (0.5,), "colour", "1", 3), np.full((1, 3), np.nan), np.zeros(1), Colour())


def test_frames_count_as_marked_from_half_of_the_people_on():
    labels = [label("a", "ann", ("gore", 0, 3, 1)), label("a", "bob", ("gore", 2, 5, 1)), label("a", "cat")]
    assert frame_labels(labels, "a", range(6), ["gore"])[:, 0].tolist() == [False, False, True, True, False, False]


def test_the_command_line_trains_on_the_shipped_features(clips, tmp_path, capsys):
    (clips / "labels").mkdir()
    (clips / "labels" / "ann.jsonl").write_text("".join(json.dumps(x) + "\n" for x in marked() if x["annotator"] == "ann"))
    assert run(["guard", "head", str(clips), "--out", str(tmp_path / "head"), "--json"]) == 0
    assert "gore" in json.loads(capsys.readouterr().out)["classes"]
    assert run(["guard", "review", str(clips), "--report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 8
