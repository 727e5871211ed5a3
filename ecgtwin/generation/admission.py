"""Which patients may be drawn in which states: constraints over classes of patients.

Patients are grouped by the distinct values of the fields that constraints mention; a class is
admitted to a state or not, and nothing is held per patient and state.
Axes: N patient, K class, C state.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.constraints import Constraint
from ecgtwin.spec.expression_values import Values, truth_of
from ecgtwin.spec.states import WantedState

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
_BLOCK = 1 << 17  # classes x states looked at together: they stay in the cache
MANY_CLASSES = 10_000  # from here on a plan says what they cost
MAX_CELLS = 8 * 10**9  # classes x states, a byte each


@dataclass(frozen=True)
class PatientColumns:
    """What constraints may ask of a patient: a column each. Unknown is NaN, or None."""

    age_years: NDArray[np.float64]
    sex: Values  # of objects: "female", "male", or None
    split: Values

    def __len__(self) -> int:
        return len(self.age_years)

    def column(self, field: str) -> Values:
        """Return the values of ``patient.<name>``."""
        found: Values = getattr(self, field.removeprefix("patient."))
        return found


@dataclass(frozen=True, slots=True)
class Removed:
    """What a constraint by itself removes: pairs of a patient and a state."""

    false: int
    unknown: int


@dataclass(frozen=True)
class Admission:
    """``class_N`` says of which class a patient is, ``is_admitted_KC`` what that class may be."""

    class_N: NDArray[np.int32]
    is_admitted_KC: Bools
    removed: tuple[Removed, ...]  # by each constraint

    @property
    def num_classes(self) -> int:
        """How many classes of patients there are."""
        return len(self.is_admitted_KC)

    @cached_property
    def size_K(self) -> Integers:
        """The number of patients of each class."""
        return np.bincount(self.class_N, minlength=self.num_classes).astype(np.int64)

    @cached_property
    def num_states_K(self) -> Integers:
        """The number of states that a patient of each class may be drawn in."""
        found: Integers = self.is_admitted_KC.sum(axis=1, dtype=np.int64)
        return found

    @cached_property
    def num_patients_C(self) -> Integers:
        """The number of patients that may be drawn in each state."""
        found_C = np.zeros(self.is_admitted_KC.shape[1])  # of floats: numpy multiplies them faster
        for block in _blocks(*self.is_admitted_KC.shape):
            found_C += self.size_K[block].astype(np.float64) @ self.is_admitted_KC[block]
        return found_C.astype(np.int64)

    def sum_K(self, number_C: Integers) -> Integers:
        """Return, for each class, the sum of numbers of the states it may be drawn in."""
        found_K = np.zeros(self.num_classes)
        for block in _blocks(*self.is_admitted_KC.shape):
            found_K[block] = self.is_admitted_KC[block] @ number_C.astype(np.float64)
        return found_K.astype(np.int64)


def texts(values: Sequence[str | None]) -> Values:
    """Return an array of objects, as expressions take them."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def admit(
    patients: PatientColumns,
    states: Sequence[WantedState],
    constraints: Sequence[Constraint],
    among: Sequence[tuple[range, Constraint]] = (),
) -> Admission:
    """Return what is left when all ``constraints`` must be true.

    ``among`` are constraints on patients that must be true for some states only; what they leave
    out is not counted as removed.
    """
    columns = _StateColumns(states)
    everywhere = [*constraints, *(one for _, one in among)]
    fields = set().union(*(columns.patient_fields(one.fields) for one in everywhere))
    class_N, values = _classes(patients, sorted(fields))
    num_classes = len(next(iter(values.values()))) if values else 1
    _check_size(num_classes, len(states), sorted(fields))
    size_K = np.bincount(class_N, minlength=num_classes)
    is_admitted_KC = np.ones((num_classes, len(states)), dtype=bool)
    removed = []
    for one in constraints:
        false = unknown = 0
        for block in _blocks(num_classes, len(states)):
            of_block = {name: column[block][:, None] for name, column in values.items()}
            found = truth_of(one.node, columns.values(one.fields, of_block))
            shape = is_admitted_KC[block].shape
            is_true, is_false = (np.broadcast_to(truth, shape) for truth in found)
            is_admitted_KC[block] &= is_true
            sizes = size_K[block]
            false += int(is_false.sum(axis=1) @ sizes)
            unknown += int((~(is_true | is_false)).sum(axis=1) @ sizes)
        removed.append(Removed(false, unknown))
    for some, one in among:
        truth = truth_of(one.node, values).is_true
        is_admitted_KC[:, some.start : some.stop] &= np.broadcast_to(truth, num_classes)[:, None]
    return Admission(class_N, is_admitted_KC, tuple(removed))


