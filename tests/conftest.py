"""Shared pieces: one thread a test process, the sample data when it is there, and a tiny untrained world in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The same examples at every run, so that a failure is of the change at hand; `--hypothesis-profile=default` looks for new ones.
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)
    torch.cos(torch.ones(8))  # the first cosine of a process can be off by 1e-4 with torch 2.13 on a CPU


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Sample videos, episodes and golden tensors beside the checkout; tests that need them are skipped without."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the sample data is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def spec():
    from armillary.types import ActionSpec

    return ActionSpec(
        ("ee_vx", "ee_vy"), ("0.28 m/s",) * 2, "world", 10.0, "delta", (-1.0, -1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0)
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, spec) -> dict[str, Path]:
    """Untrained checkpoints: `frame` and `video` tokenizers, a `diffusion` world with text and actions, an `autoregressive` one."""
    import torch

    from armillary import text, tokenizers, worlds

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    made = {}
    for key, size in (("frame", "frame-c8"), ("video", "video-d4x8x8")):
        tokenizers.save(tokenizers.build(size), folder / key)
        made[key] = folder / key
    width = text.load("hash").dim
    for key, size, tokenizer, actions in (
        ("diffusion", "unet-nano", "frame", spec),
        ("autoregressive", "ar-nano", "video", None),
    ):
        held = tokenizers.load(folder / tokenizer)
        ref = worlds.TokenizerRef(
            f"../{tokenizer}", held.sha256, held.temporal, held.spatial, held.config.channels, held.vocab, (64, 64)
        )
        world = worlds.build(size, worlds.Setting(ref, actions, "hash", width, 10.0))
        with torch.no_grad():  # a new world repeats its last frame exactly; these are to say something
            for parameter in world.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        worlds.save(world, folder / key)
        made[key] = folder / key
    return made


@pytest.fixture
def frames() -> np.ndarray:
    """uint8 `9 64 64 3`: a square that moves to the right over a slope of grey."""
    video = np.tile(np.linspace(60, 180, 64, dtype=np.uint8)[None, None, :, None], (9, 64, 1, 3)).copy()
    for t in range(9):
        video[t, 24:36, 4 + 4 * t : 16 + 4 * t] = (200, 40, 30)
    return video
