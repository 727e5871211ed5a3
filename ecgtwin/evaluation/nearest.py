"""Are twins new ECGs, or copies of training records?"""

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.figures import reason
from ecgtwin.evaluation.identity import shape_correlation
from ecgtwin.evaluation.readings import Readings

COPY_PERCENTILE = 99.0


def nearest_training(
    twins: Readings, unseen: Readings | None, training: Readings
) -> dict[str, object]:
    """Return how like twins are to their most similar training record, beside unseen records.

    Similarity is the correlation of the median beats of all leads. ``num_too_near`` counts the
    twins that are nearer to a training record than 99 % of the records no training saw.
    """
    if not training.has_shape.any() or not twins.has_shape.any():
        return reason("no training record or no twin has a median beat")
    made = nearest_similarity(twins, training)
    found: dict[str, object] = {
        "twins_median": float(np.median(made)),
        "twins_max": float(made.max()),
        "num_twins": len(made),
        "num_training": int(training.has_shape.sum()),
    }
    if unseen is None or not unseen.has_shape.any():
        return found | reason("there is no record that no training saw")
    real = nearest_similarity(unseen, training)
    limit = float(np.percentile(real, COPY_PERCENTILE))
    too_near = int((made > limit).sum())
    return found | {
        "unseen_median": float(np.median(real)),
        "unseen_p99": limit,
        "num_unseen": len(real),
        "num_too_near": too_near,
        "share_too_near": too_near / len(made),
        "note": f"{too_near} of {len(made)} twins are nearer to a training record (of "
        f"{int(training.has_shape.sum())}) than 99 % of {len(real)} records no training saw; "
        "1 % would be by chance.",
    }


def nearest_similarity(ecgs: Readings, training: Readings) -> NDArray[np.float64]:
    """Return the largest correlation of each ECG that has a median beat with a training record."""
    known = training.shapes_mv[training.has_shape]
    nearest: NDArray[np.float64] = shape_correlation(ecgs.shapes_mv[ecgs.has_shape], known).max(
        axis=1
    )
    return nearest
