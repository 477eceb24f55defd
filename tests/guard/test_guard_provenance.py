"""The record beside a video, its verification, and the `check` function behind the verb."""

from __future__ import annotations

import json

import numpy as np
import pytest

from armillary.errors import BadInput
from armillary.guard import Gate, Open, check, default_gate, record, seal, sha256_pixels, verify
from armillary.guard.faces import Faces
from armillary.guard.rail import Finding
from armillary.guard.technical import Technical
from armillary.media import write_video
from armillary.types import Verdict


def moving(t=12, h=32, w=48):
    x = np.arange(w)[None, None, :] + 2 * np.arange(t)[:, None, None]
    return np.repeat((120 + 60 * np.sin(x / 9.0) + np.arange(h)[None, :, None])[..., None], 3, 3).astype(np.uint8)


class NoFace:
    name, version = "none", "0"

    def detect(self, picture):
        return []


GATE = Gate(before=default_gate().before, after=(Technical(), Faces(NoFace())))


@pytest.fixture
def sealed(tmp_path):
    frames = moving()
    path = write_video(tmp_path / "a.mp4", frames, 10.0)
    seal(path, {"world": "w", "provenance": record(frames, 10.0, Open().check_prompt("x"), Open().describe())})
    return path


def checks(path):
    return {c["name"]: c["ok"] for c in verify(path)["checks"]}


def test_pixel_hash_sees_every_pixel_and_the_shape():
    frames = moving()
    other = frames.copy()
    other[-1, -1, -1, -1] ^= 1
    hashes = {
        sha256_pixels(frames),
        sha256_pixels(other),
        sha256_pixels(frames.reshape(12, 48, 32, 3)),
        sha256_pixels(frames[:-1]),
    }
    assert len(hashes) == 4 and sha256_pixels(frames) == sha256_pixels(np.asfortranarray(frames))


def test_what_was_sealed_verifies(sealed):
    report = verify(sealed)
    assert report["ok"] and report["verdicts"][0]["rail"] == "open"
    side = json.loads(sealed.with_suffix(".json").read_text())
    assert side["world"] == "w" and side["provenance"]["pixels"]["sha256"] == sha256_pixels(moving())
    assert {"armillary", "python", "numpy"} <= side["provenance"]["versions"].keys()


def test_a_changed_byte_another_video_and_a_blocked_verdict_are_seen(sealed, tmp_path):
    data = bytearray(sealed.read_bytes())
    data[-1] ^= 1
    sealed.write_bytes(data)
    assert not checks(sealed)["file"]
    write_video(sealed, moving(9), 10.0)
    assert not checks(sealed)["file"] and not checks(sealed)["frames"] and not verify(sealed)["ok"]
    frames = moving()
    path = write_video(tmp_path / "b.mp4", frames, 10.0)
    seal(path, {"provenance": record(frames, 10.0, (Verdict("words", "ran", True, "no"),))})
    assert not checks(path)["verdicts"]
    seal(path, {"provenance": record(frames, 10.0, ())})
    assert not checks(path)["guard"], "a record without verdicts does not verify"


def test_odd_sizes_verify(tmp_path):
    frames = moving(5, 33, 47)
    path = write_video(tmp_path / "odd.mp4", frames, 10.0)
    seal(path, {"provenance": record(frames, 10.0, Open().check_prompt("x"))})
    assert verify(path)["ok"]


def test_missing_pieces_are_named(tmp_path, sealed):
    with pytest.raises(BadInput, match=r"none\.mp4"):
        verify(tmp_path / "none.mp4")
    sealed.with_suffix(".json").write_text("{}")
    with pytest.raises(BadInput, match="provenance"):
        verify(sealed)
    sealed.with_suffix(".json").unlink()
    with pytest.raises(BadInput, match=r"a\.json"):
        verify(sealed)


def test_check_text():
    good = check(text="The robot grips a knife to slice bread.", gate=GATE)
    bad = check(text="a man strangles a woman", gate=GATE)
    assert (
        not good["blocked"]
        and bad["blocked"]
        and [v["rail"] for v in bad["verdicts"]] == ["input", "language", "words", "classifier"]
    )
    json.dumps(bad)
    with pytest.raises(BadInput, match="Nothing to look at"):
        check(gate=GATE)


def test_check_video_writes_and_seals(tmp_path):
    source = write_video(tmp_path / "in.mp4", moving(), 10.0)
    report = check(video=source, out=tmp_path / "out.mp4", gate=GATE)
    assert not report["blocked"] and verify(report["path"])["ok"]
    with pytest.raises(BadInput, match="itself"):
        check(video=source, out=source, gate=GATE)


def test_check_of_a_refused_video_writes_nothing(tmp_path):
    report = check(video=np.zeros((4, 16, 16, 3), np.uint8), out=tmp_path / "out.mp4", gate=GATE)
    assert report["blocked"] and not list(tmp_path.iterdir()) and "nothing was written" in report["notes"][0]


def test_skipped_rails_are_noted():
    class Skips:
        name, version, first = "frames", "1", False

        def check(self, frames, fps):
            return Finding(False, "no weights", skipped=True)

    report = check(video=moving(), gate=Gate(after=(Skips(),)))
    assert report["notes"] == ["frames did not run: no weights"]
