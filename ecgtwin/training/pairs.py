"""Two recordings of one person, the person drawn first: who has many visits counts no more.

No pair is kept anywhere: pair ``index`` of step ``step`` follows from (seed, step, index).
Axes: P person, U unit (a recording, or one of its windows), R row, N pair.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SourceError
from ecgtwin.spec.pairs import PairSpec

WORDS_PER_PAIR = 4  # patient, reference, target, unused: one Philox block each
STREAM = 0x7061697273  # "pairs": keeps this stream apart from others of the same seed

Indices = NDArray[np.int64]


class Pairs(NamedTuple):
    """Rows of the two members, each (N,) int64; ``is_single`` marks a row paired with itself."""

    reference_rows: Indices
    target_rows: Indices
    is_single: NDArray[np.bool_]


class PairSampler:
    """Draw pairs of rows. A pair is a function of (seed, step, index in the batch) only.

    ``person_of_row`` names the person of each row; ``recording_of_row`` the recording that it is a
    window of (None: every row is a recording), names may repeat among persons; ``class_of_row``
    what must or must not agree in a pair (needed unless ``spec.same_condition`` is ``allow``). The
    windows of a recording are of the class of its first.
    """

    def __init__(
        self,
        person_of_row: Sequence[str],
        *,
        seed: int,
        spec: PairSpec = PairSpec(),  # noqa: B008  (frozen)
        recording_of_row: Sequence[str] | None = None,
        class_of_row: Sequence[Hashable] | None = None,
    ) -> None:
        self.seed = seed
        person = _codes(person_of_row)
        unit = np.arange(len(person))
        if recording_of_row is not None and spec.same_recording == "avoid":
            unit = _codes(zip(person.tolist(), recording_of_row, strict=True))
        kind = np.zeros(len(person), np.int64)
        if spec.same_condition != "allow":
            if class_of_row is None:
                raise ValueError(f"same_condition {spec.same_condition!r} needs class_of_row")
            kind = _codes(class_of_row)
        self._every = _Units.of(person, unit, kind, spec)
        self._several = self._every.paired(spec)

    @property
    def num_persons(self) -> int:
        """How many persons have a pair."""
        return len(self._several.counts_P)

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

        Recordings without a partner are left out, or with ``allow_single`` paired with themselves
        and marked. Raise SourceError when nobody is left to draw.
        """
        units = self._every if allow_single else self._several
        if not units.counts_P.size:
            raise SourceError(
                "no patient has two recordings to pair; train on a corpus with repeated visits"
                + ("" if not self._every.counts_P.size else ", or with another policy of pairs")
            )
        bits = np.random.Philox(key=[self.seed, STREAM], counter=[0, 0, step, 0])
        bits.advance(start)
        count = (num if stop is None else stop) - start
        words = bits.random_raw(count * WORDS_PER_PAIR).reshape(count, WORDS_PER_PAIR)
        uniform: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return units.draw(uniform)


