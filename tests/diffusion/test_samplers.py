"""Samplers of a flow against the exact velocity of Gaussian data, and how any sampler is run."""

import pytest
import torch

from ecgtwin.diffusion.flow import logit_normal_times, noisy_at, shifted_times, velocity
from ecgtwin.diffusion.guidance import guided
from ecgtwin.diffusion.make import make_sampler
from ecgtwin.diffusion.samplers import num_steps, run
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.sampling import PROCESS_OF, SamplingSpec
from tests.diffusion.gaussian import (
    CHAIN,
    DEVIATION,
    FLOW,
    MEAN,
    exact_noise,
    exact_velocity,
    normal,
)


def sampler_of(name, steps, **more):
    process = FLOW if PROCESS_OF[name] == "rectified_flow" else CHAIN
    return make_sampler(process, SamplingSpec(sampler=name, num_steps=steps, **more))


def error_after(name, steps):
    noise = normal(64, 2, 8)
    found = run(sampler_of(name, steps), exact_velocity, noise)
    # The flow of a Gaussian onto a Gaussian along straight paths is the affine map.
    return float((found - (MEAN + DEVIATION * noise)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
def test_sampler_converges_at_its_order(name, order):
    coarse, fine = error_after(name, 64), error_after(name, 128)
    assert fine < 0.02
    assert coarse / fine == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("name", sorted(PROCESS_OF))
def test_times_of_every_sampler_fall_over_its_steps(name):
    sampler = sampler_of(name, 8)
    assert num_steps(sampler) == 8
    assert list(sampler.times) == sorted(set(sampler.times), reverse=True)
    assert sampler.is_stochastic == (name == "ddpm")


@pytest.mark.parametrize("name", sorted(PROCESS_OF))
def test_a_run_in_parts_is_the_whole_run(name):
    sampler, x = sampler_of(name, 6), normal(3, 2, 8)
    predict = exact_velocity if name in ("euler", "heun") else exact_noise(DEVIATION)
    noise = normal(6, 3, 2, 8, seed=1)
    whole = run(sampler, predict, x, noise_at=lambda index: noise[index])
    first = run(sampler, predict, x, stop=4, noise_at=lambda index: noise[index])
    assert torch.equal(
        whole, run(sampler, predict, first, start=4, noise_at=lambda index: noise[index])
    )
    assert not torch.equal(whole, first)


def test_noise_is_asked_for_by_step_and_never_for_the_one_that_ends_at_data():
    asked = []

    def noise_at(index):
        asked.append(index)
        return torch.zeros(2, 1, 4)

    for name in ("ddpm", "ddim"):
        run(sampler_of(name, 5), exact_noise(1.0), torch.zeros(2, 1, 4), noise_at=noise_at)
    assert asked == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="noise_at"):
        run(sampler_of("ddpm", 5), exact_noise(1.0), torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match="not among the 5"):
        run(sampler_of("ddim", 5), exact_noise(1.0), torch.zeros(2, 1, 4), start=6)


@pytest.mark.parametrize(
    ("process", "wrong", "fitting"),
    [(FLOW, "ddpm", "euler, heun"), (CHAIN, "euler", "ddpm, ddim"), (CHAIN, "heun", "ddpm, ddim")],
)
def test_a_sampler_of_the_other_process_is_refused_and_those_that_fit_are_named(
    process, wrong, fitting
):
    with pytest.raises(SpecificationError, match=fitting) as caught:
        make_sampler(process, SamplingSpec(sampler=wrong))
    assert wrong in str(caught.value)


def test_fields_that_the_sampler_would_ignore_are_refused():
    with pytest.raises(SpecificationError, match="time_shift"):
        sampler_of("ddim", 8, time_shift=2.0)
    with pytest.raises(SpecificationError, match="clip_sample"):
        sampler_of("euler", 8, clip_sample=True)


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
