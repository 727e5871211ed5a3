"""The recipes of the package: each loads, and its networks and objectives can be built."""

from importlib import resources

import pytest
import torch

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.presets import preset
from ecgtwin.spec.recipe import STAGES, Recipe, load_recipe
from ecgtwin.training.engine import parts_of
from ecgtwin.training.objectives import BaseExtractorObjective, DenoiserObjective, VaeObjective
from ecgtwin.twin.twin import EcgTwin

NAMES = sorted(
    file.name.removesuffix(".yaml")
    for file in (resources.files("ecgtwin") / "recipes").iterdir()
    if file.name.endswith(".yaml")
)


def built(name):
    """Return the networks of a preset without memory for their weights."""
    with torch.device("meta"):
        return EcgTwin(preset(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_its_networks_can_be_built(name):
    recipe = load_recipe(name)
    twin = built(recipe.preset)
    VaeObjective(twin.vae, recipe.vae)
    BaseExtractorObjective(twin.base_extractor, recipe.base_extractor)
    denoiser = DenoiserObjective(twin.denoiser, recipe.denoiser, process=twin.spec.process).network
    assert denoiser.activation_checkpointing == recipe.denoiser.training.activation_checkpointing
    assert all(parameter.is_meta for parameter in twin.parameters())
    for stage in STAGES:
        spec = getattr(recipe, stage).training
        for world_size in (1, 2, 8):
            parts = parts_of(spec, rank=0, world_size=world_size)
            assert sum(part.stop - part.start for part in parts) * world_size == spec.batch_size


def test_the_recipes_are_all_there():
    mimic = {"paper-mimic", "base-mimic", "base-ptbxl", "small", "base-large", "tiny"}
    assert mimic <= set(NAMES)
    batches = [
        load_recipe(name).base_extractor.training.batch_size
        for name in ("paper-mimic", "base-mimic", "base-large")
    ]
    assert all(16_384 <= size <= 65_536 for size in batches)


def test_the_large_denoiser_is_large_and_trained_in_parts():
    twin, training = built("base-large"), load_recipe("base-large").denoiser.training
    assert 120e6 < sum(item.numel() for item in twin.denoiser.parameters()) < 140e6
    assert training.zero_stage >= 2
    assert training.precision == "bf16"
    assert training.activation_checkpointing
    base = built("base")
    for name in ("vae", "base_extractor"):
        shapes = [
            {key: value.shape for key, value in one.get_submodule(name).state_dict().items()}
            for one in (twin, base)
        ]
        assert shapes[0] == shapes[1]


def test_the_published_denoiser_is_never_trained_without_its_condition():
    """It has no token for an absent one: a dropout would be refused at the first step."""
    denoiser = load_recipe("paper-mimic").denoiser
    assert (denoiser.condition_dropout, denoiser.field_dropout) == (0, 0)


@pytest.mark.parametrize("stage", ["vae", "base_extractor"])
def test_only_the_denoiser_makes_its_activations_again(stage):
    values = load_recipe("tiny").model_dump(mode="json")
    values[stage]["training"]["activation_checkpointing"] = True
    with pytest.raises(SpecificationError, match=f"{stage}.training: activation_checkpointing"):
        Recipe.parse(values, origin="here")
