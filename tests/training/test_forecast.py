"""Forecasts of tiny networks: counts against arithmetic, activations against a whole batch."""

from dataclasses import replace

import pytest

from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, Recipe, VaeRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.cost import cost_of, kept_bytes_of
from ecgtwin.training.data import VaeBatches
from ecgtwin.training.forecast import Pace, case_of, forecast_of
from ecgtwin.training.rows import LatentRows
from tests.tiny import tiny_twin
from tests.training.test_panels import rows_of

SPEC = TrainingSpec(num_steps=30, batch_size=8, ema_decays=(0.9, 0.99))


def recipe_of(spec):
    return Recipe(
        preset="tiny",
        vae=VaeRecipe(training=spec),
        base_extractor=BaseExtractorRecipe(training=spec),
        denoiser=DenoiserRecipe(training=spec),
    )


def forecast(name, spec=SPEC, *, engine="torch", world_size=1, twin=None):
    rows = rows_of("t", 6)
    twin = twin or tiny_twin()
    return forecast_of(name, recipe_of(spec), twin, rows, engine=engine, world_size=world_size)


@pytest.mark.parametrize("name", ["vae", "base_extractor", "denoiser"])
def test_a_case_costs_what_the_stage_itself_costs(name):
    """Zeros in the place of recordings and latents change no shape."""
    rows, twin, recipe = rows_of("t", 6), tiny_twin(), recipe_of(SPEC)
    silent = replace(rows, samples_BLT=rows.samples_BLT[:, :0, :0])
    case = case_of(name, recipe, twin, silent)
    batch = case.batches(0, slice(0, 4))
    if name == "vae":
        real = VaeBatches(rows, latent_shape=twin.latent_shape, seed=0, total=8)(0, slice(0, 4))
    else:
        latents = LatentRows.of(rows, twin)
        real = type(case.batches)(
            latents, getattr(recipe, name), seed=0, total=8, pairs=recipe.pairs
        )(0, slice(0, 4))
    assert {key: tensor.shape for key, tensor in batch.items()} == {
        key: tensor.shape for key, tensor in real.items()
    }
    assert cost_of(case.objective, batch) == cost_of(case.objective, real)


def test_the_counts_are_those_of_the_network_and_the_recipe():
    twin = tiny_twin()
    found = forecast("base_extractor", twin=twin)
    assert found.num_parameters == sum(item.numel() for item in twin.base_extractor.parameters())
    assert (found.micro_batch, found.num_parts, found.recordings) == (8, 1, 2)
    assert found.frames == 64
    assert found.condition_tokens == 2  # one statement in each of two recordings
    assert found.checkpoint >= 4 * found.num_parameters * 5
    assert found.memory.device["weights"] == 4 * found.num_parameters
    assert found.memory.device["latents of the corpus"] == 4 * 12 * (4 * 64 + 8)
    assert forecast("vae").condition_tokens == 0


def test_micro_batches_of_the_contrast_cost_a_pass_more():
    whole = forecast("base_extractor")
    parts = forecast("base_extractor", SPEC.model_copy(update={"micro_batch_size": 2}))
    assert (parts.micro_batch, parts.num_parts) == (2, 4)
    assert parts.flops / whole.flops == pytest.approx(4 / 3, rel=0.02)


def test_ranks_share_the_batch_and_zero_the_state():
    spec = SPEC.model_copy(update={"zero_stage": 3, "offload": "optimizer"})
    found = forecast("denoiser", spec, engine="deepspeed", world_size=4)
    assert (found.micro_batch, found.num_parts) == (2, 1)
    assert found.memory.device["weights"] == found.num_parameters
    assert found.memory.host["Adam moments"] == 2 * found.num_parameters
    assert found.memory.host["moving averages"] == 2 * found.num_parameters


def test_a_step_is_its_passes_and_an_update():
    found = forecast("denoiser", SPEC.model_copy(update={"micro_batch_size": 4}))
    assert isinstance(found.pace, Pace)
    assert 1 <= found.pace.num_rows <= 4
    assert found.step_s == pytest.approx(2 * found.pace.pass_s + found.pace.update_s)
    assert 0 < found.step_s < 60


@pytest.mark.parametrize("in_bf16", [False, True])
@pytest.mark.parametrize("name", ["vae", "base_extractor", "denoiser"])
def test_activations_of_two_rows_tell_those_of_eight(name, in_bf16):
    case = case_of(name, recipe_of(SPEC), tiny_twin(), rows_of("t", 6))
    two, eight = (
        kept_bytes_of(case.objective, case.batches(0, slice(0, rows)), in_bf16=in_bf16)
        for rows in (2, 8)
    )
    reckoned = two.per_pass + 8 * two.per_sample
    assert reckoned == pytest.approx(eight.per_pass + 8 * eight.per_sample, rel=0.03)
    assert reckoned > 0


def test_a_batch_of_one_is_forecast_too():
    found = forecast("vae", SPEC.model_copy(update={"batch_size": 1}))
    assert found.micro_batch == 1
    assert found.memory.device["activations (estimate)"] > 0
