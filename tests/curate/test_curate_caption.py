"""Captions: windows, sidecars, measurements, an endpoint that works, stumbles or refuses, and a local model."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from armillary.curate.analyse import Look
from armillary.curate.caption import CAPTIONERS, Caption, read_sidecar
from armillary.curate.caption_endpoint import Endpoint, plain, seconds_asked
from armillary.curate.caption_local import Local
from armillary.curate.caption_measured import Measured, camera_of, colours_of
from armillary.curate.caption_window import CaptionConfig, Window, picked, spans, windows_of
from armillary.errors import BadInput
from armillary.types import Clip, Rejection

CLIP = Clip("c", "s.mp4", 0, 4.2, width=64, height=96, scores={"objects": 0.02}, tags={"camera": "pan left", "type": "picture"})


def look(colour, at=0.0):
    return Look(at, np.full((40, 60, 3), colour, np.uint8), {})


def window(name="c", colours=(9,), first=0):
    return Window(CLIP.replace(id=name), first, first + 100, 0.0, 4.2, tuple(look(c) for c in colours))


class Stretch:
    """As much of a segment as captions look at: `fps` frames a second, two looks a second."""

    def __init__(self, seconds=40.0, fps=25.0, start=0.0):
        self.times = start + np.arange(round(seconds * fps)) / fps
        self.looks = [look(90, start + k / 2) for k in range(round(seconds * 2))]

    def within(self, start, end):
        return slice(*(int(np.searchsorted(self.times, x - 1e-6)) for x in (start, end)))

    def looks_within(self, start, end):
        return [k for k in self.looks if start - 1e-6 <= k.time < end - 1e-6]


def context(tmp_path, segment=None):
    return SimpleNamespace(segment=segment or Stretch(), path=tmp_path / "s.mp4")


# --- windows --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, [(0, 1)]), (256, [(0, 256)]), (383, [(0, 383)]), (384, [(0, 256), (256, 384)]),
        (512, [(0, 256), (256, 512)]), (639, [(0, 256), (256, 639)]), (0, [(0, 0)]),
    ],
)  # fmt: skip
def test_windows_of_256_frames(frames, expected):
    assert spans(frames) == expected


def test_windows_part_a_clip_and_its_looks():
    segment = Stretch(start=3.0)
    clip = Clip("c", "s", 5.0, 33.0, num_frames=700)
    found = windows_of(clip, segment)
    assert [(w.first, w.last) for w in found] == [(0, 256), (256, 512), (512, 700)]
    assert found[0].start == 5.0 and found[-1].end == 33.0
    assert [w.end for w in found[:-1]] == [w.start for w in found[1:]]
    assert found[1].start == pytest.approx(5.0 + 256 / 25)
    assert [k for w in found for k in w.looks] == segment.looks_within(5.0, 33.0)
    assert windows_of(clip.replace(num_frames=650), segment)[1].start == pytest.approx(5 + 28 * 256 / 650)  # lost frames
    assert [k.time for k in picked(found[0].looks, 3)][::2] == [found[0].looks[0].time, found[0].looks[-1].time]
    assert len(picked(found[0].looks, 3)) == 3 and picked([], 3) == []


# --- measured and sidecars --------------------------------------------------------------------------------------------------------------


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
    whole = Window(CLIP, 0, 105, 0.0, 4.2, (look((60, 60, 220)),))
    said = "A portrait video clip of 4.2 seconds, panning left; evenly lit, mostly blue; with some movement."
    assert Measured().sentence(whole) == said
    bare = Window(CLIP.replace(tags={}, scores={}), 0, 105, 0.0, 4.2, ())
    assert Measured().sentence(bare) == "A portrait video clip of 4.2 seconds."
    part = Window(CLIP.replace(end=20.0), 0, 256, 0.0, 10.24, (), alone=False)
    assert Measured().sentence(part).startswith("10.2 seconds from a portrait video clip of 20.0 seconds, panning left")


def test_the_camera_is_told_with_its_strength():
    assert camera_of("pan left", {"camera_speed": 0.03}) == "panning left slowly"
    assert camera_of("roll cw", {"camera_speed": 0.5}) == "turning clockwise about its axis fast"
    assert camera_of("zoom in", {"camera_speed": 0.1}) == "zooming in"
    assert camera_of("moving", {"camera_speed": 0.03}) == "from a slowly moving camera"
    assert camera_of("static", {"camera_speed": 0.01}) == "from a standing camera"
    assert camera_of("unknown", {}) == camera_of("", {}) == ""
    assert camera_of("crane up", {}) == "camera movement: crane up"


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


def test_the_stage_says_whose_words_they_are(tmp_path):
    gone = CLIP.replace(id="r", rejected=(Rejection("motion", "static"),))
    a, b = Caption().process([CLIP.replace(num_frames=105), gone], context(tmp_path))
    assert a.tags["caption_source"] == "measured" and a.caption and "captions" not in a.tags
    assert not b.caption and "caption_source" not in b.tags
    (none,) = Caption(CaptionConfig(by="none")).process([CLIP], context(tmp_path))
    assert (none.caption, none.tags["caption_source"]) == ("", "none")
    (tmp_path / "s.json").write_text(json.dumps({"caption": "an arm", "type": "simulated", "duplicate_of": "x"}))
    (told,) = Caption().process([CLIP], context(tmp_path))
    assert (told.caption, told.tags["caption_source"], told.tags["type"]) == ("an arm", "sidecar", "simulated")
    assert "duplicate_of" not in told.tags
    (tmp_path / "s.json").write_text("{")
    (torn,) = Caption().process([CLIP], context(tmp_path))
    assert torn.tags["caption_source"] == "measured" and "s.json" in torn.tags["caption_error"]


def test_every_window_is_kept(tmp_path):
    (clip,) = Caption().process([Clip("c", "s", 0.0, 28.0, num_frames=700, width=4, height=3)], context(tmp_path))
    rows = json.loads(clip.tags["captions"])
    assert [(r["start_frame"], r["end_frame"]) for r in rows] == [(0, 256), (256, 512), (512, 700)]
    assert clip.caption == rows[0]["caption"] and "10.2 seconds from" in clip.caption


# --- the endpoint -----------------------------------------------------------------------------------------------------------------------


class Service:
    """A local server that answers as its script says: (code, body, headers), or a function of the handler."""

    def __init__(self):
        self.seen, self.script, self.under, self.most = [], [], 0, 0
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with service.lock:
                    service.seen.append((self.path, self.headers.get("Authorization"), body))
                    service.under += 1
                    service.most = max(service.most, service.under)
                    step = service.script.pop(0) if service.script else good("fine")
                try:
                    step(self) if callable(step) else self.answer(*step)
                except OSError:
                    return  # the caller hung up, as a test means it to
                finally:
                    with service.lock:
                        service.under -= 1

            def answer(self, code, body, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def service():
    made = Service()
    yield made
    made.http.shutdown()
    made.http.server_close()


def good(text):
    return 200, {"choices": [{"message": {"content": text}}]}


def drip(handler):
    """Headers at once, then a byte now and then: no single read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler):
    time.sleep(1.2)
    handler.answer(*good("too late"))


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def short(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def asked(service, sleeps=None, **settings):
    settings = {"by": "endpoint", "url": service.url, "model": "m", "concurrency": 1, **settings}
    return Endpoint(CaptionConfig(**settings), sleep=(sleeps if sleeps is not None else []).append)


def test_the_endpoint_is_asked_as_openai_does(service, monkeypatch):
    monkeypatch.setenv("ARMILLARY_CAPTION_KEY", "k-123")
    service.script = [good("  a  dog\nruns ")]
    (answer,) = asked(service, frames=2).captions([window(colours=(10, 90, 200))])
    assert (answer.text, answer.error) == ("a dog runs", "")
    ((path, key, body),) = service.seen
    assert (path, key, body["model"], body["temperature"]) == ("/v1/chat/completions", "Bearer k-123", "m", 0)
    parts = body["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url", "image_url"]
    assert all(p["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/") for p in parts[1:])


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}), (503, b"busy"), (429, {}), (408, {}), (200, b"not json"), (200, b"\xff\xfe"), (200, {"error": "x"}),
        (200, {"choices": []}), (200, [1]), (200, {"choices": [{"message": {"content": "  "}}]}),
        (200, {"choices": [{"message": {"content": None}}]}), reset, short,
    ],
    ids=lambda t: getattr(t, "__name__", None) or f"{t[0]}-{str(t[1])[:12]}",
)  # fmt: skip
def test_what_may_pass_is_tried_again(service, trouble):
    service.script = [trouble, good("well")]
    (answer,) = asked(service).captions([window()])
    assert answer.text == "well" and len(service.seen) == 2


