"""The page: whole in itself, well formed, nothing unescaped, its videos decodable."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary import media
from armillary.errors import BadInput
from armillary.evaluate import chart as svg
from armillary.evaluate.blocks import (
    Chart,
    Details,
    Figure,
    Figures,
    Group,
    Images,
    Movie,
    Page,
    Picture,
    Prose,
    Section,
    Series,
    Table,
    Verdicts,
    Videos,
)
from armillary.evaluate.page import cell, render, write_page
from armillary.evaluate.sheet import difference, make_sheet, save_sheet
from armillary.types import Verdict

VOID = {"meta", "link", "img", "input", "br", "circle", "path", "ellipse"}


class Outline(HTMLParser):
    """Checks that elements nest, and collects attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.texts, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)


def clip(t: int = 6, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(t, size, size, 3)).astype(np.uint8)


def everything(words: str = "words") -> Page:
    lines = [
        Series(words, [1, 2, 3], [1.0, None, 3.0], [0.5, None, 2.0], [1.5, None, 4.0]),
        Series("b", [1, 3], [2, 2], quiet=True),
    ]
    blocks = [
        Prose(f"{words}\n\n- {words}\n- `code`"),
        Figures([Figure("24.8 dB", words, words)]),
        Table(("a", words), [(words, 1.5), (words, None), ("x", 3)], words, words, strong=(0,), grouped=True),
        Chart(words, lines, "x", words, mark=(2, words), note=words),
        Videos([Group([Movie("truth", clip()), Movie("dream", clip())], words, given=2), Group([Movie(words, clip())])], words),
        Images([Picture(words, clip()[0])]),
        Verdicts(
            [
                Verdict(words, "ran", False),
                Verdict("b", "ran", True, "no", 0.9),
                Verdict("c", "failed", True),
                Verdict("d", "skipped", False),
            ]
        ),
        Details(words, [Prose(words), Details("inner", [Prose("deep")])], open=True),
    ]
    return Page(words, words, [Section(words, blocks), Section("two", []), Section("three", [])], [(words, words)], words)


def test_a_page_of_everything_is_well_formed_and_whole():
    text = render(everything())
    outline = Outline(text)
    assert {"video", "table", "svg", "details", "img", "nav"} <= set(outline.tags)
    for tag, name, value in outline.attributes:
        if name in ("src", "href", "poster", "srcset", "action", "data"):
            assert value.startswith(("data:", "#")), f"{tag} {name} leads out of the page: {value[:60]}"
        assert not name.startswith("on"), f"{tag} has an inline handler {name}"
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text and "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == set()


