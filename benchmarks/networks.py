"""The networks that are measured, and what is fed to them; nothing is downloaded.

Axes: B batch, W base width, C latent channel, F frame, L lead, T sample.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import TextSpec, TwinSpec
from ecgtwin.spec.presets import preset
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.training.objectives import CONDITION_KEYS, Batch
from ecgtwin.twin.twin import EcgTwin

STIR = 0.02
TRAINED_WITH_BASE = 0.9
# Three statements each: the cost of a batch does not depend on who is in it.
CONDITIONS = (
    CardiacCondition.model_validate(
        {
            "statements": ("sinus rhythm", "left axis deviation", "abnormal ecg"),
            "heart_rate_bpm": 64,
            "age_years": 58,
            "sex": "female",
        }
    ),
    CardiacCondition.model_validate(
        {
            "statements": ("atrial fibrillation", "left bundle branch block", "abnormal ecg"),
            "heart_rate_bpm": 112,
            "age_years": 74,
            "sex": "male",
        }
    ),
)


def stirred_twin(chosen: TwinSpec | str, *, seed: int = 0) -> EcgTwin:
    """Return the untrained networks of a specification or preset with nothing left at zero.

    What starts at zero would hide the rest of its block. The text encoder is the hashed one at the
    width of the specification's own, so the networks keep their sizes.
    """
    spec = preset(chosen) if isinstance(chosen, str) else chosen
    text = TextSpec(width=spec.text.width)
    twin = EcgTwin.untrained(spec.model_copy(update={"text": text}), seed=seed)
    stir(twin, seed=seed)
    return twin


def stir(network: nn.Module, *, seed: int) -> None:
    """Give every parameter that is all zeros small normal values."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data.normal_(0, STIR, generator=generator)


def normal(*shape: int, seed: int) -> Tensor:
    """Return standard normal values, drawn on the CPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def deterministic(twin: EcgTwin, num_steps: int) -> SamplingSpec:
    """Return a sampling without noise: DDIM with clipping, or Euler with guidance."""
    if twin.spec.process.kind == "ddpm":
        return SamplingSpec(sampler="ddim", num_steps=num_steps, clip_sample=True)
    return SamplingSpec(sampler="euler", num_steps=num_steps, guidance_scale=2.0)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the networks of one twin read, on its device."""

    samples_BLT: Tensor
    latent_BCF: Tensor
    noise_BCF: Tensor
    base_BW: Tensor
    conditions: tuple[CardiacCondition, ...]

    @classmethod
    def of(cls, twin: EcgTwin, batch: int) -> Self:
        """Return ``batch`` rows, the same on every device."""
        spec, shape = twin.spec, (batch, *twin.latent_shape)
        return cls(
            0.3 * normal(batch, spec.vae.num_leads, twin.num_samples, seed=1).to(twin.device),
            normal(*shape, seed=2).to(twin.device),
            normal(*shape, seed=3).to(twin.device),
            normal(batch, spec.base_extractor.base_width, seed=4).to(twin.device),
            tuple(CONDITIONS[row % len(CONDITIONS)] for row in range(batch)),
        )

    def times(self, twin: EcgTwin) -> Tensor:
        """Return times (B,) spread over the process of ``twin``."""
        spread_B = torch.linspace(0.1, 0.9, len(self.base_BW), device=twin.device)
        if twin.spec.process.kind == "ddpm":
            return (spread_B * twin.spec.process.num_train_steps).round()
        return spread_B

    def training_batch(self, twin: EcgTwin) -> Batch:
        """Return what DenoiserObjective reads; no condition is dropped where none may be."""
        batch = twin.condition_batch(self.conditions)
        rows = torch.arange(len(self.base_BW), device=twin.device)
        everybody_B = torch.ones_like(rows, dtype=torch.bool)
        may_drop = twin.spec.denoiser.tokens.kind == "flagged"
        return {
            "latent_BCF": self.latent_BCF,
            "noise_BCF": self.noise_BCF,
            "base_BW": self.base_BW,
            "time_normal_B": normal(len(rows), seed=5).to(twin.device),
            "has_base_B": rows % 10 < 10 * TRAINED_WITH_BASE,
            "is_told_B": rows % 10 > 0 if may_drop and len(rows) > 1 else everybody_B,
            **{key: getattr(batch, key) for key in CONDITION_KEYS},
        }
