"""The published chain number by number, on filled weights: ancestral and deterministic runs."""

import numpy as np
import pytest
import torch

from ecgtwin.diffusion.make import make_sampler
from ecgtwin.diffusion.samplers import run
from ecgtwin.models.build import build_denoiser
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.presets import preset
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.published_keys import DIT
from tests.models.published import filled_state


@pytest.fixture(scope="module")
def stored(real_data):
    with np.load(real_data / "parity" / "trajectories.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def predict(stored, real_data):
    """The published denoiser, told what the trajectories were told; keeps what it predicts."""
    denoiser = build_denoiser(preset("paper")).eval().requires_grad_(False)
    state = filled_state("dit_ecgtwin", int(stored["weight_seed"]), real_data / "parity")
    denoiser.load_state_dict(DIT.filled(denoiser.state_dict(), state))
    told = denoiser.embed(
        stored["base_vector"], ConditionBatch.published(stored["tokens"], stored["p"])
    )
    return lambda noisy, time: denoiser(noisy, time, told)


def sampler_of(name, steps):
    spec = SamplingSpec(sampler=name, num_steps=steps, clip_sample=name == "ddpm")
    return make_sampler(preset("paper").process, spec)


def samples_after(sampler, predict, x, steps, noise):
    """Return the sample after each of ``steps``, stacked; ``noise`` is counted from the first."""
    samples = []
    for place, index in enumerate(steps):
        x = run(
            sampler, predict, x, start=index, stop=index + 1, noise_at=lambda _, i=place: noise[i]
        )
        samples.append(x)
    return torch.stack(samples)


def test_five_ancestral_steps(stored, predict):
    sampler = sampler_of("ddpm", 5)
    assert list(sampler.times[:-1]) == stored["ddpm5_timesteps"].tolist()
    predicted = []

    def keeping(noisy, time):
        predicted.append(predict(noisy, time))
        return predicted[-1]

    samples = samples_after(sampler, keeping, stored["x_T"], range(5), stored["ddpm5_noise"])
    torch.testing.assert_close(samples, stored["ddpm5_x"], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.stack(predicted), stored["ddpm5_eps"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "start", "steps", "result"),
    [
        ("first3", "x_T", range(3), "first3_x"),
        ("last5", "last5_x", range(995, 1000), "last5_x_out"),
    ],
)
def test_both_ends_of_the_published_thousand_steps(stored, predict, name, start, steps, result):
    sampler = sampler_of("ddpm", 1000)
    assert [sampler.times[index] for index in steps] == stored[f"{name}_timesteps"].tolist()
    samples = samples_after(sampler, predict, stored[start], steps, stored[f"{name}_noise"])
    torch.testing.assert_close(samples, stored[result], atol=2e-6, rtol=0)


def test_ten_deterministic_steps(stored, predict):
    sampler = sampler_of("ddim", 10)
    assert list(sampler.times[:-1]) == stored["ddim10_timesteps"].tolist()
    samples = samples_after(sampler, predict, stored["x_T"], range(10), ())
    expected = stored["ddim10_x"]
    largest = float(expected.abs().max())
    torch.testing.assert_close(samples, expected, atol=5e-6 * largest, rtol=0)
