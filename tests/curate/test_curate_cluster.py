"""The same tasks on a real Ray cluster on this machine: the same bytes, poison, time-outs, a node that goes away, GPU shares."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from curate_scenes import scene

from armillary.curate import CurateConfig, cluster, curate
from armillary.errors import Failed
from armillary.media import write_video
from armillary.presets import override

ray = pytest.importorskip("ray", reason='the ray runner is an extra: pip install "armillary[ray]"')
CONFIG = override(CurateConfig(), ["split.min_seconds=1", "text.ocr=false", "analyse.window=2", "analyse.segment=4"])


@pytest.fixture(scope="module")
def nodes():
    """A head with one core and two more nodes with one and two (`ray.cluster_utils`); the last has a pretended GPU."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.gone = made.add_node(num_cpus=1)
    made.add_node(num_cpus=2, num_gpus=1)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


def poison(task):
    """What a task of these tests does: by its name."""
    if task["name"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task["name"] == "hang":
        time.sleep(600)
    if task["name"] == "once" and not os.path.exists(task["flag"]):
        open(task["flag"], "w").close()
        os._exit(3)
    if task["name"] == "slow":
        time.sleep(0.7)
    return {"kind": "bad", "reason": "as asked"} if task["name"] == "bad" else {"pid": os.getpid()}


def test_one_bad_task_costs_one_row(nodes, tmp_path, monkeypatch):
    names = ["good", "crash", "good", "bad", "once", "good"]
    tasks = [{"name": n, "flag": str(tmp_path / "flag")} for n in names]
    answers = dict(cluster.run(tasks, retries=1, work=poison))  # no time limit: starting a worker takes what it takes
    assert sorted(answers) == list(range(6))
    assert [answers[i].get("kind") for i in range(6)] == [None, "crash", None, "bad", None, None]
    assert "tried 2 times" in answers[1]["reason"]
    monkeypatch.setattr(cluster, "GRACE", 0.5)
    (slow,) = dict(cluster.run([{"name": "hang"}], timeout=3.0, retries=0, work=poison)).values()
    assert slow["kind"] == "timeout" and "not done after 3 s" in slow["reason"]


def test_with_a_gpu_share_one_process_keeps_its_model(nodes, monkeypatch):
    """Two tasks at half a GPU run at once, all of them in two processes that stay."""
    answers = dict(cluster.run([{"name": "good"}] * 6, gpus=0.5, work=poison))
    assert len({a["pid"] for a in answers.values()}) <= 2
    again = dict(cluster.run([{"name": "good"}, {"name": "crash"}, {"name": "good"}], gpus=1.0, retries=0, work=poison))
    assert [again[i].get("kind") for i in range(3)] == [None, "crash", None]
    monkeypatch.setattr(cluster, "EMPTY", 1.0)
    with pytest.raises(Failed, match="has a core and 3 of a GPU"):
        dict(cluster.run([{"name": "good"}], gpus=3.0, work=poison))


def test_a_node_that_goes_away_changes_nothing(nodes, tmp_path):
    footage = tmp_path / "footage"
    for k in range(4):
        write_video(footage / f"{k}.mp4", np.concatenate([scene(2 * k, 75), scene(2 * k + 1, 60)]), 15, gop=15)
    here = curate([footage], tmp_path / "here", CONFIG)
    waiting = threading.Timer(1.5, lambda: nodes.remove_node(nodes.gone, allow_graceful=False))
    waiting.start()
    there = curate([footage], tmp_path / "there", CONFIG, "ray")
    waiting.join()
    until = time.monotonic() + 30
    while len(cluster._alive(ray)) > 2 and time.monotonic() < until:
        time.sleep(0.2)  # the news of its end may be slower than the run
    assert len(cluster._alive(ray)) == 2
    assert not there.errors and len(there.kept) == len(here.kept) == 8
    names = [
        p.relative_to(tmp_path / "here")
        for p in sorted((tmp_path / "here").rglob("*"))
        if ".work" not in p.parts and p.is_file()
    ]
    assert len(names) > 12
    for name in names:
        if name.name != "timing.json":
            assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


def test_a_task_in_flight_moves_off_a_lost_node(nodes):
    """More tasks than cores; a node ends while they run: none is lost and none counts as poison."""
    extra = nodes.add_node(num_cpus=2)
    threading.Timer(1.0, lambda: nodes.remove_node(extra, allow_graceful=False)).start()
    answers = dict(cluster.run([{"name": "slow"}] * 12, retries=1, work=poison))
    assert [answers[i].get("kind") for i in range(12)] == [None] * 12
