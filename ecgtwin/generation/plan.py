"""CohortPlan: row <-> (patient, state, replicate), rows -> shards. Arithmetic only: no I/O."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.admission import MANY_CLASSES, Admission, PatientColumns, admit, texts
from ecgtwin.generation.plan_rows import PlanRows, ProductRows, Sample, StratifiedRows, Stratum
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.condition import CardiacCondition, Sex
from ecgtwin.spec.constraints import Constraint
from ecgtwin.spec.shard import ShardCut, cut_shards
from ecgtwin.spec.states import StratumSpec, WantedState

Texts = NDArray[np.object_]
_PART = 4096  # texts made bytes together


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One person of a cohort: pseudonym, split, age and sex at the reference ECG."""

    person: str
    split: str
    age_years: float | None
    sex: Sex
    base_vector_digest: str


@dataclass(frozen=True, eq=False)
class PatientTable(Sequence[PatientRow]):
    """The persons of a cohort, a column each; ``age_years`` is NaN where it is unknown."""

    person: Texts
    split: Texts
    age_years: NDArray[np.float64]
    sex: Texts
    base_vector_digest: Texts

    @classmethod
    def of(cls, rows: Iterable[PatientRow]) -> "PatientTable":
        """Return the table of ``rows``, in their order."""
        rows = list(rows)
        return cls(
            texts([row.person for row in rows]),
            texts([row.split for row in rows]),
            np.array([np.nan if row.age_years is None else row.age_years for row in rows], float),
            texts([row.sex for row in rows]),
            texts([row.base_vector_digest for row in rows]),
        )

    def __len__(self) -> int:
        return len(self.person)

    @overload
    def __getitem__(self, index: int) -> PatientRow: ...
    @overload
    def __getitem__(self, index: slice) -> "PatientTable": ...
    def __getitem__(self, index: int | slice) -> "PatientRow | PatientTable":
        if isinstance(index, slice):
            return PatientTable(*(column[index] for column in self._columns()))
        age = float(self.age_years[index])
        return PatientRow(
            person=self.person[index],
            split=self.split[index],
            age_years=None if isnan(age) else age,
            sex=self.sex[index],
            base_vector_digest=self.base_vector_digest[index],
        )

    def __iter__(self) -> Iterator[PatientRow]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PatientTable) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> str:
        """Return a digest of every value, in order."""
        found = hashlib.blake2b(digest_size=16)
        for column in self._columns():
            parts = _bytes_of(column)
            found.update(sum(map(len, parts)).to_bytes(8, "little"))
            for part in parts:
                found.update(part)
        return found.hexdigest()

    def columns(self) -> PatientColumns:
        """Return what constraints may ask."""
        sex = self.sex.copy()
        sex[sex == "unknown"] = None
        return PatientColumns(self.age_years, sex, self.split)

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.person, self.split, self.age_years, self.sex, self.base_vector_digest


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What one row of a cohort is asked to be."""

    row: int
    patient_index: int
    condition_index: int
    replicate: int
    person: str
    condition: CardiacCondition
    condition_digest: str


@dataclass(frozen=True)
class CohortPlan:
    """Every patient in every state that the constraints admit, or strata of them; resolved.

    Patients vary slowest, replicates fastest; strata follow one another.
    """

    spec: CohortSpec
    patients: PatientTable
    states: tuple[WantedState, ...]
    checkpoint_digest: str

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints, parsed."""
        return tuple(Constraint.of(text) for text in self.spec.constraints)

    @cached_property
    def admission(self) -> Admission:
        """Which patients may be drawn in which states."""
        strata = self.spec.strata() or ()
        among = [
            (cut.states, Constraint.of(one.among))
            for cut, one in zip(_cut(strata), strata, strict=True)
            if one.among is not None
        ]
        return admit(self.patients.columns(), self.states, self.constraints, among)

    @cached_property
    def rows(self) -> PlanRows:
        """The rows."""
        strata = self.spec.strata()
        if strata is None:
            return ProductRows(self.admission, self.spec.replicates)
        keys = [_order_key(self.spec.seed, state) for state in self.states]
        return StratifiedRows(self.admission, _cut(strata), keys)

    @property
    def num_rows(self) -> int:
        """Number of ECGs in the cohort."""
        return self.rows.num_rows

    @cached_property
    def digest(self) -> str:
        """Digest of all that decides what is stored: specification, tables, checkpoint."""
        return digest_of(
            {
                "specification": self.spec.bytes_digest(),
                "patients": self.patients.digest(),
                "states": [state.model_dump(mode="json") for state in self.states],
                "checkpoint": self.checkpoint_digest,
            }
        )

    def request_at(self, row: int) -> SampleRequest:
        """Return what ``row`` is asked to be."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} is not in a cohort of {self.num_rows}")
        patient_index, state_index, replicate = self.rows.sample_at(row)
        patient = self.patients[patient_index]
        condition = self.states[state_index].of(age_years=patient.age_years, sex=patient.sex)
        return SampleRequest(
            row,
            patient_index,
            state_index,
            replicate,
            patient.person,
            condition,
            condition.digest(),
        )

    def row_of(self, patient_index: int, state_index: int, replicate: int) -> int | None:
        """Return the row of a sample, None where the cohort has no such."""
        return self.rows.row_of(Sample(patient_index, state_index, replicate))

    @property
    def num_shards(self) -> int:
        """Number of shards that the rows are cut into."""
        return -(-self.num_rows // self.spec.output.rows_per_shard)

    def shards(self) -> ShardCut:
        """Return the shards that partition the rows, in row order."""
        return cut_shards(self.num_rows, self.spec.output.rows_per_shard)


def _cut(strata: Sequence[StratumSpec]) -> list[Stratum]:
    found, start = [], 0
    for one in strata:
        stop = start + one.num_states()
        found.append(Stratum(range(start, stop), one.count))
        start = stop
    return found


def _order_key(seed: int, state: WantedState) -> bytes:
    """Return what the order of a state's patients follows from."""
    what = state.model_dump(mode="json", exclude={"label"})
    return bytes.fromhex(digest_of({"seed": seed, "state": what}))


