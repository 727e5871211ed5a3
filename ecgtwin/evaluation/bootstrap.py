"""Figures with bootstrap intervals over persons, and differences of two on the same persons.

Axes: R resample (the first is the sample itself), P person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.figures import finite

Floats = NDArray[np.float64]

NUM_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles (Efron 1979)


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A figure of the persons at hand, and the same of persons drawn anew from them: (R,)."""

    values_R: Floats

    @classmethod
    def mean_of(cls, figures: Sequence[Self]) -> Self:
        """Return the mean of several figures on the same persons; what is NaN takes no part."""
        stacked = np.stack([figure.values_R for figure in figures])
        known = np.isfinite(stacked)
        total = np.where(known, stacked, 0).sum(axis=0)
        return cls(np.divide(total, known.sum(axis=0), where=known.any(axis=0), out=_nan(total)))

    @property
    def value(self) -> float:
        """The figure of the persons at hand."""
        return float(self.values_R[0])

    def __sub__(self, other: Self) -> Self:
        """Return the difference, resample by resample: both must be of the same ``weights``."""
        return type(self)(self.values_R - other.values_R)

    def figures(self) -> dict[str, float | None]:
        """Return ``value``, and ``low`` and ``high`` of its 95 % interval; None where unknown."""
        drawn = self.values_R[1:][np.isfinite(self.values_R[1:])]
        low, high = np.percentile(drawn, INTERVAL) if len(drawn) else (np.nan, np.nan)
        return {"value": finite(self.value), "low": finite(low), "high": finite(high)}


def person_weights(
    num_persons: int, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Floats:
    """Return how often each person stands in each resample (R, P); the first has each once."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(num_persons, np.full(num_persons, 1 / num_persons), num_resamples)
    return np.concatenate([np.ones((1, num_persons)), drawn])


def mean_over_persons(values_P: NDArray[np.floating], weights_RP: Floats) -> Resampled:
    """Return the mean of one value per person."""
    return Resampled(weights_RP @ np.asarray(values_P, np.float64) / weights_RP.sum(axis=1))


def weighted_auroc(
    positive: NDArray[np.floating],
    negative: NDArray[np.floating],
    positive_weights: Floats,
    negative_weights: Floats,
) -> Resampled:
    """Return the chance that a positive score is above a negative one; ties count half.

    Weights are (R, positive) and (R, negative). NaN in resamples that have none of either.
    """
    order = np.argsort(negative, kind="stable")
    ranked = np.asarray(negative)[order]
    below = np.concatenate(
        [np.zeros((len(negative_weights), 1)), negative_weights[:, order].cumsum(axis=1)], axis=1
    )
    sides = [np.searchsorted(ranked, positive, side=side) for side in ("left", "right")]
    beaten = (below[:, sides[0]] + below[:, sides[1]]) / 2
    pairs = positive_weights.sum(axis=1) * below[:, -1]
    above = (positive_weights * beaten).sum(axis=1)
    return Resampled(np.divide(above, pairs, where=pairs > 0, out=_nan(above)))


def _nan(like: Floats) -> Floats:
    return np.full(like.shape, np.nan)
