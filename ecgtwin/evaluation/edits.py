"""What an edit did to a person's ECG: rhythm, conduction, and whether the person is still there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.identity import cosine_similarity
from ecgtwin.signals.beats import measure

Floats = NDArray[np.floating]
Statistic = Callable[[NDArray[np.float64]], float]

RESAMPLES = 2000
RECOGNISED_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True)
class EditReadings:
    """One value per ECG, NaN where it could not be measured."""

    rr_variation: NDArray[np.float64]  # coefficient of variation of R-R
    qrs_ms: NDArray[np.float64]
    heart_rate_bpm: NDArray[np.float64]


def read_edits(samples_mv: Floats, *, sampling_rate_hz: float) -> EditReadings:
    """Measure (ecg, 12, time) in mV."""
    rows = []
    for ecg_mv in samples_mv:
        found = measure(ecg_mv, sampling_rate_hz=sampling_rate_hz)
        beats_bpm, spread_ms = _number(found.heart_rate_bpm), _number(found.rr_sd_ms)
        rows.append((spread_ms / 1000 * beats_bpm / 60, _number(found.qrs_ms), beats_bpm))
    variation, qrs_ms, rate_bpm = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return EditReadings(variation, qrs_ms, rate_bpm)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def recognised(base_vectors: Floats, reference_vectors: Floats) -> NDArray[np.bool_]:
    """Say for each person whether the ECG is nearer to the own reference than to most others'.

    Both are (person, width) in the same order. Nearer: the cosine to the own reference is above
    the 95th percentile of the cosines to all other persons' references.
    """
    similarity = cosine_similarity(base_vectors, reference_vectors)
    own = np.diagonal(similarity)
    others = similarity[~np.eye(len(similarity), dtype=bool)].reshape(len(similarity), -1)
    above: NDArray[np.bool_] = own > np.percentile(others, RECOGNISED_PERCENTILE, axis=1)
    return above


def with_interval(
    values: NDArray[np.generic], statistic: Statistic | None = None, *, seed: int = 0
) -> dict[str, float | int | None]:
    """Return a statistic (the median) over persons with its 95 % bootstrap interval.

    Persons are resampled (Efron 1979, percentile interval). NaN counts in ``num_missing`` and
    takes no part.
    """
    chosen = statistic or (lambda kept: float(np.median(kept)))
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[np.isfinite(numbers)]
    missing = len(numbers) - len(kept)
    if not len(kept):
        return {"value": None, "low": None, "high": None, "num": 0, "num_missing": missing}
    rng = np.random.default_rng(seed)
    drawn = [chosen(kept[rng.integers(0, len(kept), len(kept))]) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "value": chosen(kept),
        "low": float(low),
        "high": float(high),
        "num": len(kept),
        "num_missing": missing,
    }


def share(holds: NDArray[np.bool_], *, seed: int = 0) -> dict[str, float | int | None]:
    """Return the share of persons for whom something holds, with its 95 % bootstrap interval."""
    return with_interval(holds, lambda kept: float(np.mean(kept)), seed=seed)
