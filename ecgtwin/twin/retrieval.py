"""Does a base vector find its own person among others? Axes: Q query, W width."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How queries find their own recording in a gallery of one recording a person.

    ``recall_at_k``: how often the own is among the k most similar (a tie counts against it).
    ``auroc``: the chance that a similarity to the own is above one to another, over all pairs.
    """

    recall_at_1: float
    recall_at_10: float
    auroc: float
    num_persons: int

    def values(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def ranks_of_own(similarity_QQ: Floats) -> NDArray[np.int64]:
    """Return (Q,): the place of each query's own, from 1, where entry (q, q) is the own."""
    own_Q = np.diagonal(similarity_QQ)
    ranks: NDArray[np.int64] = (similarity_QQ >= own_Q[:, None]).sum(axis=1)
    return ranks


def retrieve(query_QW: Floats, gallery_QW: Floats) -> Retrieval:
    """Return how row q of ``query_QW`` finds row q of ``gallery_QW`` by cosine; two at least."""
    queries, gallery = (
        np.asarray(rows, np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (query_QW, gallery_QW)
    )
    similarity = queries @ gallery.T
    ranks = ranks_of_own(similarity)
    is_own = np.eye(len(similarity), dtype=bool)
    chance = auroc(similarity[is_own], similarity[~is_own])
    return Retrieval(
        float((ranks <= 1).mean()),
        float((ranks <= 10).mean()),
        float("nan") if chance is None else chance,
        len(similarity),
    )


def auroc(positive: Floats, negative: Floats) -> float | None:
    """Return the chance that a positive score is above a negative one; ties count half."""
    if not len(positive) or not len(negative):
        return None
    others = np.sort(negative)
    below = np.searchsorted(others, positive, side="left")
    not_above = np.searchsorted(others, positive, side="right")
    return float((below + not_above).mean() / (2 * len(others)))
