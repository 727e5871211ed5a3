"""Gaussian data, for which the best prediction of either process is linear and exact."""

import torch

from ecgtwin.diffusion.ddpm import alphas_cumprod
from ecgtwin.spec.process import DdpmSpec, FlowSpec

MEAN, DEVIATION = 0.7, 0.4
FLOW, CHAIN = FlowSpec(), DdpmSpec()


def exact_velocity(noisy, time):
    """E[noise - data | noisy] on straight paths."""
    t = time[:, None, None]
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    slope = (t - (1 - t) * DEVIATION**2) / variance
    return -MEAN + slope * (noisy - (1 - t) * MEAN)


def exact_noise(deviation, process=CHAIN):
    """Return the function E[noise | noisy] of a chain, for data of this deviation."""
    table = alphas_cumprod(process).double()

    def predict(noisy, step):
        signal = table[step.long()][:, None, None].to(noisy)
        variance = signal * deviation**2 + 1 - signal
        return (1 - signal).sqrt() * (noisy - signal.sqrt() * MEAN) / variance

    return predict


def normal(*shape, seed=0):
    """Return seeded standard normal float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)
