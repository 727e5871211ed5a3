"""The noise process a denoiser is trained on: straight paths, or the published Markov chain."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ecgtwin.spec.base import Spec, branch


class FlowSpec(Spec):
    """Rectified flow: time runs from 0 (data) to 1 (noise), the network predicts the velocity."""

    kind: Literal["rectified_flow"] = "rectified_flow"


class DdpmSpec(Spec):
    """A denoising diffusion process with linear betas; time is an integer step, noise predicted.

    The published training draws steps 1 to 998 of 1000 and samples all of them.
    """

    kind: Literal["ddpm"] = "ddpm"
    num_train_steps: int = Field(default=1000, ge=2)
    beta_start: float = Field(default=0.00085, gt=0, lt=1)
    beta_end: float = Field(default=0.012, gt=0, lt=1)
    first_trained_step: int = Field(default=0, ge=0)
    last_trained_step: int | None = None  # None: the last one there is

    @model_validator(mode="after")
    def _steps_exist(self) -> "DdpmSpec":
        last = (
            self.num_train_steps - 1 if self.last_trained_step is None else self.last_trained_step
        )
        if not self.first_trained_step <= last < self.num_train_steps:
            raise ValueError(
                f"trained steps {self.first_trained_step} to {last} are not among 0 to "
                f"{self.num_train_steps - 1}"
            )
        return self


def _kind(value: Any) -> str:  # noqa: ANN401  (a raw mapping or a specification)
    default = "rectified_flow"
    kind = value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", "")
    return branch(str(kind))


Process = Annotated[
    Annotated[FlowSpec, Tag(branch("rectified_flow"))] | Annotated[DdpmSpec, Tag(branch("ddpm"))],
    Discriminator(_kind),
]
