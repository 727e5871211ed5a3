"""Row -> (patient, state, replicate) and back, by arithmetic on what constraints admit.

Of every patient in every admitted state, or of strata with target counts. Nothing is held per row.
Axes: N patient, K class, C state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.admission import Admission
from ecgtwin.generation.permutation import KeyedPermutation

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
_CACHED_BYTES = 1 << 26  # of who may be drawn in a state
_CACHED_ORDERS = 1 << 12


class Sample(NamedTuple):
    """Which patient, in which state, for which time; numbers of the plan's tables."""

    patient: int
    state: int
    replicate: int


class PlanRows(Protocol):
    """The rows of a cohort."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        ...

    def sample_at(self, row: int) -> Sample:
        """Return what stands at ``row``, below ``num_rows``."""
        ...

    def row_of(self, sample: Sample) -> int | None:
        """Return the row of a sample; None where the cohort has no such."""
        ...

    def rows_of_patients(self) -> Integers:
        """Return the number of rows of each patient (N,)."""
        ...

    def rows_of_states(self) -> Integers:
        """Return the number of rows of each state (C,)."""
        ...


@dataclass(frozen=True)
class ProductRows:
    """Patients slowest, then the states that each may be drawn in, replicates fastest."""

    admission: Admission
    replicates: int

    @cached_property
    def _first_N(self) -> Integers:
        """Where the rows of each patient begin, counted in states; one more for the end."""
        num_N = self.admission.num_states_K[self.admission.class_N]
        return np.concatenate([[0], np.cumsum(num_N)])

    @cached_property
    def num_rows(self) -> int:
        """How many rows there are."""
        per_class = self.admission.num_states_K * self.admission.size_K
        return int(per_class.sum()) * self.replicates

    def sample_at(self, row: int) -> Sample:
        """Return what stands at ``row``."""
        place, replicate = divmod(row, self.replicates)
        patient = int(self._first_N.searchsorted(place, side="right")) - 1
        admitted_C = self.admission.is_admitted_KC[self.admission.class_N[patient]]
        nth = place - int(self._first_N[patient])
        return Sample(patient, int(admitted_C.nonzero()[0][nth]), replicate)

    def row_of(self, sample: Sample) -> int | None:
        """Return the row of a sample; None where the cohort has no such."""
        patient, state, replicate = sample
        num_states = self.admission.is_admitted_KC.shape[1]
        is_there = 0 <= patient < len(self.admission.class_N) and 0 <= state < num_states
        if not is_there or not 0 <= replicate < self.replicates:
            return None
        admitted_C = self.admission.is_admitted_KC[self.admission.class_N[patient]]
        if not admitted_C[state]:
            return None
        place = int(self._first_N[patient]) + int(np.count_nonzero(admitted_C[:state]))
        return place * self.replicates + replicate

    def rows_of_patients(self) -> Integers:
        """Return the number of rows of each patient (N,)."""
        return self.admission.num_states_K[self.admission.class_N] * self.replicates

    def rows_of_states(self) -> Integers:
        """Return the number of rows of each state (C,)."""
        return self.admission.num_patients_C * self.replicates


@dataclass(frozen=True, slots=True)
class Stratum:
    """``count`` rows of ``states``, spread evenly over those and over the patients admitted."""

    states: range
    count: int


class StratifiedRows:
    """Strata one after another; in each, states take turns, then patients, then replicates.

    The patients of a state are taken in an order of its own, a keyed permutation; when all have had
    their turn the next replicate begins, in another order. States that nobody may be drawn in take
    no turn; a stratum where that is so of all has no rows.
    """

    def __init__(
        self, admission: Admission, strata: Sequence[Stratum], keys: Sequence[bytes]
    ) -> None:
        """``keys`` are of states: what they are, so that their order follows from that alone."""
        self.admission, self.strata, self._keys = admission, tuple(strata), tuple(keys)
        num_C = admission.num_patients_C
        self.states_of = [
            np.array([state for state in one.states if num_C[state]], np.int64) for one in strata
        ]
        counts = [
            one.count if len(states) else 0
            for one, states in zip(self.strata, self.states_of, strict=True)
        ]
        self._first_S = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        num_cached = _CACHED_BYTES // (4 * admission.num_classes + 1000)
        self._eligible = lru_cache(maxsize=max(num_cached, 1))(self._eligible_of)
        self._order = lru_cache(maxsize=_CACHED_ORDERS)(self._order_of)
        self._stratum_of_state = {
            int(state): (stratum, turn)
            for stratum, states in enumerate(self.states_of)
            for turn, state in enumerate(states)
        }

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self._first_S[-1])

    def sample_at(self, row: int) -> Sample:
        """Return what stands at ``row``."""
        stratum = int(np.searchsorted(self._first_S, row, side="right")) - 1
        states = self.states_of[stratum]
        index, turn = divmod(row - int(self._first_S[stratum]), len(states))
        state = int(states[turn])
        replicate, place = divmod(index, int(self.admission.num_patients_C[state]))
        nth = self._order(state, replicate)[place]
        return Sample(self._eligible(state).patient_at(nth), state, replicate)

    def row_of(self, sample: Sample) -> int | None:
        """Return the row of a sample; None where the cohort has no such."""
        patient, state, replicate = sample
        if state not in self._stratum_of_state or replicate < 0:
            return None
        if not 0 <= patient < len(self.admission.class_N):
            return None
        nth = self._eligible(state).place_of(patient)
        if nth is None:
            return None
        stratum, turn = self._stratum_of_state[state]
        place = self._order(state, replicate).place_of(nth)
        index = replicate * int(self.admission.num_patients_C[state]) + place
        row = index * len(self.states_of[stratum]) + turn
        first, end = self._first_S[stratum : stratum + 2].tolist()
        return first + row if first + row < end else None

    def rows_of_patients(self) -> Integers:
        """Return the number of rows of each patient (N,)."""
        whole_C, rest_C = np.divmod(
            self.rows_of_states(), np.maximum(self.admission.num_patients_C, 1)
        )
        num_N = self.admission.sum_K(whole_C)[self.admission.class_N]
        for state in np.flatnonzero(rest_C).tolist():
            order = self._order(state, int(whole_C[state]))
            some = order.first(int(rest_C[state]))
            num_N[self._eligible(state).patients()[some]] += 1
        return num_N

    def rows_of_states(self) -> Integers:
        """Return the number of rows of each state (C,)."""
        num_C = np.zeros(self.admission.is_admitted_KC.shape[1], np.int64)
        for states, count in zip(self.states_of, np.diff(self._first_S).tolist(), strict=True):
            if count:
                whole, rest = divmod(count, len(states))
                num_C[states] = whole
                num_C[states[:rest]] += 1
        return num_C

    def _order_of(self, state: int, replicate: int) -> KeyedPermutation:
        key = self._keys[state] + replicate.to_bytes(8, "little")
        return KeyedPermutation(key, int(self.admission.num_patients_C[state]))

    @cached_property
    def _by_class(self) -> tuple[Integers, Integers, Integers]:
        """Return patients sorted by class, where each stands there, where each class begins."""
        # Of 16 bits, where they do: numpy sorts those in linear time.
        class_N = self.admission.class_N.astype(np.min_scalar_type(self.admission.num_classes))
        order = np.argsort(class_N, kind="stable")
        place_N = np.empty(len(order), np.int64)
        place_N[order] = np.arange(len(order))
        return order, place_N, np.cumsum(self.admission.size_K) - self.admission.size_K

    def _eligible_of(self, state: int) -> "_Eligible":
        order, place_N, first_K = self._by_class
        admitted_K = self.admission.is_admitted_KC[:, state]
        size_K = np.where(admitted_K, self.admission.size_K, 0)
        before_K = (np.cumsum(size_K) - size_K).astype(np.int32)
        return _Eligible(order, place_N, first_K, self.admission.class_N, admitted_K, before_K)


@dataclass(frozen=True, slots=True)
class _Eligible:
    """The patients of some classes, in the order of their classes, then of the table."""

    order: Integers
    place_N: Integers
    first_K: Integers
    class_N: NDArray[np.int32]
    admitted_K: Bools
    before_K: NDArray[np.int32]  # eligible patients of earlier classes

    def patient_at(self, nth: int) -> int:
        """Return the ``nth`` patient. Of classes that begin alike the last one has patients."""
        kind = int(self.before_K.searchsorted(np.int32(nth), side="right")) - 1
        return int(self.order[self.first_K[kind] + nth - self.before_K[kind]])

    def patients(self) -> Integers:
        """Return all of them in order."""
        size_K = np.diff(self.first_K, append=len(self.order))
        found: Integers = self.order[np.repeat(self.admitted_K, size_K)]
        return found

    def place_of(self, patient: int) -> int | None:
        """Return which patient it is, None where it is none of them."""
        kind = self.class_N[patient]
        if not self.admitted_K[kind]:
            return None
        return int(self.before_K[kind] + self.place_N[patient] - self.first_K[kind])