def test_the_script_is_the_one_the_policy_admits():
    text = render(everything())
    script = re.search(r"<script>(.*)</script>", text, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x' &amp; \u202e\x00\ud800 `<b>`"


def test_hostile_text_stays_text():
    outline = Outline(render(everything(HOSTILE)))
    assert outline.tags.count("script") == 1 and "b" not in outline.tags
    assert not any(name.startswith("on") for _, name, _ in outline.attributes)
    assert any("<script>alert(1)</script>" in t for t in outline.texts)
    assert not any(c in "".join(outline.texts) for c in "\x00\u202e\ud800")


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_written(words):
    blocks = [Prose(words), Table((words,), [(words,)]), Details(words, [Figures([Figure(words, words, words)])])]
    text = render(Page(words, words, [Section(words, blocks)]))
    Outline(text)
    text.encode()


def test_small_videos_keep_every_pixels_colour_and_every_frame():
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    frames[:, :, ::2] = (230, 30, 30)  # columns of one pixel: 4:2:0 at this size would mix them
    frames[:, :, 1::2] = (30, 30, 230)
    text = render(Page("t", "", [Section("s", [Videos([Group([Movie("v", frames, 5)], given=2)])])]))
    uri = re.search(r'src="data:video/mp4;base64,([^"]+)"', text)
    assert uri is not None and 'class="grain"' in text
    for attribute in (
        "autoplay",
        "muted",
        "loop",
        "playsinline",
        "controls",
        'data-frames="5"',
        'data-fps="5"',
        'data-given="2"',
    ):
        assert attribute in text
    with av.open(io.BytesIO(base64.b64decode(uri.group(1)))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        back = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(back) == 5
    shown = back[2].reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(shown - frames[2]).max() < 40


def test_a_file_is_taken_as_it_is_and_what_browsers_do_not_play_is_refused(tmp_path):
    good = media.write_video(tmp_path / "good.mp4", clip(4, 32), 8)
    text = render(Page("t", "", [Section("s", [Videos([Group([Movie("v", good)])])])]))
    assert base64.b64encode(good.read_bytes()).decode() in text and 'width="32"' in text
    bad = media.write_video(tmp_path / "bad.mp4", clip(4, 64), 8, codec="libx265")
    with pytest.raises(BadInput, match="not played"):
        render(Page("t", "", [Section("s", [Videos([Group([Movie("v", bad)])])])]))


def test_pictures_from_files(tmp_path):
    path = media.write_image(tmp_path / "p.png", clip()[0])
    assert "data:image/png" in render(Page("t", "", [Section("s", [Images([Picture("p", path)])])]))
    with pytest.raises(BadInput, match="no picture"):
        render(Page("t", "", [Section("s", [Images([Picture("p", tmp_path / "p.bmp")])])]))


@pytest.mark.parametrize(
    "block, says",
    [
        (Table(("a", "b"), [(1,)]), "row of 1"),
        (Chart("c", [Series("s", [1, 2], [None, float("nan")])], "x", "y"), "no value"),
        (Chart("c", [Series("s", [1, 2], [1.0])], "x", "y"), "2 x, 1 y"),
        (Videos([Group([])]), "at least one"),
        (Videos([Group([Movie("v", np.zeros((2, 8, 8, 3)))])]), "not uint8"),
        ("text", "got str"),
    ],
)
def test_what_cannot_be_shown_is_said(block, says):
    with pytest.raises(BadInput, match=says):
        render(Page("t", "", [Section("s", [block])]))


def test_a_refused_page_leaves_no_file(tmp_path):
    with pytest.raises(BadInput):
        write_page(Page("t", "", [Section("s", [Table(("a",), [()])])]), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
    assert write_page(everything(), tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_same_page_is_the_same_bytes():
    assert render(everything()) == render(everything())


def test_cells_are_readable_numbers():
    assert [cell(v) for v in (None, float("nan"), 0.01234, 24.83, 12345.6, 7, "x")] == [
        "–",
        "–",
        "0.0123",
        "24.8",
        "12346",
        "7",
        "x",
    ]


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 9))
def test_ticks_hold_the_range_on_round_numbers(low, span, about):
    made = svg.ticks(low, low + span, about)
    step = made[1] - made[0]
    assert made[0] <= low + 1e-6 * step and made[-1] >= low + span - 1e-6 * step
    assert 2 <= len(made) <= about + 3


def points(text: str, kind: str) -> list[tuple[float, float]]:
    path = re.search(rf'<path class="{kind}" d="([^"]+)"', text)
    assert path is not None
    return [(float(a), float(b)) for a, b in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.group(1))]


@pytest.mark.parametrize("width", [880, 350])
def test_a_chart_puts_points_where_they_belong(width):
    chart = Chart("c", [Series("line", [0, 5, 10], [0.0, 10.0, 5.0])], "x", "y")
    (x0, y0), (x1, y1), (x2, y2) = points(svg.draw(chart, width), "line")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 > y2 > y1  # up is up
    assert (y0 - y2) == pytest.approx((y0 - y1) / 2, abs=0.2)
    assert x0 >= 0 and x2 <= width


def test_a_gap_breaks_the_line_and_flat_or_single_values_can_be_drawn():
    text = svg.draw(Chart("c", [Series("s", [1, 2, 3, 4], [1, 2, None, 4])], "x", "y"), 880)
    path = re.search(r'class="line" d="([^"]+)"', text)
    assert path is not None and path.group(1).count("M") == 2
    svg.draw(Chart("c", [Series("s", [3], [7.0])], "x", "y"), 350)
    svg.draw(Chart("c", [Series("s", [1, 2], [0.0, 0.0])], "x", "y"), 350)


def test_labels_at_the_ends_do_not_overlap():
    series = [Series(f"line {i}", [0, 1], [0, 1 + 0.001 * i]) for i in range(5)]
    heights = sorted(
        float(y) for y in re.findall(r'class="end s\d" x="[\d.]+" y="([\d.]+)"', svg.draw(Chart("c", series, "x", "y"), 880))
    )
    assert len(heights) == 5 and min(np.diff(heights)) >= 13.9


def test_a_sheet_shows_its_rows(tmp_path):
    truth = clip(8, 16)
    made = make_sheet([truth, truth, difference(truth, truth)], ["truth", "dream", "difference"], columns=4, given=2, cell=32)
    assert made.dtype == np.uint8 and made.ndim == 3
    column = made[:, made.shape[1] - 8 - 4 - 32 : made.shape[1] - 8 - 4]
    np.testing.assert_array_equal(column[26:58:2, ::2], truth[-1])  # the last frame, pixel by pixel
    assert (column[26 + 72 : 26 + 104] == 0).all()  # equal videos: a black difference
    assert media.read_image(save_sheet(tmp_path / "s.png", [truth], ["t"])).ndim == 3
    with pytest.raises(BadInput, match="one label a row"):
        make_sheet([truth], ["a", "b"])
    with pytest.raises(BadInput, match="one shape"):
        make_sheet([truth, truth[:3]], ["a", "b"])


def test_difference_grows_with_the_difference():
    base = np.full((1, 8, 8, 3), 100, np.uint8)
    light = [int(difference(base, base + np.uint8(d)).astype(int).sum()) for d in (0, 5, 20, 60, 85)]
    assert light[0] == 0 and light == sorted(light) and len(set(light)) == 5
