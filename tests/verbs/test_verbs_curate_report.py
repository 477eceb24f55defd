"""The page of a curation run: what it says is what lies in the folder, whatever the files are called."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from armillary.curate.rows import write_clips, write_sources
from armillary.errors import BadInput
from armillary.media import write_image
from armillary.store import write_json
from armillary.types import Clip, Rejection
from armillary.verbs._curate_report import EACH, KEPT, histogram, kind_of, thresholds, write_report

HOSTILE = '<script>alert("x")&\u202e.mp4'
CONFIG = {
    "split": {"min_seconds": 2.0},
    "filters": ["motion", "quality", "type"],
    "motion": {"min_active": 0.1, "moving": 0.01},
    "quality": {"max_blur": 0.75},
    "type": {"few": 0.5},
    "dedup": {"cosine": 0.9},
}


def clip(i, source, **more):
    scores = {"active": 0.5, "blur": 0.1 + i / 200, "graphics": 0.2, **more.pop("scores", {})}
    tags = {"camera": "pan left", "type": "picture", "caption_source": "measured", **more.pop("tags", {})}
    facts = {"width": 64, "height": 48, "num_frames": 75, "caption": f"a scene of {source}", **more}
    return Clip(f"{i:016x}", source, 3.0 * i, 3.0 * i + 3, fps=25.0, scores=scores, tags=tags, **facts)


def make(out, clips, sources, timing=True, thumbs=True):
    write_clips(out / "clips.parquet", clips, out)
    write_sources(out / "sources.parquet", sources)
    write_json(out / "summary.json", {"config": CONFIG})
    if timing:
        note = {"wall_s": 30.0, "cpu_s": {"analyse": 40.0, "judge": 10.0}, "analysed_s": 200.0, "real_time_per_core": 4.0}
        write_json(out / "timing.json", {**note, "runner": "inline"})
    for i, c in enumerate(clips if thumbs else ()):
        write_image(out / "thumbs" / f"{c.id}.jpg", np.full((48, 64, 3), i * 3 % 255, np.uint8))
    return out


@pytest.fixture
def out(tmp_path):
    kept = [clip(i, f"good{i}.mp4") for i in range(40)]
    kept[0] = clip(0, HOSTILE, caption="<b>bold</b> claims", tags={"caption_source": "endpoint:<i>m</i>"})
    static = [
        clip(50 + i, f"still{i}.mp4", scores={"active": i / 1000}, rejected=(Rejection("motion", "static", i / 1000, 0.1),))
        for i in range(20)
    ]
    twice = (Rejection("quality", "blurred", 0.9, 0.75), Rejection("type", "a screen", 1.25, 1.0))
    blurred = clip(80, "blur.mp4", scores={"blur": 0.9, "graphics": 1.25}, rejected=twice)
    winner = kept[1].id
    copy = clip(
        90, "copy.mp4", tags={"duplicate_of": winner, "caption_error": "HTTP 500"},
        rejected=(Rejection("dedup", f"the same footage as {winner}", 0.97, 0.9),),
    )  # fmt: skip
    sources = [{"source": c.source, "status": "ok", "duration_s": 3.0, "fps": 25.0, "frames": 75} for c in [*kept, *static]]
    sources.append({"source": "/films/<img src=x>.mp4", "status": "error", "kind": "empty_file", "reason": "<u>empty</u>"})
    sources.append({"source": "again.mp4", "status": "duplicate", "kind": "duplicate", "reason": "byte for byte good1.mp4"})
    return make(tmp_path, [*kept, *static, blurred, copy], sources)


def text_of(path):
    page = path.read_text()
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


def table_of(page, head):
    """Rows of the first table whose first column has this head."""
    for table in re.findall(r"<table.*?</table>", page, re.S):
        rows = [
            [re.sub(r"<[^>]+>", " ", c).strip() for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r)]
            for r in table.split("</tr>")
        ]
        if rows[0] and rows[0][0] == head:
            return rows[1:-1]
    raise AssertionError(f"no table {head}")


def test_the_page_says_what_was_kept_and_what_was_not(out):
    path = write_report(out)
    assert path == out / "report.html"
    text = text_of(path)
    for said in (
        "clips kept 40 of 62 found",
        "of video kept 2.0 min",
        "of 3.0 min read, 67 %",
        "real time per core 4.0×",
        "6.7×",
    ):
        assert said in text, said
    rows = {r[0]: r for r in table_of(path.read_text(), "filter")}
    assert [(n, rows[n][1], rows[n][2], rows[n][3]) for n in ("length", "motion", "quality", "type", "dedup")] == [
        ("length", "0", "62", "0"), ("motion", "20", "42", "20"), ("quality", "1", "41", "1"),
        ("type", "0", "41", "1"), ("dedup", "1", "40", "1"),
    ]  # fmt: skip
    assert "motion: static (20 clips)" in text and f"{EACH} of 20" in text and f"{KEPT} of 40" in text
    assert "0.9 against 0.75" in text and "likeness 0.97" in text
    assert "HTTP 500" in text and "byte for byte good1.mp4" in text and "empty_file" in text
    assert table_of(path.read_text(), "step")[-1] == ["in all", "50.0", "–", "900.0"]


def test_whatever_files_are_called_nothing_of_it_is_markup(out):
    page = write_report(out).read_text()
    for bad in ("<script>alert", "<b>bold", "<img src=x>", "<u>empty", "<i>m</i>", "\u202e"):
        assert bad not in page, bad
    assert "&lt;script&gt;alert" in page and "&lt;img src=x&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page


def test_every_score_with_a_threshold_is_drawn(out):
    page = write_report(out).read_text()
    for name, threshold in (("active", "0.1"), ("blur", "0.75"), ("graphics", "1"), ("seconds", "2")):
        chart = re.search(rf"<summary>\w+: {name}</summary>.*?</details>", page, re.S)
        assert chart and f"threshold {threshold}<" in chart.group(0), name
    assert ": moving<" not in page and ": few<" not in page


def test_thresholds_are_read_off_config_and_rejections():
    clips = [
        clip(1, "a", scores={"graphics": 1.5, "other": 1.5}, rejected=(Rejection("type", "x", 1.5, 1.0),)),
        clip(2, "b", scores={"graphics": 2.5, "other": 1.0}, rejected=(Rejection("type", "y", 2.5, 1.0),)),
    ]
    assert thresholds(clips, CONFIG) == {
        "seconds": ("length", 2.0), "active": ("motion", 0.1), "blur": ("quality", 0.75), "graphics": ("type", 1.0),
    }  # fmt: skip
    assert "graphics" not in thresholds(clips[:1], CONFIG)  # two scores of that value: which was judged is not known


def test_a_histogram_counts_every_clip_once():
    rng = np.random.default_rng(0)
    numbers = [(float(v), v < 0.7) for v in [*rng.normal(size=500), 1e6]]
    chart = histogram("x", numbers, 0.7)
    every, kept = (np.array(s.y)[::2] for s in chart.series)
    assert every.sum() == 501 and kept.sum() == sum(k for _, k in numbers)
    assert chart.mark is not None and chart.mark[0] == 0.7 and chart.series[0].x[0] <= 0.7 <= chart.series[0].x[-1]


def test_reasons_of_one_kind_are_one_group():
    assert kind_of("0.17 s is shorter than 2 s") == kind_of("1.5 s is shorter than 2 s")
    assert kind_of("text over the picture: 'LIVE'") == kind_of("text over the picture: 'SALE 50'")
    assert kind_of("blurred") != kind_of("noisy")


def test_folders_with_less_in_them(tmp_path):
    bare = make(tmp_path / "a", [clip(1, "a.mp4")], [{"source": "a.mp4", "status": "ok"}], timing=False, thumbs=False)
    assert "no picture" in text_of(write_report(bare))
    none = make(tmp_path / "b", [clip(1, "a.mp4", rejected=(Rejection("x", "y"),))], [], timing=False)
    (none / "thumbs" / f"{1:016x}.jpg").write_bytes(b"torn")
    assert "No clip was kept" in text_of(write_report(none))
    empty = make(tmp_path / "c", [], [{"source": "a.mp4", "status": "error", "kind": "k", "reason": "r"}])
    assert "clips kept 0 of 0 found" in text_of(write_report(empty))
    with pytest.raises(BadInput, match="no curated clips"):
        write_report(tmp_path)
