"""CohortPlan: row -> (patient, condition, replicate), rows -> shards. Arithmetic only: no I/O."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.cohort import CohortSpec, ConditionSpec, resolve_condition
from ecgtwin.spec.condition import CardiacCondition, Sex
from ecgtwin.spec.shard import Shard, cut_shards


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One person of a cohort: pseudonym, split, age and sex at the reference ECG."""

    person: str
    split: str
    age_years: float | None
    sex: Sex
    base_vector_digest: str


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One wanted state with one rate; ``own`` values are still open."""

    condition: ConditionSpec
    heart_rate_bpm: float | None


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
    """Patients x conditions x replicates, resolved. Patients vary slowest, replicates fastest."""

    spec: CohortSpec
    patients: tuple[PatientRow, ...]
    conditions: tuple[ConditionRow, ...]
    checkpoint_digest: str

    @property
    def num_rows(self) -> int:
        """Number of ECGs in the cohort."""
        return len(self.patients) * len(self.conditions) * self.spec.replicates

    @cached_property
    def digest(self) -> str:
        """Digest of all that decides what is stored: specification, tables, checkpoint."""
        return digest_of(
            {
                "specification": self.spec.bytes_digest(),
                "patients": [asdict(patient) for patient in self.patients],
                "conditions": [
                    [row.condition.model_dump(mode="json"), row.heart_rate_bpm]
                    for row in self.conditions
                ],
                "checkpoint": self.checkpoint_digest,
            }
        )

    def request_at(self, row: int) -> SampleRequest:
        """Return what ``row`` is asked to be."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} is not in a cohort of {self.num_rows}")
        rest, replicate = divmod(row, self.spec.replicates)
        patient_index, condition_index = divmod(rest, len(self.conditions))
        patient = self.patients[patient_index]
        condition, digest = self._resolved(condition_index, patient.age_years, patient.sex)
        return SampleRequest(
            row, patient_index, condition_index, replicate, patient.person, condition, digest
        )

    def shards(self) -> list[Shard]:
        """Return the shards that partition the rows, in row order."""
        return cut_shards(self.num_rows, self.spec.output.rows_per_shard)

    def _resolved(
        self, condition_index: int, age_years: float | None, sex: Sex
    ) -> tuple[CardiacCondition, str]:
        wanted = self.conditions[condition_index]
        own = CardiacCondition(age_years=age_years, sex=sex)
        condition = resolve_condition(wanted.condition, wanted.heart_rate_bpm, own)
        return condition, condition.digest()


def condition_rows(conditions: Sequence[ConditionSpec]) -> tuple[ConditionRow, ...]:
    """Return one row per condition and rate; raise SpecificationError if two are the same."""
    rows: list[ConditionRow] = []
    origin_of: dict[str, int] = {}
    for origin, wanted in enumerate(conditions):
        for rate in wanted.rates():
            one = wanted.model_copy(update={"heart_rate_bpm": rate})
            earlier = origin_of.setdefault(one.digest(), len(rows))
            if earlier != len(rows):
                at = "an unknown rate" if rate is None else f"{rate:g} bpm"
                raise SpecificationError(
                    f"conditions.{origin}: the same state at {at} is asked for twice, which would "
                    "give the same ECGs twice; remove one, or raise `replicates`"
                )
            rows.append(ConditionRow(one, rate))
    return tuple(rows)


def plan_text(plan: CohortPlan, *, num_samples: int, num_committed: int) -> str:
    """Return what the plan comes to, in two lines for a person to read."""
    num_replicates = plan.spec.replicates
    raw_bytes = plan.num_rows * len(LEADS) * num_samples * 2
    return (
        f"{plan.num_rows:,} ECGs = {_count(len(plan.patients), 'patient')} x "
        f"{_count(len(plan.conditions), 'condition')} x {_count(num_replicates, 'replicate')}\n"
        f"{_count(len(plan.shards()), 'shard')} of {plan.spec.output.rows_per_shard:,} rows, "
        f"{raw_bytes / 2**20:,.1f} MiB before compression; {num_committed:,} already committed"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