@pytest.mark.parametrize("trouble", [drip, silent])
def test_an_answer_that_takes_too_long_is_dropped_in_time(service, trouble):
    service.script = [trouble, good("well")]
    began = time.monotonic()
    (answer,) = asked(service, timeout=0.4).captions([window()])
    assert answer.text == "well" and time.monotonic() - began < 1.5
    service.script = [trouble]
    (late,) = asked(service, timeout=0.4, retries=0).captions([window()])
    assert late.text == "" and "0.4 s" in late.error


@pytest.mark.parametrize("code", [400, 401, 404, 301])
def test_a_refusal_is_not_repeated(service, code):
    service.script = [(code, {}, (("Location", service.url),))]
    (answer,) = asked(service).captions([window()])
    assert not answer.text and str(code) in answer.error and len(service.seen) == 1


def test_retry_after_is_honoured(service):
    sleeps = []
    soon = formatdate(time.time() + 30, usegmt=True)
    service.script = [
        (429, {}, (("Retry-After", "7"),)), (503, {}, (("Retry-After", soon),)), (429, {}, (("Retry-After", "9999"),)), good("x"),
    ]  # fmt: skip
    (answer,) = asked(service, sleeps, max_wait=40.0).captions([window()])
    assert answer.text == "x"
    assert sleeps[0] == 7 and 27 < sleeps[1] <= 30 and sleeps[2] == 40
    assert seconds_asked("soon") == seconds_asked("") == seconds_asked("-3") == 0


