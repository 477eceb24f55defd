"""Every entry of `RUNNERS` answers each task once, by its number; every entry of `CAPTIONERS` is built from its settings and named."""

from __future__ import annotations

import pytest

from armillary.curate import RUNNERS, CurateConfig
from armillary.curate.caption import CAPTIONERS, CaptionConfig
from armillary.presets import to_json

pytest.importorskip("cv2")


@pytest.mark.parametrize("name", RUNNERS)
def test_a_runner_answers_every_task_once(name, tmp_path):
    tasks = []
    for i, content in enumerate((b"", b"words", b"")):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(content)
        tasks.append(
            {
                "do": "probe",
                "path": str(path),
                "name": path.name,
                "work": str(tmp_path / "w"),
                "config": to_json(CurateConfig()),
            }
        )
    tasks.append({**tasks[0], "config": {"kind": "CurateConfig", "nonsense": 1}})
    answers = list(RUNNERS[name](tasks, workers=2, timeout=60.0, retries=0))
    assert sorted(i for i, _ in answers) == [0, 1, 2, 3]
    assert [dict(answers)[i]["kind"] for i in range(4)] == ["empty_file", "invalid_container", "empty_file", "bad_input"]
    assert list(RUNNERS[name]([], workers=1, timeout=0.0, retries=0)) == []


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_captioner_knows_its_name(name, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    captioner = CAPTIONERS[name](CaptionConfig(by=name, url="http://127.0.0.1:9/v1", model=str(model)))
    assert captioner.source.split(":")[0] == name
    assert list(captioner.captions([])) == []