def _bytes_of(column: NDArray[Any]) -> list[bytes]:
    """Return numbers, or texts with a zero between them, as bytes in parts that fit a cache."""
    if column.dtype != object:
        return [column.astype("<f8").tobytes()]
    starts = range(0, len(column), _PART)
    parts = ["\0".join(column[start : start + _PART].tolist()).encode() for start in starts]
    return [part + b"\0" for part in parts[:-1]] + parts[-1:]


def plan_text(plan: CohortPlan) -> str:
    """Return what the plan comes to, and what constraints take out, in lines for a person."""
    lines = [f"{counted(plan.num_rows, 'ECG')}{_what_they_are(plan)}", *removals(plan)]
    num_classes, num_states = plan.admission.is_admitted_KC.shape
    if num_classes > MANY_CLASSES:
        lines.append(
            f"  constraints divide the patients into {num_classes:,} classes: {num_states:,} "
            f"conditions of each take {num_classes * num_states / 1e6:,.0f} MB, of every worker "
            "too; ages in whole years, or fewer fields, make fewer"
        )
    return "\n".join(lines)


def shards_text(plan: CohortPlan, *, raw_bytes: int, num_committed: int) -> str:
    """Return how many shards and bytes the plan comes to, and what of it is there."""
    return (
        f"{counted(plan.num_shards, 'shard')} of {plan.spec.output.rows_per_shard:,} rows, "
        f"{raw_bytes / 2**20:,.1f} MiB before compression; {num_committed:,} already committed"
    )


def _what_they_are(plan: CohortPlan) -> str:
    patients, states = (
        counted(len(plan.patients), "patient"),
        counted(len(plan.states), "condition"),
    )
    strata = plan.spec.strata()
    if strata is not None:
        grouped = counted(len(strata), "stratum", "strata")
        return f" in {grouped} of {states}, of {patients}"
    times = counted(plan.spec.replicates, "replicate")
    whole = len(plan.patients) * len(plan.states) * plan.spec.replicates
    of_all = "" if whole == plan.num_rows else f" of {whole:,}"
    return f"{of_all} = {patients} x {states} x {times}{', less' if of_all else ''}"


def removals(plan: CohortPlan) -> list[str]:
    """Return what each constraint by itself takes out, a line each."""
    lines = []
    for one, found in zip(plan.constraints, plan.admission.removed, strict=True):
        unknown = f", {found.unknown:,} of them because it is unknown" if found.unknown else ""
        pairs = counted(found.false + found.unknown, "pair")
        lines.append(f"  {one.text}: removes {pairs} of patient and condition{unknown}")
    return lines


def counted(number: int, noun: str, several: str | None = None) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"