def _check_size(num_classes: int, num_states: int, fields: Sequence[str]) -> None:
    if num_classes * num_states > MAX_CELLS:
        raise SpecificationError(
            f"constraints: {num_classes:,} classes of patients (by {', '.join(fields)}) x "
            f"{num_states:,} conditions would take {num_classes * num_states / 1e9:,.0f} GB to "
            "plan; look at fewer fields, ask for fewer conditions, or make several cohorts"
        )


def _blocks(num_classes: int, num_states: int) -> list[slice]:
    rows = max(_BLOCK // max(num_states, 1), 1)
    return [slice(start, start + rows) for start in range(0, num_classes, rows)]


def _classes(
    patients: PatientColumns, fields: Sequence[str]
) -> tuple[NDArray[np.int32], dict[str, Values]]:
    """Return each patient's class, and the value of each field in each class."""
    class_N, num_classes = np.zeros(len(patients), np.int64), 1
    for field in fields:
        own_N = _codes(patients.column(field))
        num_own = int(own_N.max(initial=0)) + 1
        code_N = class_N * num_own + own_N
        is_code = np.zeros(num_classes * num_own, dtype=bool)
        is_code[code_N] = True
        class_N, num_classes = (np.cumsum(is_code) - 1)[code_N], int(is_code.sum())
    one_K = np.zeros(num_classes, np.int64)  # a patient of each class
    one_K[class_N] = np.arange(len(patients))
    values = {field: patients.column(field)[one_K] for field in fields}
    return class_N.astype(np.int32), values


def _codes(column_N: Values) -> Integers:
    """Return a number for each distinct value; unknown is a value."""
    if column_N.dtype != object:
        known_N = np.where(np.isnan(column_N), np.inf, column_N)  # numpy is slow to sort NaN
        return np.unique(known_N, return_inverse=True)[1]
    number_of: defaultdict[object, int] = defaultdict(count().__next__)
    return np.fromiter(map(number_of.__getitem__, column_N), np.int64, len(column_N))


class _StateColumns:
    """The fields of states, as columns of one row (1, C)."""

    def __init__(self, states: Sequence[WantedState]) -> None:
        self._plain: dict[str, Values] = {
            "condition.heart_rate_bpm": _numbers([one.heart_rate_bpm for one in states]),
            "condition.statements": _objects(
                [
                    frozenset(line.code for line in one.statements if line.certainty == "definite")
                    for one in states
                ]
            ),
            "condition.label": _objects([one.label for one in states]),
        }
        self._own = {
            "age_years": np.array([[one.age_years == "own" for one in states]]),
            "sex": np.array([[one.sex == "own" for one in states]]),
        }
        self._given: dict[str, Values] = {
            "age_years": _numbers(
                [None if isinstance(one.age_years, str) else one.age_years for one in states]
            ),
            "sex": _objects([None if one.sex in ("own", "unknown") else one.sex for one in states]),
        }

    def patient_fields(self, fields: frozenset[str]) -> set[str]:
        """Return the fields of patients that matter where ``fields`` are looked at."""
        own = {
            f"patient.{name}"
            for name, is_own in self._own.items()
            if f"condition.{name}" in fields and is_own.any()
        }
        return own | {name for name in fields if name.startswith("patient.")}

    def values(
        self, fields: frozenset[str], of_patients: Mapping[str, Values]
    ) -> dict[str, Values]:
        """Return every field of ``fields``, given those of patients as columns (K, 1)."""
        found = {**self._plain, **of_patients}
        for name, is_own in self._own.items():
            if f"condition.{name}" in fields:
                own = of_patients.get(f"patient.{name}")
                given = self._given[name]
                found[f"condition.{name}"] = given if own is None else np.where(is_own, own, given)
        return found


def _numbers(values: Sequence[float | None]) -> Values:
    return np.array([[np.nan if value is None else value for value in values]], np.float64)


def _objects(values: Sequence[object]) -> Values:
    column = np.empty((1, len(values)), dtype=object)
    column[0] = values
    return column
