"""The seam of the samplers, and the two of rectified flow. They know nothing of ECGs.

A sampler is a row of steps from noise to data. It is given a prediction, ``(noisy (B, C, F),
time (B,)) -> (B, C, F)``, and whatever noise its steps take, so that it holds no random state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

DAMPING = 0.6  # of the rounds that undo a step, but the first

Told = TypeVar("Told", contravariant=True)
Predict = Callable[[Tensor, Tensor], Tensor]
NoiseAt = Callable[[int], Tensor]


class Denoiser(Protocol[Told]):
    """``(noisy latent (B, C, F), time (B,), conditioning) -> prediction (B, C, F)``."""

    def __call__(self, noisy: Tensor, time: Tensor, conditioning: Told, /) -> Tensor: ...


class Sampler(Protocol):
    """Steps from noise to data, counted from 0.

    ``times`` fall; step ``i`` leads from ``times[i]`` to ``times[i + 1]``, and the last one is the
    time of data.
    """

    @property
    def times(self) -> tuple[float, ...]:
        """``num_steps + 1`` times, in the unit of the process."""
        ...

    @property
    def is_stochastic(self) -> bool:
        """Whether every step but the last one adds noise."""
        ...

    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``; ``noise`` is standard normal, or None."""
        ...

    def un_step(
        self, index: int, predict: Predict, x_after: Tensor, *, num_iterations: int
    ) -> Tensor:
        """Return the (B, C, F) that step ``index`` leads to ``x_after``.

        Raises SpecificationError where the step has no inverse.
        """
        ...


def num_steps(sampler: Sampler) -> int:
    """Return how many steps lead from noise to data."""
    return len(sampler.times) - 1


def run(
    sampler: Sampler,
    predict: Predict,
    x: Tensor,
    *,
    start: int = 0,
    stop: int | None = None,
    noise_at: NoiseAt | None = None,
) -> Tensor:
    """Return (B, C, F) after the steps from ``start`` up to, not with, ``stop`` (None: to data).

    ``noise_at(index)`` is the standard normal noise of a step, (B, C, F). It is asked only of a
    stochastic sampler, for every step but the one that ends at data.
    """
    last = num_steps(sampler)
    until = last if stop is None else stop
    if not 0 <= start <= until <= last:
        raise ValueError(f"steps {start} to {until} are not among the {last} of this sampler")
    draw = noise_at if sampler.is_stochastic else None
    for index in range(start, until):
        noise = None if draw is None or index == last - 1 else draw(index)
        x = sampler.step(index, predict, x, noise)
    return x


def everywhere(like: Tensor, time: float) -> Tensor:
    """Return ``time`` as (B,) for the rows of ``like``."""
    return torch.full((like.shape[0],), time, dtype=like.dtype, device=like.device)


def undo(
    forward: Callable[[Tensor], Tensor], x_after: Tensor, *, slope: float, num_iterations: int
) -> Tensor:
    """Return x with ``forward(x) == x_after`` by fixed-point iteration.

    ``forward`` is ``slope * x`` and a rest; the iteration converges where the rest varies less
    than ``slope * x`` does (Pan et al. 2023 undo the steps of DDIM so). From the second round on it
    is damped: undamped it swings about the solution where a network bends sharply.
    """
    x = x_after
    for number in range(num_iterations):
        share = DAMPING if number else 1.0
        x = x + share * (x_after - forward(x)) / slope
    return x


@dataclass(frozen=True, slots=True)
class _FlowSampler(ABC):
    """What the steps along a rectified flow share."""

    times: tuple[float, ...]
    is_stochastic: bool = False

    @abstractmethod
    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``."""

    def un_step(
        self, index: int, predict: Predict, x_after: Tensor, *, num_iterations: int
    ) -> Tensor:
        """Return the (B, C, F) that step ``index`` leads to ``x_after``."""
        return undo(
            lambda x: self.step(index, predict, x, None),
            x_after,
            slope=1.0,
            num_iterations=num_iterations,
        )


class EulerSampler(_FlowSampler):
    """First order along a rectified flow: one evaluation a step."""

    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``."""
        now, then = self.times[index : index + 2]
        return x + (then - now) * predict(x, everywhere(x, now))


class HeunSampler(_FlowSampler):
    """Second order along a rectified flow (Heun's method): two evaluations a step."""

    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``."""
        now, then = self.times[index : index + 2]
        slope = predict(x, everywhere(x, now))
        ahead = predict(x + (then - now) * slope, everywhere(x, then))
        return x + (then - now) * (slope + ahead) / 2
