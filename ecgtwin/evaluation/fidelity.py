"""Are twins distributed like real ECGs? The Frechet distance over features one can name."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.figures import reason
from ecgtwin.evaluation.readings import QRS_POINTS, Readings
from ecgtwin.signals.leads import INDEPENDENT_LEADS, independent_leads

Floats = NDArray[np.float64]

FEATURES = (
    *(f"{name} {lead}" for name in ("R", "S", "QRS mean", "ST", "T") for lead in INDEPENDENT_LEADS),
    "heart rate",
    "R-R deviation",
    "QRS duration",
    "QT",
)
MIN_ECGS = 2 * len(FEATURES)  # fewer leave the covariance too poorly known
ST_POINTS = 4


@dataclass(frozen=True, slots=True)
class FeatureMoments:
    """Count, sum and sum of outer products of feature rows: all that a mean and covariance need."""

    count: int
    total: Floats  # (feature,)
    outer: Floats  # (feature, feature)

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Self:
        """Return the moments of (ecg, feature)."""
        rows = np.asarray(features, dtype=np.float64)
        return cls(len(rows), rows.sum(axis=0), rows.T @ rows)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.count + other.count, self.total + other.total, self.outer + other.outer
        )

    @property
    def mean(self) -> Floats:
        """The mean (feature,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Floats:
        """The covariance (feature, feature), over ``count - 1``."""
        mean = self.mean
        spread = self.outer - self.count * mean[:, None] * mean[None]
        return spread / max(1, self.count - 1)


def frechet_distance(left: FeatureMoments, right: FeatureMoments) -> float:
    """Return the squared 2-Wasserstein distance of the two Gaussians (Dowson and Landau 1982)."""
    root = _root(left.covariance)
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ right.covariance @ root), 0, None)).sum()
    spread = np.trace(left.covariance) + np.trace(right.covariance) - 2 * shared
    apart = left.mean - right.mean
    return max(0.0, float(apart @ apart + spread))


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root


def features_of(readings: Readings) -> Floats:
    """Return (ecg, feature) in mV, bpm and ms, for the ECGs with a median beat only.

    An interval that could not be measured is NaN.
    """
    kept = readings.has_shape
    shapes = independent_leads(readings.shapes_mv[kept])
    qrs, after = shapes[..., :QRS_POINTS], shapes[..., QRS_POINTS:]
    t_wave = after[..., ST_POINTS:]
    highest = np.abs(t_wave).argmax(axis=-1)[..., None]
    waves = [
        qrs.max(axis=-1),
        qrs.min(axis=-1),
        qrs.mean(axis=-1),
        after[..., :ST_POINTS].mean(axis=-1),
        np.take_along_axis(t_wave, highest, axis=-1)[..., 0],
    ]
    rest = (readings.heart_rate_bpm, readings.rr_sd_ms, readings.qrs_ms, readings.qt_ms)
    features: Floats = np.concatenate(
        [*waves, np.stack([one[kept] for one in rest], axis=1)], axis=1
    )
    return features


def frechet(
    twins: Readings, real: Readings, real_patient: NDArray[np.generic], *, seed: int
) -> dict[str, object]:
    """Return the distance of twins to real ECGs beside that of other real ECGs, both alike.

    The real patients are halved. Twins, and the ECGs of one half, are each compared with the
    other half, with equally many ECGs, because the distance grows as samples get fewer. Features
    are divided by their deviation in the real ECGs.
    """
    real_features, patient = features_of(real), np.asarray(real_patient)[real.has_shape]
    first, second = halves(patient, seed=seed)
    twin_features = features_of(twins)
    num = min(len(twin_features), int(second.sum()))
    if min(num, int(first.sum())) < MIN_ECGS:
        return reason(
            f"{len(twin_features)} twins and {len(real_features)} real ECGs (in two halves) have "
            f"a median beat; {MIN_ECGS} are needed in each group"
        )
    rng = np.random.default_rng(seed)
    groups = [
        real_features[first],
        rng.permutation(real_features[second])[:num],
        rng.permutation(twin_features)[:num],
    ]
    standing, other, made = (
        FeatureMoments.of(_standardised(group, real_features)) for group in groups
    )
    to_real, real_to_real = frechet_distance(standing, made), frechet_distance(standing, other)
    return {
        "twins_to_real": to_real,
        "real_to_real": real_to_real,
        "num_compared": num,
        "num_against": int(first.sum()),
        "num_features": len(FEATURES),
        "note": f"Over {len(FEATURES)} features: amplitudes of the median beat in eight leads, "
        f"rate, R-R deviation, QRS and QT; {num} ECGs each against {int(first.sum())} real ones. "
        "Twins are in the states that were asked for, the real ECGs in those that occurred.",
    }


def halves(
    patient: NDArray[np.generic], *, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two masks over ECGs that part the patients at random into equal halves."""
    names = np.unique(patient)
    chosen = np.random.default_rng(seed).permutation(len(names)) < len(names) // 2
    first = chosen[np.searchsorted(names, patient)]
    return first, ~first


def _standardised(features: Floats, real: Floats) -> Floats:
    """Return features in real standard deviations; one that is missing takes the real mean."""
    mean, deviation = np.nanmean(real, axis=0), np.nanstd(real, axis=0)
    scaled = (features - mean) / np.where(deviation > 0, deviation, 1)
    filled: Floats = np.nan_to_num(scaled, nan=0.0)
    return filled
