"""Is a person found among strangers by another recording, taken in another state?

Axes: N recording, P person, Q person asked for, G person in the gallery, S stranger, R resample.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.bootstrap import (
    Resampled,
    mean_over_persons,
    person_weights,
)
from ecgtwin.evaluation.figures import reason
from ecgtwin.evaluation.identity import cosine_similarity

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RECALL_AT = (1, 10)


@dataclass(frozen=True, slots=True)
class Recordings:
    """Base vectors (N, width), each recording's person and state.

    Persons are asked for where they have two recordings of different states, with
    ``different_states`` off wherever they have two. ``is_stranger_N`` marks recordings that stand
    in the gallery only.
    """

    vectors: NDArray[np.floating]
    persons: Sequence[str]
    states: Sequence[Hashable]
    is_stranger_N: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """``figures``: recall_at_1, recall_at_10, mean_rank and auroc, each over persons asked for.

    ``counts``: ``num_persons`` asked for, ``num_strangers`` each stands among, ``num_draws``.
    """

    figures: dict[str, Resampled]
    counts: dict[str, int]

    def described(self) -> dict[str, object]:
        """Return figures with intervals and counts; a reason where nobody can be asked for."""
        if not self.figures:
            return {
                **self.counts,
                **reason("two persons, one with two such recordings, are needed"),
            }
        chance = {
            f"chance_recall_at_{place}": min(1.0, place / (self.counts["num_strangers"] + 1))
            for place in RECALL_AT
        }
        return {
            **self.counts,
            **{name: figure.figures() for name, figure in self.figures.items()},
            **chance,
        }


def retrieve(
    recordings: Recordings,
    *,
    different_states: bool,
    num_strangers: int,
    num_draws: int,
    seed: int = 0,
) -> Retrieval:
    """Ask for every person among ``num_strangers`` others, or all where there are fewer.

    Each draw takes one recording of every person into the gallery, another one of each person
    asked for as the query, and each query's strangers at random; figures are means over draws.
    Draws and resamples follow from persons, states and ``seed``, not from the vectors.
    """
    pairings = _Pairings.of(recordings, different_states=different_states)
    asked, num_gallery = pairings.asked, len(pairings.rows_of)
    counts = {
        "num_persons": len(asked),
        "num_strangers": min(num_strangers, num_gallery - 1),
        "num_draws": num_draws,
    }
    if not len(asked) or num_gallery < 2:
        return Retrieval({}, counts)
    rng = np.random.default_rng(seed)
    ranks, above = [], []
    for _ in range(num_draws):
        query_rows, gallery_rows = pairings.draw(rng)
        similarity = cosine_similarity(
            recordings.vectors[query_rows], recordings.vectors[gallery_rows]
        )
        own_Q, strangers_QS = _parted(similarity, asked, counts["num_strangers"], rng)
        ranks.append(ranks_among(own_Q, strangers_QS))
        above.append(shares_above(own_Q, strangers_QS))
    weights_RQ = person_weights(len(asked), seed=seed)
    rank_DQ = np.stack(ranks)
    recalls = {
        f"recall_at_{place}": mean_over_persons((rank_DQ <= place).mean(axis=0), weights_RQ)
        for place in RECALL_AT
    }
    mean_rank = mean_over_persons(rank_DQ.mean(axis=0), weights_RQ)
    auroc = pooled_auroc(np.mean(above, axis=0), weights_RQ)
    return Retrieval({**recalls, "mean_rank": mean_rank, "auroc": auroc}, counts)


def ranks_among(own_Q: Floats, strangers_QS: Floats) -> Integers:
    """Return the place of the own similarity among the strangers', from 1; it loses every tie."""
    ranks: Integers = 1 + (strangers_QS >= own_Q[:, None]).sum(axis=1)
    return ranks


def shares_above(own_Q: Floats, strangers_QS: Floats) -> Floats:
    """Return (Q, Q): the share of the second query's strangers that the first's own is above.

    Ties count half, so that the mean is the AUROC of same against different persons.
    """
    num = strangers_QS.shape[1]
    shares = np.empty((len(own_Q), len(own_Q)))
    for place, others in enumerate(np.sort(strangers_QS, axis=1)):
        sides = [np.searchsorted(others, own_Q, side=side) for side in ("left", "right")]
        shares[:, place] = (sides[0] + sides[1]) / (2 * num)
    return shares


def pooled_auroc(shares_QQ: Floats, weights_RQ: Floats) -> Resampled:
    """Return the AUROC over all pairs, from ``shares_above``, of persons drawn anew."""
    total_R = weights_RQ.sum(axis=1)
    return Resampled(((weights_RQ @ shares_QQ) * weights_RQ).sum(axis=1) / total_R**2)


def _parted(
    similarity_QG: Floats, asked: Integers, num_strangers: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the similarity to the own recording (Q,), and to chosen strangers' (Q, S)."""
    rows = np.arange(len(asked))
    keys = rng.random(similarity_QG.shape)
    keys[rows, asked] = np.inf
    chosen_QS = np.argsort(keys, axis=1)[:, :num_strangers]
    return similarity_QG[rows, asked], np.take_along_axis(similarity_QG, chosen_QS, axis=1)


@dataclass(frozen=True, slots=True)
class _Pairings:
    """For each person its rows, and (query, gallery) rows that may be asked for, perhaps none."""

    rows_of: list[Integers]
    pairs_of: list[Integers]
    asked: Integers  # persons that have pairs

    @classmethod
    def of(cls, recordings: Recordings, *, different_states: bool) -> "_Pairings":
        by_person: dict[str, list[int]] = {}
        for row, person in enumerate(recordings.persons):
            by_person.setdefault(person, []).append(row)
        states, stranger = recordings.states, recordings.is_stranger_N
        pairs = [
            [
                (query, own)
                for query in rows
                for own in rows
                if query != own and not (different_states and states[query] == states[own])
            ]
            if stranger is None or not stranger[rows].any()
            else []
            for rows in by_person.values()
        ]
        return cls(
            [np.array(rows, np.int64) for rows in by_person.values()],
            [np.array(some, np.int64).reshape(-1, 2) for some in pairs],
            np.array([place for place, some in enumerate(pairs) if some], np.int64),
        )

    def draw(self, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """Return a row for each person asked for (Q,), and one for every person (G,)."""
        gallery = np.array([rows[rng.integers(len(rows))] for rows in self.rows_of])
        pairs_of = [self.pairs_of[place] for place in self.asked]
        chosen = [pairs[rng.integers(len(pairs))] for pairs in pairs_of]
        query, gallery[self.asked] = np.array(chosen, np.int64).T
        return query, gallery
