"""The chain and its two samplers against closed forms: Gaussian data, and data that is one point.

For one point the best prediction of the noise is exact and so is every step of either sampler, at
any spacing: after each the sample has the chain's own mean and variance.
"""

import math

import numpy as np
import pytest
import torch

from ecgtwin.diffusion.ddpm import alphas_cumprod, betas, leading_steps
from ecgtwin.diffusion.make import make_sampler
from ecgtwin.diffusion.samplers import run
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.process import DdpmSpec
from ecgtwin.spec.sampling import SamplingSpec
from tests.diffusion.gaussian import CHAIN, DEVIATION, MEAN, exact_noise, normal

MANY = (2000, 4, 8)


def sampler_of(name, steps, *, clip_sample=False):
    spec = SamplingSpec(sampler=name, num_steps=steps, clip_sample=clip_sample)
    return make_sampler(CHAIN, spec)


def fresh_noise(shape):
    return lambda index: normal(*shape, seed=100 + index)


def test_tables_are_those_of_the_published_scheduler(real_data):
    with np.load(real_data / "parity" / "tables.npz") as tables:
        np.testing.assert_array_equal(betas(CHAIN).numpy(), tables["betas"])
        np.testing.assert_array_equal(alphas_cumprod(CHAIN).numpy(), tables["alphas_cumprod"])


def test_published_spacings():
    assert leading_steps(CHAIN, 5) == [800, 600, 400, 200, 0]
    assert leading_steps(CHAIN, 1000) == list(range(999, -1, -1))
    assert leading_steps(CHAIN, 30)[0] == 957


@pytest.mark.parametrize(("total", "steps", "fitting"), [(1000, 600, "500 or 1000"), (8, 9, "8")])
def test_a_spacing_that_would_start_far_from_noise_is_refused(total, steps, fitting):
    with pytest.raises(SpecificationError, match=rf"num_steps: {steps} .*take {fitting}$"):
        leading_steps(DdpmSpec(num_train_steps=total), steps)


@pytest.mark.parametrize("steps", [5, 50])
def test_ancestral_steps_keep_the_moments_of_the_chain(steps):
    sampler = sampler_of("ddpm", steps)
    for stop in (1, steps // 2, steps - 1):
        start = alphas_cumprod(CHAIN)[int(sampler.times[0])].item()
        x = math.sqrt(start) * MEAN + math.sqrt(1 - start) * normal(*MANY)
        x = run(sampler, exact_noise(0.0), x, stop=stop, noise_at=fresh_noise(MANY))
        signal = alphas_cumprod(CHAIN)[int(sampler.times[stop])].item()
        assert float(x.mean()) == pytest.approx(math.sqrt(signal) * MEAN, abs=0.015)
        assert float(x.var()) == pytest.approx(1 - signal, rel=0.025)
    x = run(sampler, exact_noise(0.0), normal(4, 2, 8), noise_at=fresh_noise((4, 2, 8)))
    torch.testing.assert_close(x, torch.full_like(x, MEAN))


def test_many_ancestral_steps_draw_the_data():
    shape = (256, 2, 8)
    x = run(
        sampler_of("ddpm", 1000),
        exact_noise(DEVIATION),
        normal(*shape),
        noise_at=fresh_noise(shape),
    )
    error = DEVIATION / math.sqrt(x.numel())
    assert float(x.mean()) == pytest.approx(MEAN, abs=4 * error)
    assert float(x.std()) == pytest.approx(DEVIATION, rel=0.05)
    scores = ((x - x.mean()) / x.std()).flatten().sort().values
    ranks = (torch.arange(x.numel()) + 0.5) / x.numel()
    assert float((torch.special.ndtr(scores) - ranks).abs().max()) < 0.03


def deterministic_error(steps):
    """The distance from the solution of the probability-flow equation, which is affine."""
    sampler, x = sampler_of("ddim", steps), normal(16, 2, 8)
    signal = alphas_cumprod(CHAIN)[int(sampler.times[0])].item()
    spread = math.sqrt(signal * DEVIATION**2 + 1 - signal)
    wanted = MEAN + DEVIATION * (x - math.sqrt(signal) * MEAN) / spread
    return float((run(sampler, exact_noise(DEVIATION), x) - wanted).abs().max())


def test_the_deterministic_map_converges_at_first_order():
    coarse, fine = deterministic_error(250), deterministic_error(500)
    assert fine < 0.02
    assert coarse / fine == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("steps", [5, 50])
def test_deterministic_steps_keep_the_noise_of_each_row(steps):
    sampler, noise = sampler_of("ddim", steps), normal(4, 2, 8)
    signals = [alphas_cumprod(CHAIN)[int(time)].item() for time in sampler.times[:-1]]
    rows = [math.sqrt(signal) * MEAN + math.sqrt(1 - signal) * noise for signal in signals]
    for stop in range(1, steps):
        torch.testing.assert_close(run(sampler, exact_noise(0.0), rows[0], stop=stop), rows[stop])
    whole = run(sampler, exact_noise(0.0), rows[0])
    torch.testing.assert_close(whole, torch.full_like(whole, MEAN))


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_clipping_holds_the_predicted_data_between_minus_one_and_one(name):
    def far(noisy, step):
        return -5 * torch.ones_like(noisy)

    x, noise_at = normal(4, 2, 8), fresh_noise((4, 2, 8))
    clipped = run(sampler_of(name, 5, clip_sample=True), far, x, noise_at=noise_at)
    torch.testing.assert_close(clipped, torch.ones_like(x))
    assert float(run(sampler_of(name, 5), far, x, noise_at=noise_at).min()) > 1