class _Units(NamedTuple):
    """The recordings of each person, flat, so that a batch is drawn without a Python loop.

    The partners of a unit are an interval of units less an interval inside it (its own recording,
    or its own class): units of a person stand together, and where it matters those of a class.
    """

    rows_R: Indices  # rows, unit after unit
    first_row_U: Indices  # where the rows of a unit begin in rows_R
    num_rows_U: Indices
    pool_start_U: Indices  # units among which the partner is drawn ...
    num_partners_U: Indices
    left_out_start_U: Indices  # ... less these
    num_left_out_U: Indices
    starts_P: Indices
    counts_P: Indices
    cumulative_P: NDArray[np.float64]

    @classmethod
    def of(cls, person: Indices, unit: Indices, kind: Indices, spec: PairSpec) -> Self:
        """Sort rows into units and units into persons; codes count in order of appearance."""
        rows = np.argsort(unit, kind="stable")
        num_rows = np.bincount(unit, minlength=int(unit.max(initial=-1)) + 1)
        first_row = np.cumsum(num_rows) - num_rows
        first = rows[first_row]
        person, kind = person[first], kind[first]
        # lexsort is stable: with one class only, units keep the order of their appearance
        order = np.lexsort((kind, person))
        person, kind = person[order], kind[order]
        starts, counts = _runs(person)
        class_starts, class_counts = _runs(person, kind)
        own, one = np.arange(len(order)), np.ones(len(order), np.int64)
        of_person = np.repeat(np.arange(len(counts)), counts)
        pool_start, pool_count = starts[of_person], counts[of_person]
        left_out_start, left_out_count = own, one
        if spec.same_condition != "allow":
            of_class = np.repeat(np.arange(len(class_counts)), class_counts)
            own_start, own_count = class_starts[of_class], class_counts[of_class]
            if spec.same_condition == "require":
                pool_start, pool_count = own_start, own_count
            else:
                has_other = own_count < pool_count
                left_out_start = np.where(has_other, own_start, own)
                left_out_count = np.where(has_other, own_count, one)
        return cls(
            rows,
            first_row[order],
            num_rows[order],
            pool_start,
            pool_count - left_out_count,
            left_out_start,
            left_out_count,
            starts,
            counts,
            _cumulative(counts, spec),
        )

    def paired(self, spec: PairSpec) -> Self:
        """Return the same without the units that have no partner.

        Whole pools are left out, never a part of one, so that the rest only moves.
        """
        keeps = self.num_partners_U > 0
        moved: Indices = np.cumsum(keeps) - keeps
        of_person = np.repeat(np.arange(len(self.counts_P)), self.counts_P)
        counts = np.bincount(of_person[keeps], minlength=len(self.counts_P))
        counts = counts[counts > 0]
        return self._replace(
            first_row_U=self.first_row_U[keeps],
            num_rows_U=self.num_rows_U[keeps],
            pool_start_U=moved[self.pool_start_U[keeps]],
            num_partners_U=self.num_partners_U[keeps],
            left_out_start_U=moved[self.left_out_start_U[keeps]],
            num_left_out_U=self.num_left_out_U[keeps],
            starts_P=np.cumsum(counts) - counts,
            counts_P=counts,
            cumulative_P=_cumulative(counts, spec),
        )

    def draw(self, uniform: NDArray[np.float64]) -> Pairs:
        """Turn (N, >= 3) numbers in [0, 1) into pairs."""
        person = np.searchsorted(self.cumulative_P, uniform[:, 0], side="right")
        person = np.minimum(person, len(self.counts_P) - 1)
        place, reference_rest = _scaled(uniform[:, 1], self.counts_P[person])
        reference = self.starts_P[person] + place
        place, target_rest = _scaled(uniform[:, 2], self.num_partners_U[reference])
        target = self.pool_start_U[reference] + place
        passes = target >= self.left_out_start_U[reference]
        target += passes * self.num_left_out_U[reference]
        reference_rows = self._window(reference, reference_rest)
        is_single = self.num_partners_U[reference] == 0
        target_rows = reference_rows.copy()
        paired = ~is_single
        target_rows[paired] = self._window(target[paired], target_rest[paired])
        return Pairs(reference_rows, target_rows, is_single)

    def _window(self, units: Indices, rest: NDArray[np.float64]) -> Indices:
        """Return a row of each unit, by what was left of the number that chose the unit."""
        place, _ = _scaled(rest, self.num_rows_U[units])
        rows: Indices = self.rows_R[self.first_row_U[units] + place]
        return rows


def _codes(names: Iterable[Hashable]) -> Indices:
    """Return a number for each name, counted in order of first appearance."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)


def _runs(*keys: Indices) -> tuple[Indices, Indices]:
    """Return where the runs of equal keys begin and how long they are."""
    if not keys[0].size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    differs = np.zeros(len(keys[0]), bool)
    differs[0] = True
    for key in keys:
        differs[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(differs)
    return starts, np.diff(starts, append=len(differs))


def _cumulative(counts_P: Indices, spec: PairSpec) -> NDArray[np.float64]:
    shares = counts_P.astype(np.float64) ** spec.patient_weight_exponent
    return np.cumsum(shares) / shares.sum() if shares.size else shares


def _scaled(uniform: NDArray[np.float64], counts: Indices) -> tuple[Indices, NDArray[np.float64]]:
    """Return a place below each count, and what is left of the number, again in [0, 1)."""
    scaled = uniform * counts
    place = scaled.astype(np.int64)
    return place, scaled - place
