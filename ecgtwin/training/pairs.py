"""Two recordings of one person, the person drawn first: who has many visits counts no more."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SourceError

WORDS_PER_PAIR = 4  # patient, reference, target, unused: one Philox block each
STREAM = 0x7061697273  # "pairs": keeps this stream apart from others of the same seed


class Pairs(NamedTuple):
    """Rows of the two members, each (num,) int64; ``is_single`` marks a row paired with itself."""

    reference_rows: NDArray[np.int64]
    target_rows: NDArray[np.int64]
    is_single: NDArray[np.bool_]


class PairSampler:
    """Draw pairs of rows. A pair is a function of (seed, step, index in the batch) only.

    ``patient_of_row`` names the patient of each row; ``weights`` (by patient) replaces the uniform
    choice of the patient.
    """

    def __init__(
        self,
        patient_of_row: Sequence[str],
        *,
        seed: int,
        weights: dict[str, float] | None = None,
    ) -> None:
        rows_of: dict[str, list[int]] = {}
        for row, patient in enumerate(patient_of_row):
            rows_of.setdefault(patient, []).append(row)
        self.seed = seed
        self._every = _Patients(rows_of, weights)
        several = {patient: rows for patient, rows in rows_of.items() if len(rows) > 1}
        self._several = _Patients(several, weights)

    def pairs_at(
        self,
        step: int,
        num: int,
        start: int = 0,
        stop: int | None = None,
        *,
        allow_single: bool = False,
    ) -> Pairs:
        """Return pairs ``start`` to ``stop`` of the ``num`` pairs of ``step``.

        Patients with one row are left out, or with ``allow_single`` paired with themselves and
        marked. Raise SourceError when no patient is left to draw.
        """
        patients = self._every if allow_single else self._several
        if not patients.counts.size:
            raise SourceError(
                "no patient has two recordings to pair; train on a corpus with repeated visits"
            )
        bits = np.random.Philox(key=[self.seed, STREAM], counter=[0, 0, step, 0])
        bits.advance(start)
        count = (num if stop is None else stop) - start
        words = bits.random_raw(count * WORDS_PER_PAIR).reshape(count, WORDS_PER_PAIR)
        uniform: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return patients.draw(uniform)


class _Patients:
    """The rows of each patient, flat, so that a batch is drawn without a Python loop."""

    def __init__(self, rows_of: dict[str, list[int]], weights: dict[str, float] | None) -> None:
        self.rows = np.array([row for rows in rows_of.values() for row in rows], np.int64)
        self.counts = np.array([len(rows) for rows in rows_of.values()], np.int64)
        self.starts = np.cumsum(self.counts) - self.counts
        shares = np.array([1.0 if weights is None else weights[name] for name in rows_of])
        self.cumulative = np.cumsum(shares) / shares.sum() if shares.size else shares

    def draw(self, uniform: NDArray[np.float64]) -> Pairs:
        """Turn (num, >= 3) numbers in [0, 1) into pairs."""
        patient = np.searchsorted(self.cumulative, uniform[:, 0], side="right")
        patient = np.minimum(patient, len(self.counts) - 1)
        counts = self.counts[patient]
        reference = (uniform[:, 1] * counts).astype(np.int64)
        other = (uniform[:, 2] * (counts - 1)).astype(np.int64)
        target = other + (other >= reference)
        is_single = counts == 1
        target[is_single] = 0
        starts = self.starts[patient]
        return Pairs(self.rows[starts + reference], self.rows[starts + target], is_single)
