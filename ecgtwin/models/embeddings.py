"""Fixed codes for time, position and patient information.

Axes: B batch, K token, F frame, H head, D width.
"""

import math

import torch
from torch import Tensor, nn

SHORTEST_S = 0.3125  # two frames of the default latent: nothing finer can be placed by it
LONGEST_S = 20.0  # twice the strip
NUM_WAVES = 16
PATIENT_WIDTH = 2 * NUM_WAVES + 2 + 3 + 3


# How many steps one unit of time is: a flow's time runs to 1, a Markov chain's counts steps.
STEPS_PER_TIME = {"rectified_flow": 1000, "ddpm": 1}


def time_code(time_B: Tensor, width: int, *, steps_per_time: int) -> Tensor:
    """Return the sinusoidal code (B, width) of diffusion times, cosines first.

    Wavelengths run geometrically as in Vaswani et al. 2017, section 3.5, with time in steps.
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=time_B.device) / half)
    angles = steps_per_time * time_B[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def period_code(seconds: Tensor) -> Tensor:
    """Return cosines and sines (..., 32) of a duration at 16 wavelengths of 0.31 to 20 s.

    A heart rate is given as its period, at wavelengths comparable with those of the rotary
    position code, so that attention to "one period away" is a linear map from this code.
    """
    waves = torch.logspace(
        math.log10(SHORTEST_S), math.log10(LONGEST_S), NUM_WAVES, device=seconds.device
    )
    angles = 2 * math.pi * seconds[..., None] / waves
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def patient_code(rate_B: Tensor, age_B: Tensor, sex_B: Tensor) -> Tensor:
    """Return (B, PATIENT_WIDTH): rate, age and sex, each with a presence flag.

    ``rate_B`` in bpm and ``age_B`` in years are NaN where unknown; ``sex_B`` is -1 unknown,
    0 female, 1 male. An unknown value contributes zeros and a zero flag, so 0 is never a value.
    """
    has_rate, has_age = ~rate_B.isnan(), ~age_B.isnan()
    rate = torch.where(has_rate, rate_B, torch.ones_like(rate_B) * 60)
    age = torch.where(has_age, age_B, torch.zeros_like(age_B))
    rate_part = torch.cat([period_code(60 / rate), (rate[:, None] - 80) / 40], dim=-1)
    return torch.cat(
        [
            rate_part * has_rate[:, None],
            has_rate[:, None].float(),
            (age[:, None] / 50 - 1) * has_age[:, None],
            has_age[:, None].float(),
            (age[:, None] > 89).float(),
            (sex_B == 0)[:, None].float(),
            (sex_B == 1)[:, None].float(),
            (sex_B >= 0)[:, None].float(),
        ],
        dim=-1,
    )


class Rotary(nn.Module):
    """Rotary position code (Su et al. 2021, section 3.2), turning by ``angles`` (frame, half)."""

    cosine_FE: Tensor
    sine_FE: Tensor

    def __init__(self, angles: Tensor) -> None:
        super().__init__()
        self.register_buffer("cosine_FE", angles.cos(), persistent=False)
        self.register_buffer("sine_FE", angles.sin(), persistent=False)

    def forward(self, x_FE: Tensor) -> Tensor:
        """Rotate the two halves of the last axis of (..., frame, width) by its frame's angles.

        A strip of fewer frames than there are angles has those of the first.
        """
        first, second = x_FE.chunk(2, dim=-1)
        frames = slice(x_FE.shape[-2])
        cosine, sine = self.cosine_FE[frames], self.sine_FE[frames]
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def period_angles(head_width: int, num_frames: int) -> Tensor:
    """Return angles (num_frames, head_width / 2) with periods of two frames to twice the strip."""
    half = head_width // 2
    waves_in_frames = torch.logspace(math.log10(2.0), math.log10(2.0 * num_frames), half)
    return 2 * math.pi * torch.arange(num_frames)[:, None] / waves_in_frames


def published_angles(width: int, num_frames: int) -> Tensor:
    """Return angles (num_frames, width / 2): position over 10,000 ** (2 i / width)."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.arange(num_frames)[:, None] * rates


def position_table(num_positions: int, width: int) -> Tensor:
    """Return (num_positions, width): sines and cosines in turn (Vaswani et al. 2017, sec. 3.5)."""
    angles = published_angles(width, num_positions)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
