"""Denoising diffusion with linear betas: its tables, its two samplers, its training point.

Ho et al. 2020 (arXiv 2006.11239) and Song et al. 2021 (arXiv 2010.02502). Time is an integer step
and the network predicts the noise. The tables are float32 and the steps evenly spaced from 0
("leading"), as the published twin was made with. Signal, of a step, is its cumulated alpha: the
share of the data in the variance.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import torch
from torch import Tensor

from ecgtwin.diffusion.samplers import Predict, everywhere, undo
from ecgtwin.errors import SpecificationError
from ecgtwin.spec.process import DdpmSpec

TIME_OF_DATA = -1.0  # one step before the first
_LEAST_COVERAGE = 0.9  # of the process, by the steps of a sampler


@lru_cache(maxsize=16)
def betas(process: DdpmSpec) -> Tensor:
    """Return the variance that each step adds, float32 (step,)."""
    return torch.linspace(
        process.beta_start, process.beta_end, process.num_train_steps, dtype=torch.float32
    )


@lru_cache(maxsize=16)
def alphas_cumprod(process: DdpmSpec) -> Tensor:
    """Return the signal at each step, float32 (step,)."""
    return torch.cumprod(1 - betas(process), dim=0)


def noisy_at(process: DdpmSpec, data_BCF: Tensor, noise_BCF: Tensor, step_B: Tensor) -> Tensor:
    """Return the process at ``step_B`` (Ho et al. 2020, eq. 4): (B, C, F)."""
    table = alphas_cumprod(process).to(data_BCF)
    signal_B11 = table[step_B.long()][:, None, None]
    return signal_B11.sqrt() * data_BCF + (1 - signal_B11).sqrt() * noise_BCF


def signal_to_noise(process: DdpmSpec, step_B: Tensor) -> Tensor:
    """Return the ratio of the variances of data and noise at ``step_B``, float32 (B,)."""
    signal_B = alphas_cumprod(process).to(step_B.device)[step_B.long()]
    return signal_B / (1 - signal_B)


def trained_steps(process: DdpmSpec) -> range:
    """Return the steps that training draws from."""
    last = process.last_trained_step
    return range(
        process.first_trained_step, (process.num_train_steps if last is None else last + 1)
    )


def uniform_steps(process: DdpmSpec, normal_B: Tensor) -> Tensor:
    """Return steps (B,), uniform over the trained ones, from standard normal draws."""
    steps = trained_steps(process)
    uniform_B: Tensor = torch.special.ndtr(normal_B.double())
    place_B = (uniform_B * len(steps)).long().clamp(max=len(steps) - 1)
    step_B: Tensor = (steps.start + place_B).to(normal_B.dtype)
    return step_B


def leading_steps(process: DdpmSpec, num_steps: int) -> list[int]:
    """Return ``num_steps`` falling steps that end at 0, as far apart as fit.

    Raises SpecificationError for a number that leaves out the noisiest steps, where sampling
    starts: they lie a whole number apart.
    """
    total = process.num_train_steps
    stride = total // num_steps
    if num_steps * stride < _LEAST_COVERAGE * total:
        fitting = sorted({total // (stride + 1), total // max(stride, 1)})
        raise SpecificationError(
            f"sampling.num_steps: {num_steps} steps cannot be spaced evenly over the {total} of "
            f"the process without leaving out the noisiest; take {' or '.join(map(str, fitting))}"
        )
    return [stride * index for index in reversed(range(num_steps))]


def signals_of(process: DdpmSpec, steps: list[int]) -> tuple[float, ...]:
    """Return the signal at ``steps``, and 1 for the data they end at."""
    return (*alphas_cumprod(process)[steps].tolist(), 1.0)


def _predicted_data(x: Tensor, noise: Tensor, signal: float, *, clip: bool) -> Tensor:
    data = (x - sqrt(1 - signal) * noise) / sqrt(signal)
    return data.clamp(-1, 1) if clip else data


@dataclass(frozen=True, slots=True)
class DdpmSampler:
    """Ancestral sampling with the posterior variance (Ho et al. 2020, eq. 7).

    ``signals`` belong to ``times``; ``clip_sample`` clips the predicted data to +-1.
    """

    times: tuple[float, ...]
    signals: tuple[float, ...]
    clip_sample: bool
    is_stochastic: bool = True

    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``. The step that ends at data takes no noise."""
        now, then = self.signals[index : index + 2]
        predicted = predict(x, everywhere(x, self.times[index]))
        data = _predicted_data(x, predicted, now, clip=self.clip_sample)
        # Alpha of this step, which may span several of the process. Rounded as the published
        # scheduler holds it: near data 1 - alpha is small enough for that to count.
        kept = torch.tensor(now / then, dtype=torch.float32).item()
        of_data = sqrt(then) * (1 - kept) / (1 - now)
        of_x = sqrt(kept) * (1 - then) / (1 - now)
        mean = of_data * data + of_x * x
        if index == len(self.times) - 2:
            return mean
        if noise is None:
            raise ValueError(f"step {index} of ancestral sampling takes noise; give noise_at")
        return mean + sqrt((1 - then) / (1 - now) * (1 - kept)) * noise

    def un_step(
        self, index: int, predict: Predict, x_after: Tensor, *, num_iterations: int
    ) -> Tensor:
        """Raise SpecificationError: a step that adds noise has no inverse."""
        raise SpecificationError(
            "sampler 'ddpm' adds noise at every step and cannot be inverted; take 'ddim'"
        )


@dataclass(frozen=True, slots=True)
class DdimSampler:
    """The deterministic sampler of the same process (Song et al. 2021, eq. 12, sigma 0)."""

    times: tuple[float, ...]
    signals: tuple[float, ...]
    clip_sample: bool
    is_stochastic: bool = False

    def step(self, index: int, predict: Predict, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return (B, C, F) after step ``index``."""
        now, then = self.signals[index : index + 2]
        predicted = predict(x, everywhere(x, self.times[index]))
        data = _predicted_data(x, predicted, now, clip=self.clip_sample)
        return sqrt(then) * data + sqrt(1 - then) * predicted

    def un_step(
        self, index: int, predict: Predict, x_after: Tensor, *, num_iterations: int
    ) -> Tensor:
        """Return the (B, C, F) that step ``index`` leads to ``x_after``."""
        if self.clip_sample:
            raise SpecificationError(
                "sampler 'ddim' cannot be inverted with sampling.clip_sample: what is clipped is "
                "lost; set clip_sample to false"
            )
        now, then = self.signals[index : index + 2]
        return undo(
            lambda x: self.step(index, predict, x, None),
            x_after,
            slope=sqrt(then / now),
            num_iterations=num_iterations,
        )
