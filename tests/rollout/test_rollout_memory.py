"""The memory plan against what processes really take, and what it says of sizes nobody can load here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from armillary.errors import BadInput
from armillary.rollout import memory
from armillary.rollout.wanted import wanted

MEASURE = """
import json, sys
import torch
from armillary.rollout.memory import forward
from armillary.rollout.wanted import wanted

name, frames, side, batch, train = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
w = wanted(name, frames, (side, side))
module = w.build().requires_grad_(bool(train))
def held(what):
    return int(next(l for l in open("/proc/self/status") if l.startswith(what)).split()[1]) * 1024
def go(run):
    with torch.set_grad_enabled(bool(train)):
        answer = run(module)
    if train:
        answer.float().square().mean().backward()
go(forward(wanted(name, 1 if "ar" not in name else 0, (side, side)), 1, bool(train)))  # kernels set themselves up at the first call
module.zero_grad(set_to_none=True)
run = forward(w, batch, bool(train))
before = held("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
go(run)
print(json.dumps(held("VmHWM") - before))
"""


def measured(name, frames, side, batch, train) -> int:
    """Bytes that a process of its own takes more, at its peak, while it runs a network once."""
    # Freed memory goes back at once, so that the peak is of what is held and not of what an allocator keeps.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", MEASURE, name, *map(str, (frames, side, batch, int(train)))]
    done = subprocess.run(arguments, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("name", "frames", "side", "batch", "train"),
    [
        ("dit-nano", 8, 128, 2, False),
        ("dit-nano", 8, 64, 2, True),
        ("unet-nano", 1, 64, 192, True),  # convolutions take 20 MiB of scratch, however many rows there are
        ("ar-nano", 0, 64, 4, True),
    ],
)
def test_the_plan_is_near_what_a_process_takes(name, frames, side, batch, train):
    w = wanted(name, frames, (side, side))
    if train:
        planned = memory.step(w, batch, "float32", 0, False)[0].peak
    else:
        planned = memory.dry_run(lambda: w.build().requires_grad_(False), memory.forward(w, batch, False)).peak
    real = measured(name, frames, side, batch, train)
    assert planned > 20 * 2**20, "large enough to be told from noise"
    assert abs(planned / real - 1) < 0.15, f"planned {planned / 2**20:.1f} MiB, took {real / 2**20:.1f}"


def test_what_a_published_world_takes():
    parts, ways = memory.dreaming(wanted("dit-7b"))
    held = {p.name: p for p in parts}
    # 7,236,208,640 numbers in float32 are the whole network; the decoder lies in [0.3, 0.5] GiB, T5-11B's encoder at 18.1 GiB.
    assert held["world"].weights == 4 * 7_236_208_640
    assert 18 < held["text encoder"].weights / 2**30 < 18.3
    sizes = [x.bytes for x in ways]
    assert sizes[0] == max(sizes) and sizes[-1] == min(sizes)
    fits = {x.flags: x.fits(24 * 2**30) for x in ways}
    assert not fits[""] and fits["--offload parts --precision bfloat16"]
    assert not ways[0].fits(48 * 2**30) and ways[-1].fits(12 * 2**30)


def test_more_frames_and_pixels_take_more():
    small, long, large = (
        memory.world_part(wanted("dit-nano", *x))[0].working for x in ((9, (64, 64)), (17, (64, 64)), (9, (128, 128)))
    )
    assert small == long < large, "beyond a clip's frames a world goes clip by clip"
    few, many = (memory.tokenizer_part(wanted("dit-nano", n)) for n in (9, 65))
    assert few is not None and many is not None and few.working < many.working


def test_a_cache_of_keys_and_values_is_counted():
    w = wanted("ar-nano")
    network = w.config.network
    assert memory.cache_bytes(w) == 2 * network.layers * network.kv_heads * (5 * 64 + 1) * network.head * 4
    assert memory.world_part(w)[0].working > memory.cache_bytes(w)
    assert memory.cache_bytes(wanted("dit-nano")) == 0


def test_what_cannot_be_planned_is_said(tiny):
    with pytest.raises(BadInput, match="Did you mean 'dit-7b'"):
        wanted("dit-7B")
    with pytest.raises(BadInput, match="multiples of 8"):
        wanted("dit-7b", 9, (700, 1282))
    with pytest.raises(BadInput, match="no other size"):
        wanted("ar-nano", 0, (128, 128))
    with pytest.raises(BadInput, match="holds a tokenizer, not a world"):
        wanted(str(tiny["frame"]))
