"""SamplingSpec: how a latent is drawn."""

from typing import Literal

from pydantic import Field

from ecgtwin.spec.base import Spec


class SamplingSpec(Spec):
    """One denoiser evaluation is one pass of the network for one ECG; a guided one costs two."""

    sampler: Literal["euler", "heun"] = "euler"
    num_steps: int = Field(default=16, ge=1, le=1000)
    time_shift: float = Field(default=1.0, gt=0, le=20)  # above 1: more steps near noise
    guidance_scale: float = Field(default=1.0, ge=0, le=20)  # 1: no guidance
    guided_until_time: float = Field(default=0.0, ge=0, le=1)  # below this time: no guidance
