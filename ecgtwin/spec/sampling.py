"""SamplingSpec: how a latent is drawn."""

from typing import Literal

from pydantic import Field

from ecgtwin.spec.base import Spec

SamplerName = Literal["euler", "heun", "ddpm", "ddim"]
LeadsOfNetwork = Literal["consistent", "as_generated"]
PROCESS_OF: dict[str, str] = {
    "euler": "rectified_flow",
    "heun": "rectified_flow",
    "ddpm": "ddpm",
    "ddim": "ddpm",
}


class SamplingSpec(Spec):
    """One denoiser evaluation is one pass of the network for one ECG; a guided one costs two.

    ``euler`` and ``heun`` follow a rectified flow, ``ddpm`` (ancestral) and ``ddim``
    (deterministic) a denoising diffusion process.
    """

    sampler: SamplerName = "euler"
    num_steps: int = Field(default=16, ge=1, le=1000)
    time_shift: float = Field(default=1.0, gt=0, le=20)  # above 1: more steps near noise; flow only
    guidance_scale: float = Field(default=1.0, ge=0, le=20)  # 1: no guidance
    guided_until_time: float = Field(default=0.0, ge=0, le=1)  # below this time: no guidance
    clip_sample: bool = False  # ddpm, ddim: clip the predicted data to +-1, as published
    leads: LeadsOfNetwork = "consistent"  # of twelve-lead networks; a cohort's always are

    @property
    def passes(self) -> float:
        """About how many passes of the network an ECG takes."""
        a_step = 2 if self.sampler == "heun" else 1
        is_guided = self.guidance_scale not in (0, 1)
        guided_share = 1 - self.guided_until_time if is_guided else 0
        return self.num_steps * a_step * (1 + guided_share)
