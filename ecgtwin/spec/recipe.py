"""Recipe: how the three networks of a preset are trained, one TrainingSpec each."""

from importlib import resources
from pathlib import Path

from pydantic import Field

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.training import TrainingSpec

STAGES = ("vae", "base_extractor", "denoiser")


class VaeRecipe(Spec):
    """Weights of the parts of the loss; see training.objectives.VaeObjective."""

    training: TrainingSpec
    kl_weight: float = Field(default=1e-4, ge=0)
    slope_weight: float = Field(default=1.0, ge=0)


class BaseExtractorRecipe(Spec):
    """The contrastive stage."""

    training: TrainingSpec
    condition_dropout: float = Field(default=0.15, ge=0, le=1)
    max_scale: float = Field(default=50.0, gt=1)  # 1 / temperature is clamped to this


class DenoiserRecipe(Spec):
    """The diffusion stage. Each dropout is drawn per sample."""

    training: TrainingSpec
    base_dropout: float = Field(default=0.1, ge=0, le=1)
    condition_dropout: float = Field(default=0.1, ge=0, le=1)
    field_dropout: float = Field(default=0.05, ge=0, le=1)  # rate, age, sex: each unknown
    time_mean: float = 0.5
    time_spread: float = Field(default=1.2, gt=0)


class Recipe(Spec):
    """What ``ecgtwin train`` reads."""

    preset: str
    vae: VaeRecipe
    base_extractor: BaseExtractorRecipe
    denoiser: DenoiserRecipe
    pairs: PairSpec = PairSpec()  # of the base extractor and the denoiser


def load_recipe(name: str) -> Recipe:
    """Return a recipe from a YAML file, or a built-in one by name ("tiny")."""
    folder = resources.files("ecgtwin") / "recipes"
    built_in = folder / f"{name}.yaml"
    if "/" not in name and built_in.is_file():
        return Recipe.from_yaml(str(built_in))
    if not Path(name).exists():
        known = ", ".join(sorted(file.name[:-5] for file in folder.iterdir()))
        raise SpecificationError(
            f"recipe {name!r} cannot be read: no such file; give a YAML file or one of {known}"
        )
    return Recipe.from_yaml(name)
