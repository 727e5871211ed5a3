"""Latents drawn on the device of a twin, from noise that the caller makes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.diffusion.samplers import run
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.sampling import SamplingSpec

if TYPE_CHECKING:
    from ecgtwin.twin.twin import EcgTwin

NoiseAt = Callable[[int], NDArray[np.float32]]


@torch.no_grad()
def draw_latents(
    twin: "EcgTwin",
    base_vectors: NDArray[np.float32],
    conditions: Sequence[CardiacCondition],
    noise: NDArray[np.float32],
    sampling: SamplingSpec,
    *,
    noise_at: NoiseAt | None = None,
) -> Tensor:
    """Return the latents (B, channel, frame) of what ``EcgTwin.draw`` returns, on the device.

    Arguments and errors are those of ``EcgTwin.draw``.
    """

    def on_device(values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(twin.device)

    return run(
        twin.sampler(sampling),
        twin.predictor(base_vectors, conditions, sampling),
        on_device(noise),
        noise_at=None if noise_at is None else lambda index: on_device(noise_at(index)),
    )
