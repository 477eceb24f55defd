"""Deduplication: what is found, who stays, and that neither order nor clusters decide."""

from __future__ import annotations

import numpy as np
import pytest

from armillary.curate.dedup import DedupConfig, dedup, distance, memberships
from armillary.curate.embed import embed, phash
from armillary.media import iter_frames
from armillary.types import Clip, Rejection

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
D = 32


def unit(v):
    return (v / np.linalg.norm(v)).astype(np.float32)


def clip(name, vector, source=None, width=64, height=48, seconds=4.0, **more):
    return Clip(name, source or f"{name}.mp4", 0.0, seconds, width=width, height=height, embedding=unit(vector), **more)


def prints(rng, n=8):
    return [int(x) for x in rng.integers(0, 1 << 63, n, dtype=np.uint64)]


def flipped(rng, run, bits):
    """The same pictures encoded again: `bits` bits of each hash are others."""
    out = []
    for h in run:
        for b in rng.choice(64, bits, replace=False):
            h ^= 1 << int(b)
        out.append(h)
    return out


def losers(clips):
    return {c.id: c.tags.get("duplicate_of") for c in clips if c.rejected}


def test_the_highest_resolution_stays_and_the_tag_names_it():
    rng = np.random.default_rng(0)
    v, run = rng.normal(size=D), prints(np.random.default_rng(1))
    small, large = clip("a", v, width=64), clip("b", v + 0.05 * rng.normal(size=D), width=128)
    other = clip("c", rng.normal(size=D))
    hashes = {"a": flipped(rng, run, 4), "b": run, "c": prints(rng)}
    found = dedup([small, large, other], hashes)
    assert [c.id for c in found] == ["a", "b", "c"]
    assert losers(found) == {"a": "b"}
    row = found[0].rejected[0]
    assert row.by == "dedup" and "b" in row.reason and row.threshold == DedupConfig().cosine and row.score > 0.9


def test_like_vectors_with_other_pictures_are_no_duplicates():
    rng = np.random.default_rng(2)
    v = rng.normal(size=D)
    clips = [clip("a", v), clip("b", v)]
    assert not losers(dedup(clips, {"a": prints(rng), "b": prints(rng)}))
    assert losers(dedup(clips, {"a": prints(rng), "b": prints(rng)}, DedupConfig(alone=0.99))) == {"b": "a"}


def test_a_trimmed_copy_is_found_though_its_vector_is_another():
    rng = np.random.default_rng(3)
    run = prints(rng, 24)
    whole, piece = clip("a", rng.normal(size=D), seconds=12.0), clip("b", rng.normal(size=D), seconds=4.0)
    assert float(whole.embedding @ piece.embedding) < 0.5
    hashes = {"a": run, "b": flipped(rng, run[9:17], 3)}
    assert losers(dedup([piece, whole], hashes)) == {"b": "a"}
    # Two stretches of one film that overlap by less than `overlap` are not the same.
    hashes = {"a": run[:14], "b": run[10:]}
    assert not losers(dedup([piece, whole], hashes))


def test_clips_of_one_source_only_when_asked():
    rng = np.random.default_rng(4)
    v, run = rng.normal(size=D), prints(rng)
    clips = [clip("a", v, source="s"), clip("b", v, source="s")]
    hashes = {"a": run, "b": flipped(rng, run, 2)}
    assert not losers(dedup(clips, hashes))
    assert losers(dedup(clips, hashes, DedupConfig(within_source=True))) == {"b": "a"}


def test_rejected_and_vectorless_clips_are_left_alone():
    rng = np.random.default_rng(5)
    v, run = rng.normal(size=D), prints(rng)
    gone = clip("a", v, width=999, rejected=(Rejection("motion", "static"),))
    bare = clip("b", v).replace(embedding=None)
    clips = [gone, bare, clip("c", v)]
    assert dedup(clips, {x: run for x in "abc"}) == clips
    assert dedup(clips, {}, DedupConfig(on=False)) == clips


@pytest.fixture(scope="module")
def crowd():
    """1500 clips in loose groups; 150 of them have a copy, encoded again or trimmed."""
    rng = np.random.default_rng(6)
    middles = rng.normal(size=(30, D))
    clips, hashes, truth = [], {}, {}
    for i in range(1500):
        v = middles[i % 30] + 0.6 * rng.normal(size=D)
        run = prints(rng, int(rng.integers(4, 16)))
        clips.append(clip(f"o{i:04d}", v, width=128))
        hashes[f"o{i:04d}"] = run
        if i % 10 == 0:
            name = f"d{i:04d}"
            clips.append(clip(name, unit(v) + 0.05 * rng.normal(size=D), width=64))
            hashes[name] = flipped(rng, run[: max(3, len(run) - 2)], 3)
            truth[name] = f"o{i:04d}"
    return clips, hashes, truth


