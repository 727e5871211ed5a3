"""Forms in which several numbers may be asked for: a range, draws from a distribution."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from ecgtwin.spec.base import Spec, branch

MAX_VALUES = 10_000
DECIMALS = 6  # of a range
STREAM = 0x76616C756573  # "values": keeps these draws apart from others of the same seed
_MOST_DRAWS = 50  # for a number
DRAWN_DECIMALS = 1  # of a draw: a rate of 71.3 bpm says enough


class NumberRange(Spec):
    """``start``, ``start + step``, ... up to ``stop``; or ``count`` numbers evenly spaced.

    ``stop`` is one of them with ``count``, and with ``step`` where a whole number of steps leads
    there.
    """

    start: float
    stop: float
    step: float | None = Field(default=None, gt=0)
    count: int | None = Field(default=None, ge=2, le=MAX_VALUES)

    @model_validator(mode="after")
    def _one_way_to_space(self) -> "NumberRange":
        if (self.step is None) == (self.count is None):
            found = "neither" if self.step is None else "both"
            raise ValueError(
                f"give either step or count: how far apart, or how many (found {found})"
            )
        if self.stop < self.start:
            raise ValueError(
                f"stop {self.stop:g} is below start {self.start:g}; exchange them, or give a list"
            )
        if self.step is not None and self._num_steps() >= MAX_VALUES:
            raise ValueError(
                f"is more than {MAX_VALUES:,} numbers; make the step larger than {self.step:g}"
            )
        return self

    def _num_steps(self) -> int:
        assert self.step is not None
        return int((self.stop - self.start) / self.step * (1 + 1e-12) + 1e-9)

    def values(self) -> list[float]:
        """Return the numbers, rising."""
        if self.count is not None:
            step, count = (self.stop - self.start) / (self.count - 1), self.count
        else:
            assert self.step is not None
            step, count = self.step, self._num_steps() + 1
        return [round(self.start + step * index, DECIMALS) for index in range(count)]


class Draws(Spec):
    """``count`` different numbers between ``low`` and ``high``: alike, or normal around ``mean``.

    Draw *i* follows from (seed, i), to a tenth; one that was there already is passed over. So a
    larger count keeps those that were there.
    """

    distribution: Literal["normal", "uniform"]
    low: float
    high: float
    mean: float | None = None
    sd: float | None = Field(default=None, gt=0)
    count: int = Field(ge=1, le=MAX_VALUES)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _fields_fit(self) -> "Draws":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; exchange them")
        if self.distribution == "uniform":
            if self.mean is not None or self.sd is not None:
                raise ValueError("mean and sd are of the normal distribution; leave them out")
        elif self.mean is None or self.sd is None:
            missing = "sd" if self.mean is not None else "mean" if self.sd is not None else "both"
            raise ValueError(f"the normal distribution needs mean and sd (missing: {missing})")
        elif not self.low <= self.mean <= self.high:
            raise ValueError(
                f"mean {self.mean:g} must lie between low {self.low:g} and high {self.high:g}"
            )
        num_found = len(_distinct(self))
        if num_found < self.count:
            raise ValueError(
                f"{self.count:,} different numbers are asked for, and draws to a tenth between "
                f"{self.low:g} and {self.high:g} give {num_found:,}; ask for fewer, or widen them"
            )
        return self

    def value_at(self, index: int) -> float:
        """Return draw ``index``; it need not be below ``count``."""
        share = _uniform(self.seed, index)
        if self.mean is None or self.sd is None:
            value = self.low + share * (self.high - self.low)
        else:
            normal = NormalDist(self.mean, self.sd)
            below, until = normal.cdf(self.low), normal.cdf(self.high)
            share = below + share * (until - below)
            value = normal.inv_cdf(share) if 0 < share < 1 else self.mean
        return min(max(round(value, DRAWN_DECIMALS), self.low), self.high)

    def values(self) -> list[float]:
        """Return the numbers, in the order in which they are drawn."""
        return list(_distinct(self))


@lru_cache(maxsize=10_000)
def _distinct(draws: Draws) -> tuple[float, ...]:
    """Return the first ``count`` different draws; fewer where so many do not come."""
    possible = int((draws.high - draws.low) * 10**DRAWN_DECIMALS + 1e-9) + 2
    found: dict[float, None] = {}
    for index in range(min(draws.count, possible) * _MOST_DRAWS):
        found.setdefault(draws.value_at(index))
        if len(found) == draws.count:
            break
    return tuple(found)


def _uniform(seed: int, index: int) -> float:
    """Return a number in [0, 1) that follows from both."""
    bits = np.random.Philox(key=[seed, STREAM], counter=[0, 0, 0, index])
    return float(bits.random_raw() >> 11) * 2.0**-53


def _form_of_several(value: Any) -> str | None:  # noqa: ANN401  (raw YAML)
    if isinstance(value, Draws) or (isinstance(value, Mapping) and "distribution" in value):
        return branch("Draws")
    return branch("NumberRange") if isinstance(value, Mapping | NumberRange) else None


Several = Annotated[
    Annotated[NumberRange, Tag(branch("NumberRange"))] | Annotated[Draws, Tag(branch("Draws"))],
    Discriminator(_form_of_several),
]


def check_each(values: Sequence[float], *, least: float, most: float, unit: str) -> None:
    """Raise ValueError naming the first value outside ``least`` to ``most``."""
    for value in values:
        if not least <= value <= most:
            raise ValueError(f"gives {value:g} {unit}; allowed are {least:g} to {most:g}")
