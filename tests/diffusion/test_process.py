"""The training point of both processes: its times, its noisy latent, its target."""

import pytest
import torch

from ecgtwin.diffusion import flow
from ecgtwin.diffusion.process import noisy_at, time_of_noise, training_target, training_times
from ecgtwin.spec.process import DdpmSpec
from tests.diffusion.gaussian import CHAIN, FLOW, MEAN, exact_noise, normal


def test_a_flow_trains_as_its_own_module_says():
    draws, data, noise = normal(50), normal(50, 2, 4), normal(50, 2, 4, seed=1)
    times = training_times(FLOW, draws, mean=0.5, spread=1.2)
    assert torch.equal(times, flow.logit_normal_times(draws, mean=0.5, spread=1.2))
    assert torch.equal(noisy_at(FLOW, data, noise, times), flow.noisy_at(data, noise, times))
    assert torch.equal(training_target(FLOW, data, noise), noise - data)
    assert float(times.max()) < time_of_noise(FLOW)


@pytest.mark.parametrize(("first", "last", "expected"), [(1, 998, 998), (0, None, 1000), (7, 7, 1)])
def test_the_steps_drawn_are_exactly_the_trained_ones_and_uniform(first, last, expected):
    process = DdpmSpec(first_trained_step=first, last_trained_step=last)
    even = torch.special.ndtri((torch.arange(4 * expected).double() + 0.5) / (4 * expected))
    steps = training_times(process, even, mean=3.0, spread=0.1)
    found, counts = steps.unique(return_counts=True)
    assert found.tolist() == list(range(first, first + expected))
    assert set(counts.tolist()) == {4}
    extreme = training_times(process, torch.tensor([-40.0, 40.0]), mean=0, spread=1)
    assert extreme.tolist() == [first, first + expected - 1]


def test_every_step_has_a_place_on_the_chain():
    data, noise = torch.full((1000, 1, 1), MEAN), torch.randn(1000, 1, 1)
    steps = torch.arange(1000.0)
    noisy = noisy_at(CHAIN, data, noise, steps)
    # Of data that is one point, the noise can be told exactly: the inverse of ``noisy_at``.
    torch.testing.assert_close(exact_noise(0.0)(noisy, steps), noise, atol=2e-4, rtol=0)
    assert training_target(CHAIN, data, noise) is noise
    signal = (noisy_at(CHAIN, data, 0 * noise, steps) / MEAN).flatten() ** 2
    assert bool((signal.diff() < 0).all())
    assert signal[[0, 100, 200, 500, 999]].tolist() == pytest.approx(
        [0.99915, 0.8673, 0.6733, 0.1608, 0.001579], rel=5e-4
    )
