"""Recipe: how the three networks of a preset are trained, one TrainingSpec each."""

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.overrides import with_overrides
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.training import TrainingSpec

STAGES = ("vae", "base_extractor", "denoiser")
_RECIPES = resources.files("ecgtwin") / "recipes"


def _keeps_activations(training: TrainingSpec) -> TrainingSpec:
    if training.activation_checkpointing:
        raise ValueError(
            "activation_checkpointing is of the denoiser's blocks; leave it out for other networks"
        )
    return training


KeepsActivations = Annotated[TrainingSpec, AfterValidator(_keeps_activations)]


class VaeRecipe(Spec):
    """Weights of the parts of the loss; see training.objectives.VaeObjective."""

    training: KeepsActivations
    kl_weight: float = Field(default=1e-4, ge=0)
    slope_weight: float = Field(default=1.0, ge=0)
    spectral_weight: float = Field(default=0.0, ge=0)
    lead_consistency_weight: float = Field(default=0.0, ge=0)


class VirtualPersonsSpec(Spec):
    """Every person once more as ``copies`` other persons; see ``training.virtual_persons``."""

    copies: int = Field(default=4, ge=1, le=100)  # each takes the memory of all latents
    angle_deg: float = Field(default=15.0, ge=0, le=90)  # root mean square, of the turn of a heart
    gain_sd: float = Field(default=0.1, ge=0, le=1)  # of the logarithm: of each lead, and of all


class BaseExtractorRecipe(Spec):
    """The contrastive stage."""

    training: KeepsActivations
    condition_dropout: float = Field(default=0.15, ge=0, le=1)
    max_scale: float = Field(default=50.0, gt=1)  # 1 / temperature is clamped to this
    # Of what ridge regression reads of the state off the vectors of a batch; see training.leak.
    leak_weight: float = Field(default=0.0, ge=0)
    # Each member of a pair is seen through so many frames of its latent, at random; None: all.
    # What a person is must then show in every part of a strip, and a step costs less.
    crop_frames: int | None = Field(default=None, ge=1)
    virtual_persons: VirtualPersonsSpec | None = None


class DenoiserRecipe(Spec):
    """The diffusion stage. Each dropout is drawn per sample."""

    training: TrainingSpec
    base_dropout: float = Field(default=0.1, ge=0, le=1)
    condition_dropout: float = Field(default=0.1, ge=0, le=1)
    field_dropout: float = Field(default=0.05, ge=0, le=1)  # rate, age, sex: each unknown
    time_mean: float = 0.5  # with the spread: the logit-normal times of a flow
    time_spread: float = Field(default=1.2, gt=0)
    weighting: Literal["none", "min_snr"] = "none"  # of a chain's steps
    min_snr_gamma: float = Field(default=5.0, gt=0)  # ratios above it count for less


class Recipe(Spec):
    """What ``ecgtwin train`` reads.

    ``anew`` names networks that begin untrained even where ``--start-from`` gives trained ones;
    the preset may then make others of them than that checkpoint has.
    """

    preset: str
    vae: VaeRecipe
    base_extractor: BaseExtractorRecipe
    denoiser: DenoiserRecipe
    pairs: PairSpec = PairSpec()  # of the base extractor and the denoiser
    anew: tuple[Literal["vae", "base_extractor", "denoiser"], ...] = ()


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe from a YAML file, or a built-in one by name ("tiny").

    ``overrides`` are single values put in its place: ``denoiser.training.num_steps=200``.
    """
    recipe = _read_recipe(name)
    if not overrides:
        return recipe
    values = with_overrides(recipe.model_dump(mode="json"), overrides)
    return Recipe.parse(values, origin=f"{name} with --set {' '.join(overrides)}")


def is_built_in(name: str) -> bool:
    """Whether ``name`` is that of a recipe which comes with the package."""
    return "/" not in name and _built_in(name).is_file()


def _read_recipe(name: str) -> Recipe:
    if is_built_in(name):
        return Recipe.from_yaml(str(_built_in(name)))
    if not Path(name).exists():
        known = ", ".join(sorted(file.name[:-5] for file in _RECIPES.iterdir()))
        raise SpecificationError(
            f"recipe {name!r} cannot be read: no such file; give a YAML file or one of {known}"
        )
    return Recipe.from_yaml(name)


def _built_in(name: str) -> Traversable:
    return _RECIPES / f"{name}.yaml"
