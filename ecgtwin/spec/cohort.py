"""CohortSpec: patients x conditions x replicates, how to draw them and where to put them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from ecgtwin.spec.base import Spec, branch, digest_of
from ecgtwin.spec.condition import Age, CardiacCondition, HeartRate, Statement
from ecgtwin.spec.sampling import SamplingSpec

Split = Literal["train", "validation", "test"]


class PatientsById(Spec):
    """These patients of the corpus, in this order."""

    ids: tuple[str, ...] = Field(min_length=1)


class PatientsBySplit(Spec):
    """The first ``count`` patients of a split (all when None), ordered by patient id."""

    split: Split
    count: int | None = Field(default=None, ge=1)


class RateRange(Spec):
    """``count`` rates evenly spaced from ``start`` to ``stop``, both included."""

    start: HeartRate
    stop: HeartRate
    count: int = Field(ge=2, le=10_000)

    def values(self) -> list[float]:
        """Return the rates in bpm."""
        step = (self.stop - self.start) / (self.count - 1)
        return [round(self.start + step * index, 6) for index in range(self.count)]


def _kind_of_patients(value: Any) -> str:  # noqa: ANN401  (raw YAML)
    by_id = "ids" in value if isinstance(value, Mapping) else isinstance(value, PatientsById)
    return branch("PatientsById" if by_id else "PatientsBySplit")


def _kind_of_rates(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping | RateRange):
        return branch("RateRange")
    return branch("rates" if isinstance(value, list | tuple) else "rate")


def _kind_of_age(value: Any) -> str:  # noqa: ANN401
    return branch("own" if isinstance(value, str) else "age")


# A form is chosen before it is checked, so that a mistake is told once and not once per form.
Patients = Annotated[
    Annotated[PatientsById, Tag(branch("PatientsById"))]
    | Annotated[PatientsBySplit, Tag(branch("PatientsBySplit"))],
    Discriminator(_kind_of_patients),
]
Rates = Annotated[
    Annotated[HeartRate, Tag(branch("rate"))]
    | Annotated[tuple[HeartRate, ...], Field(min_length=1), Tag(branch("rates"))]
    | Annotated[RateRange, Tag(branch("RateRange"))],
    Discriminator(_kind_of_rates),
]
OwnOrAge = Annotated[
    Annotated[Age, Tag(branch("age"))] | Annotated[Literal["own"], Tag(branch("own"))],
    Discriminator(_kind_of_age),
]


class ConditionSpec(Spec):
    """One wanted state, or one per rate. ``own`` takes the patient's own value."""

    statements: tuple[Statement, ...] = ()
    heart_rate_bpm: Rates | None = None
    age_years: OwnOrAge | None = "own"
    sex: Literal["female", "male", "unknown", "own"] = "own"

    def rates(self) -> list[float | None]:
        """Return the requested rates; ``[None]`` leaves the rate unknown."""
        if isinstance(self.heart_rate_bpm, RateRange):
            return list(self.heart_rate_bpm.values())
        if isinstance(self.heart_rate_bpm, tuple):
            return list(self.heart_rate_bpm)
        return [self.heart_rate_bpm]


class OutputSpec(Spec):
    """Where the cohort goes and how it is cut."""

    url: Annotated[str, Field(min_length=1)]
    rows_per_shard: int = Field(default=512, ge=1)
    rows_per_chunk: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _chunks_fill_shards(self) -> "OutputSpec":
        if self.rows_per_shard % self.rows_per_chunk:
            raise ValueError(
                f"rows_per_shard ({self.rows_per_shard}) must be a multiple of "
                f"rows_per_chunk ({self.rows_per_chunk})"
            )
        return self


class RunSpec(Spec):
    """How the work is done; never changes what is made."""

    num_workers: int = Field(default=2, ge=1)
    max_tries: int = Field(default=3, ge=1)


class CohortSpec(Spec):
    """What a user asks of a cohort. Every field but ``run`` and ``output.url`` shapes its bytes."""

    version: Literal[1] = 1
    checkpoint: str
    corpus: str
    patients: Patients
    conditions: tuple[ConditionSpec, ...] = Field(min_length=1)
    replicates: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    share_noise: bool = False
    batch_rows: int = Field(default=32, ge=1)  # rows sampled together: part of the numerics
    sampling: SamplingSpec | None = None  # None: the checkpoint's own
    output: OutputSpec
    run: RunSpec = RunSpec()

    @field_validator("sampling")
    @classmethod
    def _leads_can_be_stored(cls, sampling: SamplingSpec | None) -> SamplingSpec | None:
        if sampling is not None and sampling.leads != "consistent":
            raise ValueError(
                f"sampling.leads is {sampling.leads!r}, but a cohort stores III, aVR, aVL and aVF "
                "as they follow from I and II, exactly; leave it 'consistent', or draw single "
                "ECGs with EcgTwin.draw"
            )
        return sampling

    def bytes_digest(self) -> str:
        """Return a digest of the fields that decide what is stored (not where or by whom).

        The checkpoint and the corpus enter by content, through the plan digest, not by URL.
        """
        data = self.model_dump(mode="json", exclude={"run", "checkpoint", "corpus"})
        del data["output"]["url"]
        return digest_of(data)


def resolve_condition(
    spec: ConditionSpec, rate: float | None, own: CardiacCondition
) -> CardiacCondition:
    """Return the condition of one patient, with ``own`` values filled in from ``own``."""
    return CardiacCondition(
        statements=spec.statements,
        heart_rate_bpm=rate,
        age_years=own.age_years if spec.age_years == "own" else spec.age_years,
        sex=own.sex if spec.sex == "own" else spec.sex,
    )
