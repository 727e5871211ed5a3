"""Undoing a step, and a whole run, of every deterministic sampler."""

import itertools

import pytest
import torch

from ecgtwin.diffusion.inversion import invert, path_to_data
from ecgtwin.diffusion.make import make_sampler
from ecgtwin.diffusion.samplers import run, undo
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.sampling import SamplingSpec
from tests.diffusion.gaussian import CHAIN, FLOW, exact_noise, exact_velocity, normal

STEPS = 20
DETERMINISTIC = ["euler", "heun", "ddim"]


def curved(predict):
    """Return a prediction that is no longer linear, nor the same for every element."""
    return lambda noisy, time: predict(noisy, time) + 0.1 * torch.sin(3 * noisy).roll(1, dims=-1)


def case(name):
    process, exact = (CHAIN, exact_noise(0.8)) if name == "ddim" else (FLOW, exact_velocity)
    return make_sampler(process, SamplingSpec(sampler=name, num_steps=STEPS)), curved(exact)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_step_is_undone(name):
    sampler, predict = case(name)
    x = normal(3, 2, 8)
    for index in range(STEPS):
        after = sampler.step(index, predict, x, None)
        again = sampler.un_step(index, predict, after, num_iterations=80)
        assert float((again - x).abs().max()) < 1e-6
        assert float((after - x).abs().max()) > 1e-3


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_prediction_that_is_the_same_everywhere_is_undone_at_once(name):
    sampler, _ = case(name)
    x = normal(3, 2, 8)
    for index in range(STEPS):
        after = sampler.step(index, lambda noisy, time: 0.3 * torch.ones_like(noisy), x, None)
        again = sampler.un_step(
            index, lambda noisy, time: 0.3 * torch.ones_like(noisy), after, num_iterations=1
        )
        torch.testing.assert_close(again, x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_run_and_its_inversion_are_each_others_inverse(name):
    sampler, predict = case(name)
    noise = normal(3, 2, 8)
    data = run(sampler, predict, noise)
    back = invert(sampler, predict, data, num_iterations=100)
    torch.testing.assert_close(back, noise, atol=1e-6, rtol=0)
    part = invert(sampler, predict, data, down_to=12, num_iterations=100)
    torch.testing.assert_close(run(sampler, predict, part, start=12), data, atol=1e-9, rtol=0)
    assert float((part - noise).abs().max()) > 0.01


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_each_point_of_a_path_leads_to_the_next(name):
    sampler, predict = case(name)
    data = run(sampler, predict, normal(3, 2, 8))
    path = path_to_data(sampler, predict, data, down_to=12, num_iterations=100)
    assert len(path) == STEPS - 12 + 1
    assert path[-1] is data
    for index, (before, after) in enumerate(itertools.pairwise(path), start=12):
        ahead = sampler.step(index, predict, before, None)
        torch.testing.assert_close(ahead, after, atol=1e-9, rtol=0)


def test_a_step_is_undone_where_the_prediction_bends_sharply():
    """Undamped, this iteration swings about the solution for ever: its slope there is -1.2."""
    after = torch.zeros(1, 1, 1, dtype=torch.float64)
    found = undo(lambda x: x + 1.2 * x, after + 0.5, slope=1.0, num_iterations=40)
    torch.testing.assert_close(found, (after + 0.5) / 2.2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_more_iterations_come_closer(name):
    sampler, predict = case(name)
    noise = normal(3, 2, 8)
    data = run(sampler, predict, noise)
    errors = [
        float((invert(sampler, predict, data, num_iterations=count) - noise).abs().max())
        for count in (1, 4, 16)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize(
    ("sampling", "way_out"),
    [
        (SamplingSpec(sampler="ddpm", num_steps=STEPS), "'ddim'"),
        (SamplingSpec(sampler="ddim", num_steps=STEPS, clip_sample=True), "clip_sample"),
    ],
)
def test_steps_without_an_inverse_are_refused(sampling, way_out):
    sampler = make_sampler(CHAIN, sampling)
    with pytest.raises(SpecificationError, match=way_out):
        invert(sampler, exact_noise(1.0), normal(1, 2, 8), num_iterations=3)
