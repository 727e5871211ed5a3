"""Samplers against the exact velocity of Gaussian data, whose flow is known in closed form."""

import pytest
import torch

from ecgtwin.diffusion.flow import logit_normal_times, noisy_at, shifted_times, velocity
from ecgtwin.diffusion.guidance import guided
from ecgtwin.diffusion.samplers import SAMPLERS

MEAN, DEVIATION = 0.7, 0.4


def exact_velocity(noisy, time):
    """E[noise - data | noisy] for data ~ N(MEAN, DEVIATION^2)."""
    t = time[:, None, None]
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    slope = (t - (1 - t) * DEVIATION**2) / variance
    return -MEAN + slope * (noisy - (1 - t) * MEAN)


def error_after(sampler: str, num_steps: int) -> float:
    noise = torch.randn(64, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = SAMPLERS[sampler](exact_velocity, noise, shifted_times(num_steps, shift=1.0))
    # The flow of a Gaussian onto a Gaussian along straight paths is the affine map.
    return float((found - (MEAN + DEVIATION * noise)).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
def test_sampler_converges_at_its_order(sampler, order):
    coarse, fine = error_after(sampler, 64), error_after(sampler, 128)
    assert fine < 0.02
    assert coarse / fine == pytest.approx(2**order, rel=0.15)


def test_times_fall_from_noise_to_data():
    for shift in (1.0, 3.0):
        times = shifted_times(7, shift=shift)
        assert times[0] == 1.0
        assert times[-1] == 0.0
        assert times == sorted(times, reverse=True)
    assert shifted_times(2, shift=3.0)[1] == pytest.approx(0.75)


def test_straight_path_and_its_velocity():
    data, noise = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    early, late = torch.full((3,), 0.25), torch.full((3,), 0.75)
    moved = noisy_at(data, noise, late) - noisy_at(data, noise, early)
    torch.testing.assert_close(moved, 0.5 * velocity(data, noise))


def test_logit_normal_median_is_the_sigmoid_of_its_mean():
    normal = torch.randn(20_001, generator=torch.Generator().manual_seed(1))
    times = logit_normal_times(normal, mean=0.5, spread=1.2)
    assert float(times.median()) == pytest.approx(0.6225, abs=0.01)
    assert 0 < float(times.min()) < float(times.max()) < 1


class Denoise:
    """Returns its conditioning everywhere and counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, noisy, time, told):
        self.calls += 1
        return torch.full_like(noisy, told)


@pytest.mark.parametrize(("time", "expected", "calls"), [(0.9, 7.0, 2), (0.2, 3.0, 1)])
def test_guidance_extrapolates_only_on_its_interval(time, expected, calls):
    denoise = Denoise()
    velocity_at = guided(denoise, 3.0, 1.0, scale=3.0, until_time=0.5)
    out = velocity_at(torch.zeros(2, 1, 1), torch.full((2,), time))
    assert out.unique().tolist() == [expected]
    assert denoise.calls == calls


def test_no_free_conditioning_means_no_second_evaluation():
    denoise = Denoise()
    guided(denoise, 3.0, None, scale=3.0, until_time=0.0)(torch.zeros(1, 1, 1), torch.ones(1))
    assert denoise.calls == 1