def test_pauses_grow_and_hang_on_the_clip_alone(service):
    def pauses(name):
        sleeps = []
        service.script = [(500, {})] * 4
        (answer,) = asked(service, sleeps).captions([window(name)])
        assert "500" in answer.error and "4 tries" in answer.error
        return sleeps

    first, again, other = pauses("a"), pauses("a"), pauses("b")
    assert first == again != other and len(first) == 3
    assert all(0.5 * 2**k * 0.5 <= s <= 0.5 * 2**k * 1.5 for k, s in enumerate(first))


def test_one_failing_clip_is_a_tag_and_the_others_have_captions(service, tmp_path):
    stage = Caption(CaptionConfig(by="endpoint", url=service.url, model="m", concurrency=1, retries=0))
    service.script = [good("one"), (400, {}), good("three")]
    clips = [CLIP.replace(id=x, num_frames=105) for x in "abc"]
    found = stage.process(clips, context(tmp_path))
    assert [c.caption for c in found] == ["one", "", "three"]
    assert [c.tags["caption_source"] for c in found] == ["endpoint:m", "none", "endpoint:m"]
    assert "400" in found[1].tags["caption_error"] and not any(c.rejected for c in found)


def test_many_requests_are_under_way_and_answers_keep_their_order(service):
    def slow(handler):
        time.sleep(0.1)
        handler.answer(*good("fine"))

    service.script = [slow] * 12
    answers = asked(service, concurrency=4).captions([window(str(i)) for i in range(12)])
    assert [a.text for a in answers] == ["fine"] * 12 and 1 < service.most <= 4
    service.script = [lambda h, n=n: (time.sleep(0.03 * (5 - n)), h.answer(*good(f"t{n}"))) for n in range(1)]
    assert asked(service).captions([]) == []


def test_answers_belong_to_their_windows(service):
    """Whatever finishes first: the server echoes the mean of the picture it was sent."""
    import base64
    import io

    from PIL import Image

    def echo(handler):
        url = service.seen[-1][2]["messages"][0]["content"][1]["image_url"]["url"]
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))
        handler.answer(*good(str(round(float(picture.mean())))))

    levels = [20, 60, 100, 140]
    service.script = [echo] * 4
    answers = asked(service).captions([window(str(v), (v,)) for v in levels])
    assert [abs(int(a.text) - v) <= 2 for a, v in zip(answers, levels)] == [True] * 4


