"""Does a twin beat at the rate it was asked for? With two controls."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ecgtwin.evaluation.figures import finite, reason, share

Floats = NDArray[np.floating]


def heart_rate_fidelity(
    requested_bpm: Floats, measured_bpm: Floats, reference_bpm: Floats
) -> dict[str, object]:
    """Return the errors of twins (twin,), the measured rate NaN where no R peaks were found.

    ``reference_bpm`` is the measured rate of each twin's reference. The first control is the mean
    error over *all* permutations of the requests, which is the mean over all pairs; the second
    gives each twin's request to the reference returned unchanged. Both are over the twins with R
    peaks, so that each share compares like with like.
    """
    asked = np.isfinite(requested_bpm)
    if not asked.any():
        return reason("no heart rate was requested")
    both = asked & np.isfinite(measured_bpm)
    wanted, got = requested_bpm[both], measured_bpm[both]
    error = float(np.abs(wanted - got).mean()) if len(got) else None
    shuffled = float(np.abs(wanted[:, None] - got[None]).mean()) if len(got) else None
    known = np.isfinite(reference_bpm[both])
    unchanged = np.abs(wanted - reference_bpm[both])[known]
    reference_error = float(unchanged.mean()) if len(unchanged) else None
    found: dict[str, object] = {
        "num_requested": int(asked.sum()),
        "num_measured": int(both.sum()),
        "share_measured": float(both.sum() / asked.sum()),
        "mean_absolute_error_bpm": error,
        "median_absolute_error_bpm": finite(np.median(np.abs(wanted - got))) if len(got) else None,
        "spearman": rank_correlation(wanted, got),
        "shuffled_error_bpm": shuffled,
        "share_of_shuffled_error": share(error, shuffled),
        "reference_error_bpm": reference_error,
        "share_of_reference_error": share(error, reference_error),
    }
    if not len(got):
        found["reason"] = "no R peaks were found in any twin"
    elif found["spearman"] is None:
        found["reason"] = "fewer than three twins, or all rates alike"
    return found


def rank_correlation(wanted: Floats, got: Floats) -> float | None:
    """Return Spearman's coefficient; None for fewer than three or for constant values."""
    if len(wanted) < 3 or np.ptp(wanted) == 0 or np.ptp(got) == 0:
        return None
    return float(np.corrcoef(stats.rankdata(wanted), stats.rankdata(got))[0, 1])
