"""Samplers: one function each, one signature. They know a denoiser and nothing of ECGs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Told = TypeVar("Told", contravariant=True)
Velocity = Callable[[Tensor, Tensor], Tensor]


class Denoiser(Protocol[Told]):
    """``(noisy latent (B, C, F), time (B,), conditioning) -> velocity (B, C, F)``."""

    def __call__(self, noisy: Tensor, time: Tensor, conditioning: Told, /) -> Tensor: ...


class Sampler(Protocol):
    """Follow a velocity from noise (time 1) to data (time 0) along ``times``, falling."""

    def __call__(self, velocity_at: Velocity, noise: Tensor, times: Sequence[float], /) -> Tensor:
        """Return the latent at the last time."""


def _full(like: Tensor, time: float) -> Tensor:
    return torch.full((like.shape[0],), time, dtype=like.dtype, device=like.device)


def euler(velocity_at: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """First order: one evaluation a step."""
    x = noise
    for now, then in itertools.pairwise(times):
        x = x + (then - now) * velocity_at(x, _full(x, now))
    return x


def heun(velocity_at: Velocity, noise: Tensor, times: Sequence[float]) -> Tensor:
    """Second order (Heun's method): two evaluations a step."""
    x = noise
    for now, then in itertools.pairwise(times):
        slope = velocity_at(x, _full(x, now))
        ahead = velocity_at(x + (then - now) * slope, _full(x, then))
        x = x + (then - now) * (slope + ahead) / 2
    return x


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun}
EVALUATIONS_PER_STEP = {"euler": 1, "heun": 2}