def test_a_dead_endpoint_is_given_up(service):
    service.script = [(500, {})] * 50
    answers = asked(service, retries=1, give_up=3).captions([window(str(i)) for i in range(20)])
    assert len(service.seen) == 6 and all(not a.text for a in answers) and answers[-1].error.startswith("not asked")


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = CaptionConfig(by="endpoint", url=f"http://127.0.0.1:{port}", model="m", retries=0)
    (answer,) = Endpoint(config).captions([window()])
    assert "Refused" in answer.error or "refused" in answer.error


def test_settings_that_cannot_work(monkeypatch):
    monkeypatch.delenv("ARMILLARY_CAPTION_URL", raising=False)
    for wrong in (CaptionConfig(by="endpoint"), CaptionConfig(by="endpoint", url="file:///etc", model="m")):
        with pytest.raises(BadInput):
            Caption(wrong)
    with pytest.raises(BadInput, match="captioner"):
        Caption(CaptionConfig(by="endpint"))
    with pytest.raises(BadInput, match="folder"):
        Caption(CaptionConfig(by="transformers", model="/nowhere"))
    assert set(CAPTIONERS) == {"measured", "endpoint", "transformers"}


def test_thoughts_and_odd_characters_are_left_out():
    assert plain("<think>hm</think> A \x00cat\u202e\n sits") == "A cat sits"
    assert len(plain("x" * 9000)) == 4000


# --- a local model ----------------------------------------------------------------------------------------------------------------------


class Pair:
    """Stands in for a processor and a model: says how many pictures it was shown."""

    device, dtype = "cpu", None

    def apply_chat_template(self, messages, **_):
        import torch

        self.parts = messages[0]["content"]
        count = sum(p["type"] == "image" for p in self.parts)
        return SimpleNamespace(to=lambda *_, **__: {"input_ids": torch.full((1, 5), count)})

    def generate(self, input_ids, max_new_tokens, do_sample):
        import torch

        assert not do_sample
        return torch.cat([input_ids, input_ids[:, :1]], 1)

    def batch_decode(self, ids, skip_special_tokens):
        return [f"{int(ids[0, 0])} pictures\n" for _ in ids] if ids.shape[1] == 1 else ["the prompt was not cut off"]


def test_a_local_model_is_shown_the_pictures(tmp_path):
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "config.json").write_text("{}")
    local = Local(CaptionConfig(by="transformers", model=str(tmp_path / "vlm"), frames=3))
    local._pair = (pair := Pair()), pair
    assert local.source == "transformers:vlm"
    answers = local.captions([window(colours=(1, 2, 3, 4)), window(colours=(5,)), window(colours=())])
    assert [a.text for a in answers] == ["3 pictures", "1 pictures", ""]
    assert answers[2].error and [p["type"] for p in pair.parts] == ["image", "text"]


def save_tiny_vlm(folder):
    """A Llava of a few thousand random weights with a tokenizer of whole words, as a real one lies in its folder."""
    import torch
    import transformers as hub
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "a", "cat", "sits", "USER", "ASSISTANT", *(f"w{i}" for i in range(22))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = hub.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    template = (
        "{% for m in messages %}USER {% for p in m['content'] %}{% if p['type'] == 'image' %}<image> {% else %}"
        "{{ p['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT"
    )
    size = {"height": 16, "width": 16}
    pictures = hub.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size)
    processor = hub.LlavaProcessor(
        pictures,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    processor.save_pretrained(folder)
    text = hub.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    eyes = hub.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    config = hub.LlavaConfig(
        vision_config=eyes, text_config=text, image_token_index=4, vision_feature_layer=-1, vision_feature_select_strategy="full",
        image_seq_length=5,
    )  # fmt: skip
    hub.LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_a_tiny_vision_language_model_speaks(tmp_path):
    """Random words, but through the loading, the template, the pictures and the decoding of a real model."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = save_tiny_vlm(tmp_path / "tiny")
    config = CaptionConfig(by="transformers", model=str(folder), frames=2, tokens=5)
    local = Local(config)
    first, again, other = local.captions([window(colours=(10, 200)), window(colours=(10, 200)), window(colours=(250,))])
    assert not (first.error or again.error or other.error)
    assert first.text and first.text == again.text and "USER" not in first.text.split()[:1]
    assert local.source == "transformers:tiny"
    (broken := tmp_path / "broken").mkdir()
    (broken / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(BadInput, match="broken"):
        Local(CaptionConfig(by="transformers", model=str(broken))).captions([window()])