@pytest.mark.parametrize("cluster", [100000, 150])
def test_every_copy_is_found_in_one_cluster_and_in_many(crowd, cluster):
    clips, hashes, truth = crowd
    assert losers(dedup(clips, hashes, DedupConfig(cluster=cluster))) == truth


def test_order_does_not_decide(crowd):
    clips, hashes, _ = crowd
    config = DedupConfig(cluster=150)
    first = {c.id: (c.rejected, dict(c.tags)) for c in dedup(clips, hashes, config)}
    for seed in range(3):
        shuffled = [clips[i] for i in np.random.default_rng(seed).permutation(len(clips))]
        again = dedup(shuffled, hashes, config)
        assert [c.id for c in again] == [c.id for c in shuffled]
        assert {c.id: (c.rejected, dict(c.tags)) for c in again} == first


def test_clusters_do_not_hang_on_the_number_of_threads():
    faiss = pytest.importorskip("faiss")
    vectors = np.stack([unit(v) for v in np.random.default_rng(7).normal(size=(3000, D))])
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            found.append(memberships(vectors, DedupConfig(cluster=100)))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) == 30


def test_who_stays_has_no_twin_that_stays():
    """A chain a~b~c, where a and c differ: b gives way to a, and c stays, for nobody it resembles does."""
    rng = np.random.default_rng(8)
    run = prints(rng)
    b = flipped(rng, run, 8)
    c = flipped(rng, b, 8)
    a_c = distance(np.array(run, np.uint64), np.array(c, np.uint64), 0.75)
    v = rng.normal(size=D)
    clips = [clip("a", v, width=99), clip("b", v, width=66), clip("c", v, width=33)]
    assert a_c > 12
    assert losers(dedup(clips, {"a": run, "b": b, "c": c})) == {"b": "a"}


def test_distance_against_the_plain_definition():
    rng = np.random.default_rng(9)
    for n, m in ((1, 1), (3, 7), (7, 3), (5, 5)):
        a, b = np.array(prints(rng, n), np.uint64), np.array(prints(rng, m), np.uint64)
        short, long = sorted((a, b), key=len)
        plain = min(
            sum((int(x) ^ int(long[i + s])).bit_count() for i, x in enumerate(short) if 0 <= i + s < len(long))
            / sum(0 <= i + s < len(long) for i in range(len(short)))
            for s in range(-len(short), len(long) + 1)
            if sum(0 <= i + s < len(long) for i in range(len(short))) >= max(1, -(-len(short) * 3 // 4))
        )
        assert distance(a, b, 0.75) == pytest.approx(plain)
    assert distance(np.array([], np.uint64), a, 0.75) == 64.0
    assert distance(a, a, 0.75) == 0.0


def test_real_footage_copied_trimmed_and_scaled(shared_data):
    """Ten real clips against copies at half the size, coded coarsely, and cut to their middle; and each other, which are no copies."""
    names = [
        "driving_rural_road_a.mp4", "driving_suburb_a.mp4", "driving_highway_lane_a.mp4", "human_football_juggle.mp4",
        "human_pour_coffee.mp4", "human_kitchen_talk.mp4", "human_asl_walk.mkv", "human_asl_again.mkv",
        "robot_language_table_a.mp4", "robot_sim_kitchen_a.mp4",
    ]  # fmt: skip
    clips, hashes = [], {}
    for name in names:
        looks: list[np.ndarray] = []
        for seconds, picture in iter_frames(shared_data / "videos" / name, (270, 480)):
            if seconds >= len(looks) / 2 and len(looks) < 10:
                looks.append(picture)
        coarse = [cv2.imdecode(cv2.imencode(".jpg", p[::2, ::2], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1) for p in looks]
        pieces = {name: (looks, 1280), f"copy {name}": (coarse, 240), f"part {name}": (coarse[1:-1], 240)}
        for key, (pictures, width) in pieces.items():
            clips.append(clip(key, embed(pictures), width=width, seconds=len(pictures) / 2))
            hashes[key] = [phash(p) for p in pictures]
    assert losers(dedup(clips, hashes)) == {f"{kind} {n}": n for n in names for kind in ("copy", "part")}
