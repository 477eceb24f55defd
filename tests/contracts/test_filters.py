"""Every entry of `FILTERS` keeps the stage's contract: it only adds, in order, and judges by its own settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from armillary.curate import FILTERS, CurateConfig
from armillary.curate.analyse import analyse
from armillary.curate.split import SplitConfig, split
from armillary.curate.stage import Context
from armillary.curate.tasks import stages_of
from armillary.media import Reader, resize, write_video
from armillary.types import Rejection

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A moving stretch, a cut, a still stretch."""
    folder = tmp_path_factory.mktemp("filters")
    coarse = np.random.default_rng(0).integers(40, 220, (1, 20, 30, 3), np.uint8)
    big = resize(coarse, (240, 480))[0]
    moving = np.stack([big[40:160, 3 * t : 3 * t + 160] for t in range(40)])
    still = np.repeat(np.ascontiguousarray(big[None, :120, ::-1][:, :, :160]), 40, 0)
    path = write_video(folder / "a.mp4", np.concatenate([moving, still]), 10)
    with Reader(path) as reader:
        (segment,) = analyse(reader)
    return Context(segment, path, "a.mp4", "0" * 64, folder)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_only_adds(name, context):
    config = getattr(CurateConfig(), name)
    assert dataclasses.is_dataclass(config) and config == type(config)()
    stage = FILTERS[name](config)
    assert stage.name == name
    before = split(context.segment, SplitConfig(), context.content, context.name)
    before[0] = before[0].replace(scores={"mine": 1.0}, rejected=(Rejection("test", "earlier"),))
    after = stage.process(before, context)
    assert [c.id for c in after] == [c.id for c in before]
    for a, b in zip(after, before):
        assert (a.start, a.end, a.path, a.source) == (b.start, b.end, b.path, b.source)
        assert a.rejected[: len(b.rejected)] == b.rejected
        assert set(b.scores) <= set(a.scores)
        assert all(np.isfinite(v) for v in a.scores.values())
        assert all(r.by == name and r.reason and r.score is not None for r in a.rejected[len(b.rejected) :])
    assert any(set(a.scores) - set(b.scores) or set(a.tags) - set(b.tags) for a, b in zip(after, before))
    assert stage.process(before, context) == after


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_without_material_says_nothing_wrong(name, context):
    empty = dataclasses.replace(context.segment, looks=(), flow=())
    clips = split(context.segment, SplitConfig(), context.content, context.name)
    out = FILTERS[name]().process(clips, dataclasses.replace(context, segment=empty))
    assert len(out) == len(clips)
    assert FILTERS[name]().process([], context) == []


def test_the_default_pipeline_runs_every_filter_and_judges_rightly(context):
    assert {s.name for part in stages_of(CurateConfig()) for s in part} == {*FILTERS, "cut", "caption"}
    clips = split(context.segment, SplitConfig(), context.content, context.name)
    for name in FILTERS:
        clips = FILTERS[name]().process(clips, context)
    moving, still = clips
    assert moving.rejected == ()
    assert moving.tags["camera"] == "pan right"
    assert {r.by for r in still.rejected} == {"black", "motion"}
    assert still.tags["camera"] == "static"
