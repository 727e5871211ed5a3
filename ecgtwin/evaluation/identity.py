"""Does a twin look like its own person rather than like another?"""

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.figures import reason
from ecgtwin.twin.retrieval import auroc

Floats = NDArray[np.floating]


def cosine_similarity(left: Floats, right: Floats) -> NDArray[np.float64]:
    """Return (left, right) cosines between the rows of two matrices; NaN for a row of zeros."""
    with np.errstate(invalid="ignore", divide="ignore"):
        units = [
            np.asarray(rows, dtype=np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
            for rows in (left, right)
        ]
    similarity: NDArray[np.float64] = units[0] @ units[1].T
    return similarity


def shape_correlation(left_mv: Floats, right_mv: Floats) -> NDArray[np.float64]:
    """Return (left, right) correlations between beats (ecg, lead, point), all leads together.

    The leads keep their sizes relative to each other; each lead's own mean is taken out.
    """
    flat = [
        (beats - beats.mean(axis=2, keepdims=True)).reshape(
            len(beats), beats.shape[1] * beats.shape[2]
        )
        for beats in (left_mv, right_mv)
    ]
    return cosine_similarity(flat[0], flat[1])


def own_against_others(similarity: Floats, own: NDArray[np.integer]) -> dict[str, object]:
    """Return how well (ecg, person) similarities find ``own``, the person of each ECG.

    ``auroc``: the chance that a similarity to the own person is above one to another, over all
    pairs. ``recall_at_1``: how often the most similar person is the own one (a tie is a miss).
    Rows and columns with NaN are left out.
    """
    persons = np.asarray(np.isfinite(similarity).any(axis=0))
    rows = np.asarray(np.isfinite(similarity[:, persons]).all(axis=1)) & persons[own]
    if not rows.any() or persons.sum() < 2:
        return reason(
            f"{int(rows.sum())} ECGs and {int(persons.sum())} persons could be compared; "
            "at least one ECG and two persons are needed"
        )
    is_own = np.arange(similarity.shape[1])[None] == own[rows, None]
    kept, is_own = similarity[rows][:, persons], is_own[:, persons]
    mine, others = kept[is_own], kept[~is_own].reshape(len(kept), -1)
    return {
        "auroc": auroc(mine, others.ravel()),
        "mean_own": float(mine.mean()),
        "mean_others": float(others.mean()),
        "recall_at_1": float((mine > others.max(axis=1)).mean()),
        "chance_recall_at_1": float(1 / kept.shape[1]),
        "num_ecgs": len(kept),
        "num_persons": int(kept.shape[1]),
    }


def beside_real(twins: dict[str, object], real: dict[str, object]) -> dict[str, object]:
    """Return the figures of twins with those of real visits under ``real_``."""
    joined = {**twins, **{f"real_{name}": value for name, value in real.items()}}
    if "reason" in real and "reason" not in twins:
        joined["reason"] = f"real visits: {real['reason']}"
    return joined
