"""Inversion: from data back to the noise that a deterministic sampler makes it of."""

from torch import Tensor

from ecgtwin.diffusion.samplers import Predict, Sampler, num_steps


def path_to_data(
    sampler: Sampler, predict: Predict, x: Tensor, *, down_to: int = 0, num_iterations: int
) -> list[Tensor]:
    """Return the points (B, C, F) at the starts of the steps from ``down_to`` on, and ``x`` last.

    Each step is undone by ``num_iterations`` of a fixed-point iteration, one evaluation each (two
    for Heun). Raises SpecificationError for a sampler whose steps have no inverse.
    """
    backwards = [x]
    for index in reversed(range(down_to, num_steps(sampler))):
        before = sampler.un_step(index, predict, backwards[-1], num_iterations=num_iterations)
        backwards.append(before)
    return backwards[::-1]


def invert(
    sampler: Sampler, predict: Predict, x: Tensor, *, down_to: int = 0, num_iterations: int
) -> Tensor:
    """Return (B, C, F) at the start of step ``down_to``, of which ``run`` makes ``x`` again.

    As ``path_to_data``, whose first point it is.
    """
    path = path_to_data(sampler, predict, x, down_to=down_to, num_iterations=num_iterations)
    return path[0]
