"""The two noise processes behind one face: what training and the twin ask of either."""

from torch import Tensor

from ecgtwin.diffusion import ddpm, flow
from ecgtwin.spec.process import DdpmSpec, Process


def time_of_noise(process: Process) -> float:
    """Return the unit of time: 1 for a flow, the number of steps of a chain."""
    return float(process.num_train_steps) if isinstance(process, DdpmSpec) else 1.0


def training_times(process: Process, normal_B: Tensor, *, mean: float, spread: float) -> Tensor:
    """Return times (B,) to train at, from standard normal draws.

    ``mean`` and ``spread`` shape the logit-normal times of a flow; the steps of a chain are uniform
    over the trained ones.
    """
    if isinstance(process, DdpmSpec):
        return ddpm.uniform_steps(process, normal_B)
    return flow.logit_normal_times(normal_B, mean=mean, spread=spread)


def noisy_at(process: Process, data_BCF: Tensor, noise_BCF: Tensor, time_B: Tensor) -> Tensor:
    """Return what the process makes of data by ``time_B``: (B, C, F)."""
    if isinstance(process, DdpmSpec):
        return ddpm.noisy_at(process, data_BCF, noise_BCF, time_B)
    return flow.noisy_at(data_BCF, noise_BCF, time_B)


def training_target(process: Process, data_BCF: Tensor, noise_BCF: Tensor) -> Tensor:
    """Return what the network is to predict: the noise of a chain, the velocity of a flow."""
    if isinstance(process, DdpmSpec):
        return noise_BCF
    return flow.velocity(data_BCF, noise_BCF)
