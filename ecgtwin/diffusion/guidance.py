"""Classifier-free guidance: a prediction made of a denoiser and two conditionings."""

from typing import TypeVar

from torch import Tensor

from ecgtwin.diffusion.samplers import Denoiser, Predict

Told = TypeVar("Told")


def guided(
    denoise: Denoiser[Told], told: Told, free: Told | None, *, scale: float, until_time: float
) -> Predict:
    """Return the prediction pushed from ``free`` towards and past ``told`` (Ho & Salimans 2022).

    Guidance acts only at times of at least ``until_time`` (Kynkaanniemi et al. 2024: a limited
    interval); elsewhere, and when ``free`` is None, one evaluation is made and ``told`` followed.
    """

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        towards = denoise(noisy, time, told)
        if free is None or float(time[0]) < until_time:
            return towards
        away = denoise(noisy, time, free)
        return away + scale * (towards - away)

    return predict
