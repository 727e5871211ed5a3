"""SamplingSpec: how a latent is drawn."""

from typing import Literal

from pydantic import Field

from ecgtwin.spec.base import Spec


class SamplingSpec(Spec):
    """One denoiser evaluation is one pass of the network for one ECG; guidance costs two a step."""

    sampler: Literal["euler", "heun"] = "euler"
    num_steps: int = Field(default=12, ge=1, le=1000)
    guidance_scale: float = Field(default=1.0, ge=0, le=20)
    guided_until: float = Field(default=1.0, ge=0, le=1)  # share of the steps, noise side first
