"""Rectified flow: straight paths from data (time 0) to noise (time 1), velocity prediction.

Liu et al. 2022, "Flow straight and fast", eq. 1: x_t = (1 - t) data + t noise, and the network
predicts the velocity noise - data.
"""

import torch
from torch import Tensor


def noisy_at(data_BCF: Tensor, noise_BCF: Tensor, time_B: Tensor) -> Tensor:
    """Return the point of the straight path at ``time_B`` in [0, 1]."""
    return torch.lerp(data_BCF, noise_BCF, time_B[:, None, None])


def velocity(data_BCF: Tensor, noise_BCF: Tensor) -> Tensor:
    """Return the training target."""
    return noise_BCF - data_BCF


def logit_normal_times(normal_B: Tensor, *, mean: float, spread: float) -> Tensor:
    """Return times in (0, 1) from standard normal draws (Esser et al. 2024, section 3.1)."""
    return torch.sigmoid(mean + spread * normal_B)


def shifted_times(num_steps: int, *, shift: float) -> list[float]:
    """Return ``num_steps + 1`` times from 1 to 0; ``shift`` > 1 spends more steps near noise.

    Esser et al. 2024, eq. 23: t' = s t / (1 + (s - 1) t).
    """
    uniform = [1 - index / num_steps for index in range(num_steps + 1)]
    return [shift * time / (1 + (shift - 1) * time) for time in uniform]
