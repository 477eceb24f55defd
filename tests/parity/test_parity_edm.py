"""The EDM numbers of the published code: factors, noise levels, two solvers, the noising of given frames."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from armillary.worlds.diffusion.clip import place
from armillary.worlds.diffusion.edm import loss_weight, scalings
from armillary.worlds.diffusion.sampler import karras, sample, to_zero


def golden(folder, name):
    path = folder / "golden" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the sample data")
    return load_file(path)


def close(ours, theirs, tolerance=1e-10):
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error <= tolerance, float(error)


def test_factors_and_weight(shared_data):
    t = golden(shared_data, "edm_preconditioning")
    sigma = t["inputs/sigma"]
    for precise, suffix, tolerance in ((sigma, "", 1e-12), (sigma.float(), "_f32", 1e-6)):
        c = scalings(precise, 0.5)
        for ours, name in ((c.skip, "c_skip"), (c.out, "c_out"), (c.into, "c_in"), (c.noise, "c_noise")):
            close(ours, t[f"outputs/{name}{suffix}"], tolerance)
    close(loss_weight(sigma, 0.5), t["outputs/loss_weight"], 1e-12)


@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize(("ours", "theirs"), [("res", "2ab"), ("euler", "1euler")])
def test_solvers_with_a_cleaning_step(shared_data, n, ours, theirs):
    t = golden(shared_data, "edm_sampler_res")
    mean, spread, noise = (t[f"inputs/{k}"] for k in ("mu", "tau", "noise"))
    levels = karras(n + 1, 0.002, 80.0)
    close(levels, t[f"outputs/sigmas_n{n}"])

    def denoise(x, s):
        return (spread**2 * x + s**2 * mean) / (spread**2 + s**2)

    close(sample(denoise, 80 * noise, levels, ours, clean=True), t[f"outputs/final_{theirs}_n{n}"])
    if (ours, n) == ("res", 8):
        out = sample(lambda x, s: denoise(x, s).float(), (80 * noise).float(), levels, ours, clean=True)
        close(out, t["outputs/final_2ab_n8_float32_input"], 1e-5)
        for step in range(1, 9):
            close(
                sample(denoise, 80 * noise, levels[: step + 1], ours),
                t["outputs/trajectory_2ab_n8_before_clean_step"][step - 1],
            )


def test_the_inference_scheduler(shared_data):
    t = golden(shared_data, "edm_euler_scheduler")
    mean, spread, noise = (t[f"inputs/{k}"] for k in ("mu", "tau", "noise"))
    levels = to_zero(karras(8, 0.0002, 80.0))
    close(levels, t["outputs/sigmas_n8"].double(), 1e-6)
    close(scalings(levels[:-1]).noise, t["outputs/timesteps_n8"].double(), 1e-6)

    def denoise(x, s):
        return (spread**2 * x + s**2 * mean) / (spread**2 + s**2)

    start = noise * t["outputs/init_noise_sigma"].double()  # sqrt(80^2 + sd^2), where we start at 80
    for step in range(1, 9):
        close(sample(denoise, start, levels[: step + 1]), t["outputs/euler_states_n8"][step - 1].double(), 1e-5)


@pytest.mark.parametrize("sigma", [80.0, 2.5, 0.2])
@pytest.mark.parametrize("level", [0.001, 0.3])
@pytest.mark.parametrize("count", [1, 2])
def test_given_frames_are_noised_and_rescaled(shared_data, sigma, level, count):
    t = golden(shared_data, "edm_video2world_conditioning")
    case = f"n{count}_aug{level}_sigma{sigma}"
    given = t[f"outputs/indicator_ncond{count}"] * (level < sigma)
    rescale = scalings(torch.tensor([level])).into / scalings(torch.tensor([sigma])).into
    noise = level * t["outputs/augment_noise_seed1"]
    placed = place(t["inputs/xt_unit_noise"] * sigma, t["inputs/gt_latent"], noise, given, rescale)
    close(placed, t[f"outputs/new_xt_{case}"], 1e-6)
