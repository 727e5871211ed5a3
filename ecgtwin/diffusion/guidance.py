"""Classifier-free guidance: a velocity made of a denoiser and two conditionings."""

from typing import TypeVar

from torch import Tensor

from ecgtwin.diffusion.samplers import Denoiser, Velocity

Told = TypeVar("Told")


def guided(
    denoise: Denoiser[Told], told: Told, free: Told | None, *, scale: float, until_time: float
) -> Velocity:
    """Return the velocity pushed from ``free`` towards and past ``told`` (Ho & Salimans 2022).

    Guidance acts only at times of at least ``until_time`` (Kynkaanniemi et al. 2024: a limited
    interval); elsewhere, and when ``free`` is None, one evaluation is made and ``told`` followed.
    """

    def velocity_at(noisy: Tensor, time: Tensor) -> Tensor:
        towards = denoise(noisy, time, told)
        if free is None or float(time[0]) < until_time:
            return towards
        away = denoise(noisy, time, free)
        return away + scale * (towards - away)

    return velocity_at
