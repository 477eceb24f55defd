"""What is measured: motion against known motion, quality against known damage, embeddings against known copies."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene, texture
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.curate.analyse import Segment
from armillary.curate.dedup import DedupConfig, dedup, distance
from armillary.curate.embed import describe, embed, hamming, phash, picture_vector
from armillary.curate.filters.black import BlackConfig, frozen_share
from armillary.curate.filters.text import Box
from armillary.curate.flow import Flow
from armillary.curate.measure import few_values, measure
from armillary.curate.shots import Transition
from armillary.curate.split import SplitConfig, clip_id, spans, split
from armillary.media import VideoInfo, resize
from armillary.types import Clip, Rejection

cv2 = pytest.importorskip("cv2")


def flow_of(transform, seconds=0.25):
    """The row for a texture before and after a similarity (2x3 matrix about the origin)."""
    big = texture(3, 180, 320)[..., 1]
    after = cv2.warpAffine(big, np.asarray(transform, np.float64), (320, 180), borderMode=cv2.BORDER_REFLECT)
    flow = Flow()
    assert flow.feed(0.0, big) is None
    row = flow.feed(seconds, after)
    assert row is not None
    return row


def about_centre(scale, degrees):
    return cv2.getRotationMatrix2D((160, 90), -degrees, scale)


def test_flow_reads_a_known_shift():
    row = flow_of([[1, 0, 6], [0, 1, -3]])
    assert row.x == pytest.approx(6 / 320 / 0.25, rel=0.1)
    assert row.y == pytest.approx(-3 / 320 / 0.25, rel=0.15)
    assert abs(row.zoom) < 0.02 and abs(row.roll) < 0.02
    assert row.explained > 0.9


def test_flow_reads_a_known_zoom_and_turn():
    assert flow_of(about_centre(1.04, 0)).zoom == pytest.approx(0.16, rel=0.15)
    assert flow_of(about_centre(0.97, 0)).zoom == pytest.approx(-0.12, rel=0.15)
    assert flow_of(about_centre(1.0, 2)).roll == pytest.approx(np.radians(2) / 0.25, rel=0.15)


def test_measures_move_with_the_damage():
    clean = texture(1, 360, 480)[..., 1]
    rng = np.random.default_rng(0)
    noisy = np.clip(clean + rng.normal(size=clean.shape) * 20, 0, 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(clean, (0, 0), 6)
    cells = resize(np.repeat(clean[..., None], 3, 2)[None], (45, 60))[0, ..., 0]
    blocks = np.kron(cells, np.ones((8, 8), np.uint8)).astype(np.uint8)
    a = measure(clean)
    assert measure(noisy)["noise"] == pytest.approx(20, rel=0.25)
    assert measure(blurred)["blur"] > a["blur"] + 0.1
    assert measure(blocks)["blocks"] > 3 > 1.3 > a["blocks"]
    assert measure(rng.integers(0, 256, (200, 200), np.uint8))["neighbours"] < 0.1 < 0.9 < a["neighbours"]
    assert measure(np.full((100, 100), 5, np.uint8))["dark"] == 1.0
    assert measure(np.full((100, 100), 250, np.uint8))["bright"] == 1.0


def test_bars_are_measured_on_each_side():
    picture = np.full((200, 400), 120, np.uint8)
    picture[:30] = picture[-20:] = 16
    picture[:, :40] = 16
    m = measure(picture)
    assert m["top"] == pytest.approx(0.15, abs=0.01) and m["bottom"] == pytest.approx(0.1, abs=0.01)
    assert m["left"] == pytest.approx(0.1, abs=0.01) and m["right"] == 0.0
    assert measure(np.full((100, 100), 120, np.uint8))["top"] == 0.0


def test_few_values_tells_a_slide_from_a_sky():
    slide = np.full((200, 200), 230, np.uint8)
    slide[50:70, 20:180] = 20
    sky = np.tile(np.linspace(150, 175, 200).astype(np.uint8), (200, 1))
    assert few_values(slide) > 0.95
    assert few_values(sky) < 0.5


def test_frozen_counts_only_runs_long_enough():
    times = np.arange(50) / 10
    still = np.zeros(50)
    assert frozen_share(still, times, 5.0, BlackConfig()) == pytest.approx(1.0)
    assert frozen_share(np.ones(50) * 5, times, 5.0, BlackConfig()) == 0.0
    every_third = np.where(np.arange(50) % 3, 0.0, 5.0)  # animation on threes is not frozen
    assert frozen_share(every_third, times, 5.0, BlackConfig()) == 0.0
    half = np.where(np.arange(50) < 25, 0.0, 5.0)
    assert frozen_share(half, times, 5.0, BlackConfig()) == pytest.approx(0.5, abs=0.05)


def test_boxes_overlap_as_rectangles_do():
    a, b = Box(0, 0, 0.5, 0.5), Box(0.25, 0, 0.75, 0.5)
    assert a.overlap(a) == pytest.approx(1)
    assert a.overlap(b) == b.overlap(a) == pytest.approx(1 / 3)
    assert a.overlap(Box(0.6, 0.6, 0.7, 0.7)) == 0


def segment_of(n, transitions=(), gaps=(), fps=25.0):
    zeros = np.zeros(n, np.float32)
    info = VideoInfo("x.mp4", 160, 112, fps, n, n / fps, "h264", "yuv420p")
    times = np.arange(n) / fps + 3.0
    return Segment(
        info, times, 3.0 + n / fps, zeros, zeros, zeros, zeros, np.zeros(n, bool), tuple(transitions), (), (), 0, tuple(gaps)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 380), st.integers(0, 30)), max_size=6), st.floats(0.5, 4), st.floats(4.1, 9))
def test_clips_never_hold_a_transition_and_keep_their_bounds(cuts, least, most):
    transitions, last = [], 0
    for start, length in sorted(cuts):
        if start > last + 2 and start + length < 399:
            transitions.append(Transition("cut" if not length else "dissolve", start, start + length))
            last = start + length
    segment = dataclasses.replace(segment_of(400, transitions), change_peak=np.full(400, 9.0, np.float32))
    clips = split(segment, SplitConfig(least, most), "content", "x.mp4")
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(clips))
    for clip in clips:
        length = clip.end - clip.start
        assert length <= most + 2 / 25
        assert bool(clip.rejected) == (length < least - 1e-6)
        inside = segment.within(clip.start, clip.end)
        assert clip.num_frames == inside.stop - inside.start > 0
        for t in transitions:
            if t.start == t.end:
                assert not inside.start < t.start < inside.stop
            else:
                assert inside.stop <= t.start or inside.start > t.end
    assert len({c.id for c in clips}) == len(clips)


def test_spans_split_at_holes_and_by_stride():
    assert spans(segment_of(100, gaps=(40,)), SplitConfig(freeze=0)) == [(0, 40), (40, 100)]
    assert spans(segment_of(100), SplitConfig(stride=1.0)) == [(0, 25), (25, 50), (50, 75), (75, 100)]


def test_a_frozen_stretch_is_cut_off_and_a_short_halt_is_not():
    segment = segment_of(250)
    change = np.full(250, 5.0, np.float32)
    change[0] = 0
    change[61:120] = 0.1  # frames 60..119 show one picture for 2.4 s
    change[200:230] = 0.1  # 1.2 s
    assert spans(dataclasses.replace(segment, change_peak=change), SplitConfig()) == [(0, 60), (60, 120), (120, 250)]
    assert spans(dataclasses.replace(segment, change_peak=change), SplitConfig(freeze=0)) == [(0, 250)]
    assert spans(segment, SplitConfig()) == [(0, 250)]  # frozen from end to end is one clip, for a filter to reject
    cut = dataclasses.replace(segment, change_peak=change, transitions=(Transition("cut", 90, 90),))
    assert spans(cut, SplitConfig()) == [(0, 60), (60, 90), (90, 120), (120, 250)]


def test_ids_hang_on_content_and_span_alone():
    assert clip_id("a", 0.0, 1.0) == clip_id("a", 0.0, 1.0 + 1e-9) != clip_id("b", 0.0, 1.0)
    assert clip_id("a", 0.0, 1.0) != clip_id("a", 0.0, 1.001)


def clip(name, frames, width=160, height=112, seconds=4.0, **changes):
    c = Clip(name, f"{name}.mp4", 0.0, seconds, width=width, height=height, embedding=embed(list(frames)))
    return c.replace(**changes), [phash(f) for f in frames]


def worn(frames, seed=0):
    """Half size, darker, noisy: what a bad copy does."""
    small = resize(frames, (56, 80)).astype(float) * 0.85
    return np.clip(small + np.random.default_rng(seed).normal(size=small.shape) * 4, 0, 255).astype(np.uint8)


def prints(pictures):
    return np.array([phash(p) for p in pictures], np.uint64)


def test_copies_are_close_and_others_are_not():
    pictures = {s: scene(s, 30, pan=3)[::6] for s in range(7)}
    vectors = {s: embed(list(p)) for s, p in pictures.items()}
    for v in vectors.values():
        assert np.linalg.norm(v) == pytest.approx(1, abs=1e-4)
    for s, p in pictures.items():
        copy = worn(p, s)
        assert vectors[s] @ embed(list(copy)) > 0.95
        assert distance(prints(p), prints(copy), 1.0) < 8
    others = [vectors[a] @ vectors[b] for a, b in itertools.combinations(vectors, 2)]
    assert max(others) < 0.9


def test_a_description_is_vector_and_hash_at_once():
    picture = scene(5, 1)[0]
    vector, bits = describe(picture)
    assert np.array_equal(vector, picture_vector(picture)) and bits == phash(picture)


def test_hash_distance_finds_the_shift():
    a = prints(scene(1, 60, pan=5)[::6])
    assert distance(a[3:7], a, 1.0) == 0
    assert distance(a, a[:0], 1.0) == 64
    assert hamming(0b1011, 0b0001) == 2


def test_dedup_keeps_the_largest_then_the_longest_in_any_order():
    frames = scene(4, 30, pan=3)[::6]
    made = [
        clip("small", worn(frames, 1), 80, 56, 9.0),
        clip("large", frames, 320, 224, 4.0),
        clip("long", worn(frames, 2), 320, 224, 6.0),
        clip("other", scene(90, 30)[::6]),
        clip("gone", frames, 999, 999, rejected=(Rejection("motion", "static"),)),
    ]
    hashes = {c.id: h for c, h in made}
    for order in itertools.permutations(range(len(made))):
        out = dedup([made[i][0] for i in order], hashes)
        assert [c.id for c in out] == [made[i][0].id for i in order]
        state = {c.id: [r.by for r in c.rejected] for c in out}
        assert state == {"small": ["dedup"], "large": ["dedup"], "long": [], "other": [], "gone": ["motion"]}


def test_clusters_do_not_change_what_is_found():
    made, hashes = [], {}
    for s in range(12):
        frames = scene(s + 200, 8, pan=3)[::4]
        for k, f in enumerate((frames, worn(frames, s))):
            c, h = clip(f"{s}-{k}", f, 160 - 80 * k, 112)
            made.append(c)
            hashes[c.id] = h
    whole = [c.id for c in dedup(made, hashes, DedupConfig(cluster=1000)) if c.rejected]
    parts = [c.id for c in dedup(made, hashes, DedupConfig(cluster=8)) if c.rejected]
    assert whole == [f"{s}-1" for s in range(12)]
    assert set(parts) <= set(whole) and len(parts) >= 10
    assert parts == [c.id for c in dedup(made[::-1], hashes, DedupConfig(cluster=8))[::-1] if c.rejected]


def test_clips_of_one_source_are_moments_and_not_copies():
    frames = scene(4, 30, pan=0)[::6]
    (a, ha), (b, hb) = clip("a", frames), clip("b", frames)
    b = b.replace(source=a.source)
    both = {"a": ha, "b": hb}
    assert not any(c.rejected for c in dedup([a, b], both))
    assert sum(bool(c.rejected) for c in dedup([a, b], both, DedupConfig(within_source=True))) == 1
