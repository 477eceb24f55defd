"""Search: by words in captions, by a clip, by a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from curate_scenes import scene

from armillary.cli.main import run
from armillary.curate.embed import DIM, embed
from armillary.curate.index import Index, embed_file, told, words
from armillary.curate.rows import write_clips
from armillary.errors import BadInput
from armillary.media import write_video
from armillary.types import Clip, Rejection
from armillary.verbs._search import curate_search

CAPTIONS = {
    "aaaaaa01": "A red car drives down a street in the rain.",
    "aaaaaa02": "Two cars wait; a dog crosses the street.",
    "bbbbbb03": "A robot arm puts a red cup on a table.",
    "cccccc04": "Waves at a beach.",
}


def make(out, vectors=None):
    clips, rows = [], []
    for i, (name, caption) in enumerate(CAPTIONS.items()):
        vector = np.zeros(DIM, np.float32) if vectors is None else vectors[i]
        if vectors is None:
            vector[i : i + 2] = np.sqrt(0.5)
        clips.append(Clip(name, f"s{i}.mp4", 0.0, 3.0, caption=caption, tags={"camera": "pan left"}))
        rows.append(vector)
    clips.insert(2, Clip("dddddd05", "bad.mp4", 0, 3, caption="a red car", rejected=(Rejection("motion", "static"),)))
    clips[-1] = clips[-1].replace(
        tags={"camera": "static", "captions": json.dumps([{"caption": "Waves at a beach."}, {"caption": "A surfer falls."}])}
    )
    write_clips(out / "clips.parquet", clips, out)
    np.save(out / "embeddings.npy", np.stack(rows), allow_pickle=False)
    return out


def ids(found):
    return [r["clip_id"] for r in found["found"]]


def test_words_are_found_in_captions(tmp_path):
    make(tmp_path)
    found = curate_search("red cars", folder=tmp_path)
    assert found["by"] == "words" and found["clips"] == 4
    assert ids(found)[0] == "aaaaaa01" and set(ids(found)) == {"aaaaaa01", "aaaaaa02", "bbbbbb03"}
    assert [r["score"] for r in found["found"]] == sorted((r["score"] for r in found["found"]), reverse=True)
    assert ids(curate_search("surfer", folder=tmp_path)) == ["cccccc04"]  # in a later window
    assert ids(curate_search("static camera", folder=tmp_path)) == ["cccccc04"]  # a tag
    assert ids(curate_search("vehicle", folder=tmp_path)) == []
    assert len(ids(curate_search("a red car on the street", folder=tmp_path, top=1))) == 1
    with pytest.raises(BadInput, match="no word"):
        curate_search("the ... of", folder=tmp_path)


def test_bm25_by_hand(tmp_path):
    index = Index.load(make(tmp_path))
    (hit,) = index.saying("dog")
    lengths = [len(words(told(c))) for c in index.clips]
    count, length = 1, lengths[1]
    rare = np.log(1 + (4 - 1 + 0.5) / 1.5)
    assert hit.score == pytest.approx(rare * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / np.mean(lengths))), abs=1e-6)


def test_a_clip_is_compared_by_its_vector(tmp_path):
    make(tmp_path)
    found = curate_search("aaaaaa02", folder=tmp_path)
    assert found["by"] == "clip" and ids(found)[:2] == ["aaaaaa01", "bbbbbb03"]  # each shares half; equal ones by id
    assert [r["score"] for r in found["found"]][:3] == pytest.approx([0.5, 0.5, 0.0])
    assert "aaaaaa02" not in ids(found)
    assert ids(curate_search("cccccc", folder=tmp_path, top=2))[0] == "bbbbbb03"
    with pytest.raises(BadInput, match="2 clips"):
        curate_search("aaaaaa", folder=tmp_path)
    with pytest.raises(BadInput, match="rejected"):
        curate_search("dddddd05", folder=tmp_path)


def test_a_file_finds_its_own_footage_again(tmp_path):
    films = [scene(seed, 40, h=96, w=160, pan=1.0) for seed in range(4)]
    make(tmp_path, [embed(list(f[::8])) for f in films])
    # Encoded again at another size and cut short, as one of two shots of a file.
    small = films[2][5:35, ::2, ::2]
    path = write_video(tmp_path / "again.mp4", np.concatenate([small, films[3][:30, ::2, ::2]]), 10.0, crf=30)
    alone = write_video(tmp_path / "alone.mp4", small, 10.0, crf=30)
    found = curate_search(str(alone), folder=tmp_path)
    assert found["by"] == "file" and ids(found)[0] == "bbbbbb03" and found["found"][0]["score"] > 0.95
    assert found["found"][1]["score"] < 0.9
    assert set(ids(curate_search(str(path), folder=tmp_path, top=2))) == {"bbbbbb03", "cccccc04"}
    vectors = embed_file(alone)
    assert vectors.shape[1] == DIM and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_on_the_command_line(tmp_path, capsys):
    make(tmp_path)
    assert run(["curate", "search", "red cup", "--in", str(tmp_path), "--top", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ids(found) == ["bbbbbb03"] and found["query"] == "red cup"
    assert run(["curate", "search", "gone.mp4", "--in", str(tmp_path), "--json"]) == 2


def test_the_order_of_clips_does_not_decide():
    rng = np.random.default_rng(0)
    clips = [Clip(f"c{i}", "s", 0, 1, embedding=v / np.linalg.norm(v)) for i, v in enumerate(rng.normal(size=(30, 8)))]
    twins = [*clips, clips[0].replace(id="a0"), clips[0].replace(id="z0")]
    asked = clips[0].embedding
    first = [(h.clip.id, h.score) for h in Index(twins).like(asked, 12)]
    assert [n for n, _ in first[:3]] == ["a0", "c0", "z0"]
    assert first == [(h.clip.id, h.score) for h in Index(twins[::-1]).like(asked, 12)]


def test_what_cannot_be_searched(tmp_path):
    with pytest.raises(BadInput, match="no curated clips"):
        curate_search("x", folder=tmp_path)
    make(tmp_path)
    with pytest.raises(BadInput, match="no file"):
        curate_search("gone.mp4", folder=tmp_path)
    with pytest.raises(BadInput, match="--top"):
        curate_search("car", folder=tmp_path, top=0)
    with pytest.raises(BadInput, match="numbers"):
        Index.load(tmp_path).like(np.ones(3))
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(BadInput):
        curate_search(str(tmp_path / "torn.mp4"), folder=tmp_path)
    write_clips(tmp_path / "clips.parquet", [], tmp_path)
    with pytest.raises(BadInput, match="nothing to search"):
        curate_search("car", folder=tmp_path)


def test_words_are_folded():
    assert words("The Dogs' glass_door, ÉTÉ 42!") == ["dog", "glass", "door", "été", "42"]
