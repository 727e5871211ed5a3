"""What a linear model reads off base vectors: statements and rates, which they should not tell.

Axes: N recording, D width, T target, H halving, P person, R resample.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.bootstrap import Resampled, person_weights, weighted_auroc
from ecgtwin.evaluation.fidelity import halves
from ecgtwin.evaluation.figures import reason

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Halving = tuple[Bools, Bools]  # recordings to train on, and to test on

PENALTIES = 10.0 ** np.arange(-4, 3)  # per recording, of standardised vectors
LEAST_FREEDOM = 1e-9  # of a recording's own residual, where there are fewer than dimensions
MIN_PERSONS = 10  # with a statement, and without it
NUM_HALVINGS = 10
CHANCE_AUROC = 0.5


@dataclass(frozen=True, slots=True)
class Probe:
    """AUROC by statement, and R^2 of the heart rate (None where fewer than MIN_PERSONS have one).

    ``num_with`` counts the recordings with each statement.
    """

    statements: dict[str, Resampled]
    heart_rate_r2: Resampled | None
    num_with: dict[str, int]
    num_recordings: int
    num_persons: int

    @property
    def macro_auroc(self) -> Resampled | None:
        """The mean over statements; None where none is frequent."""
        return Resampled.mean_of(list(self.statements.values())) if self.statements else None

    def described(self) -> dict[str, object]:
        """Return figures with intervals, counts, and how far the mean is above chance."""
        macro, rate = self.macro_auroc, self.heart_rate_r2
        absent = reason(f"fewer than {MIN_PERSONS} persons")
        return {
            "num_recordings": self.num_recordings,
            "num_persons": self.num_persons,
            "num_statements": len(self.statements),
            "macro_auroc": absent if macro is None else macro.figures(),
            "macro_above_chance": None if macro is None else macro.value - CHANCE_AUROC,
            "heart_rate_r2": absent if rate is None else rate.figures(),
            "statements": {
                name: {"num_with": self.num_with[name], "auroc": figure.figures()}
                for name, figure in self.statements.items()
            },
        }


def probe(
    vectors: NDArray[np.floating],
    persons: Sequence[str],
    statements: Sequence[AbstractSet[str]],
    heart_rate_bpm: NDArray[np.floating],
    *,
    num_halvings: int = NUM_HALVINGS,
    seed: int = 0,
) -> Probe:
    """Fit ridge regressions on half of the persons, ask them of the other half.

    Figures are means over ``num_halvings`` random halvings, which follow from persons and ``seed``,
    as the resamples do. A rate that is NaN takes no part.
    """
    codes, person = np.unique(np.asarray(persons), return_inverse=True)
    weights_RN = person_weights(len(codes), seed=seed)[:, person]
    parts = [halves(person, seed=seed + halving) for halving in range(num_halvings)]
    frequent = _frequent(statements, person)
    present_NT = np.array([[name in one for name in frequent] for one in statements], dtype=bool)
    found = _aurocs(vectors, present_NT, parts, weights_RN)
    has_rate = np.isfinite(heart_rate_bpm)
    rate = None
    if len(np.unique(person[has_rate])) >= MIN_PERSONS:
        rate = _rate_r2(vectors, heart_rate_bpm, has_rate, parts, weights_RN)
    named = zip(frequent, found, strict=True)
    return Probe(
        {name: figure for name, figure in named if figure is not None},
        rate,
        dict(zip(frequent, present_NT.sum(axis=0).tolist(), strict=True)) if frequent else {},
        len(person),
        len(codes),
    )


def _aurocs(
    vectors: NDArray[np.floating], present_NT: Bools, parts: Sequence[Halving], weights_RN: Floats
) -> list[Resampled | None]:
    """Return each statement's AUROC; None where no half of the persons has it and lacks it."""
    figures: list[list[Resampled]] = [[] for _ in range(present_NT.shape[1])]
    for trains, tests in parts if figures else ():
        scores = ridge_scores(vectors[trains], present_NT[trains], vectors)
        for place, own in enumerate(figures):
            is_with = present_NT[:, place]
            if 0 < is_with[trains].sum() < trains.sum():
                chosen = tests & is_with, tests & ~is_with
                own.append(
                    weighted_auroc(
                        *(scores[rows, place] for rows in chosen),
                        *(weights_RN[:, rows] for rows in chosen),
                    )
                )
    return [Resampled.mean_of(own) if own else None for own in figures]


def _rate_r2(
    vectors: NDArray[np.floating],
    heart_rate_bpm: NDArray[np.floating],
    has_rate: Bools,
    parts: Sequence[Halving],
    weights_RN: Floats,
) -> Resampled:
    """Return one less the share of the variance of the rate that is left over."""
    figures = []
    for trains, tests in parts:
        known, tested = trains & has_rate, tests & has_rate
        told = ridge_scores(vectors[known], heart_rate_bpm[known, None], vectors[tested])[:, 0]
        weights, wanted = weights_RN[:, tested], heart_rate_bpm[tested].astype(np.float64)
        total = weights.sum(axis=1)
        spread = weights @ wanted**2 / total - (weights @ wanted / total) ** 2
        left = weights @ (wanted - told) ** 2 / total
        figures.append(Resampled(1 - left / np.where(spread > 0, spread, np.nan)))
    return Resampled.mean_of(figures)


def ridge_scores(
    train_ND: NDArray[np.floating], train_NT: NDArray[np.generic], vectors_ND: NDArray[np.floating]
) -> Floats:
    """Return what ridge regression makes of ``vectors_ND``: (N, T).

    The penalty of each target is that of PENALTIES with the least leave-one-out error on the
    training rows (Allen 1974, PRESS). Vectors are standardised by the training rows.
    """
    mean, deviation = train_ND.mean(axis=0), train_ND.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    given, asked = (train_ND - mean) / scale, (vectors_ND - mean) / scale
    wanted = np.asarray(train_NT, np.float64)
    level_T = wanted.mean(axis=0)
    left, singular, right = np.linalg.svd(given, full_matrices=False)
    projected = left.T @ (wanted - level_T)
    best_T = np.full(wanted.shape[1], np.inf)
    weights_DT = np.zeros((given.shape[1], wanted.shape[1]))
    for penalty in PENALTIES * len(given):
        kept = singular**2 / (singular**2 + penalty)
        residual = wanted - level_T - (left * kept) @ projected
        freedom = 1 - 1 / len(given) - (left**2 * kept).sum(axis=1)
        press_T = ((residual / np.maximum(freedom, LEAST_FREEDOM)[:, None]) ** 2).sum(axis=0)
        better = press_T < best_T
        shrunk = singular / (singular**2 + penalty)
        weights_DT[:, better] = ((right.T * shrunk) @ projected)[:, better]
        best_T = np.minimum(best_T, press_T)
    scores: Floats = asked @ weights_DT + level_T
    return scores


def _frequent(statements: Sequence[AbstractSet[str]], person: NDArray[np.integer]) -> list[str]:
    """Return the statements that MIN_PERSONS persons have and MIN_PERSONS lack, by name."""
    num_persons = len(np.unique(person))
    persons_with: dict[str, set[int]] = {}
    for own, number in zip(statements, person.tolist(), strict=True):
        for name in own:
            persons_with.setdefault(name, set()).add(number)
    return sorted(
        name
        for name, some in persons_with.items()
        if MIN_PERSONS <= len(some) <= num_persons - MIN_PERSONS
    )
