"""CohortSpec: patients x conditions x replicates, how to draw them and where to put them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ecgtwin.spec.base import Spec, digest_of
from ecgtwin.spec.constraints import ConstraintText
from ecgtwin.spec.effects import BYTES, RUN, bytes_fields
from ecgtwin.spec.faults import FaultInside
from ecgtwin.spec.gates import GatesSpec
from ecgtwin.spec.patients import Patients, PatientsById, PatientsOfCorpus
from ecgtwin.spec.sampling import PROCESS_OF, SamplingSpec
from ecgtwin.spec.states import (
    Conditions,
    ConditionSpec,
    GridSpec,
    GroupedConditions,
    StratumSpec,
    WantedState,
)
from ecgtwin.spec.storage import STEP_MV, USUAL_CODEC, CodecSpec, StepMv, StoredRateHz

MAX_STATES = 1_000_000

Label = Annotated[str, Field(min_length=1, max_length=200)]


class OutputSpec(Spec):
    """Where the cohort goes, how it is cut, and how its ECGs are stored: always as int16.

    ``sampling_rate_hz`` must give the strip that the checkpoint draws a whole number of samples.
    ``step_mv`` is mV per unit of an int16, so values saturate at 32,767 steps. A step or codec that
    is the usual one reads as None, so that writing it out makes no other cohort.
    """

    url: Annotated[str, Field(min_length=1), RUN]
    rows_per_shard: Annotated[int, Field(ge=1), BYTES] = 512
    rows_per_chunk: Annotated[int, Field(ge=1), BYTES] = 16
    sampling_rate_hz: Annotated[StoredRateHz | None, BYTES] = None  # None: as drawn
    step_mv: Annotated[StepMv | None, BYTES] = None  # None: STEP_MV
    codec: Annotated[CodecSpec | None, BYTES] = None  # None: USUAL_CODEC

    @field_validator("step_mv", "codec")
    @classmethod
    def _usual_is_left_out(cls, value: float | CodecSpec | None) -> float | CodecSpec | None:
        return None if value in (STEP_MV, USUAL_CODEC) else value

    @model_validator(mode="after")
    def _chunks_fill_shards(self) -> "OutputSpec":
        if self.rows_per_shard % self.rows_per_chunk:
            chunks = self.rows_per_shard // self.rows_per_chunk
            fitting = [self.rows_per_chunk * num for num in (chunks, chunks + 1) if num]
            raise FaultInside(
                f"is {self.rows_per_shard}, but must be a multiple of rows_per_chunk "
                f"({self.rows_per_chunk}); take {' or '.join(map(str, fitting))}",
                "rows_per_shard",
            )
        return self


class RunSpec(Spec):
    """How the work is done; never changes what is made."""

    num_workers: int = Field(default=2, ge=1)
    max_tries: int = Field(default=3, ge=1)
    # On SIGTERM: wait for the shards in flight up to grace_s, or abandon them at once.
    on_preempt: Literal["finish", "abandon"] = "finish"
    grace_s: float = Field(default=25.0, ge=0, allow_inf_nan=False)


class CohortSpec(Spec):
    """What a user asks of a cohort.

    Fields that shape what is stored are marked BYTES, those that do not RUN. Checkpoint and corpus
    enter a plan by content, whatever their URL.
    """

    version: Annotated[Literal[1], BYTES] = 1
    labels: Annotated[dict[Label, Label], Field(max_length=100), RUN] = Field(
        default_factory=dict  # for people, and for who looks after jobs
    )
    checkpoint: Annotated[str, RUN]
    corpus: Annotated[str | None, RUN] = None  # needed where patients are of one
    patients: Annotated[Patients, BYTES]
    conditions: Annotated[Conditions, BYTES]
    # All must be true of a patient in a state.
    constraints: Annotated[tuple[ConstraintText, ...], Field(max_length=100), BYTES] = ()
    replicates: Annotated[int, Field(ge=1), BYTES] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63), BYTES] = 0
    share_noise: Annotated[bool, BYTES] = False
    batch_rows: Annotated[int, Field(ge=1), BYTES] = 32  # sampled together: part of the numerics
    sampling: Annotated[SamplingSpec | None, BYTES] = None  # None: the checkpoint's own
    gates: Annotated[GatesSpec | None, BYTES] = None  # None: nothing is asked but finite samples
    output: OutputSpec
    run: Annotated[RunSpec, RUN] = RunSpec()

    @field_validator("sampling")
    @classmethod
    def _leads_can_be_stored(cls, sampling: SamplingSpec | None) -> SamplingSpec | None:
        if sampling is not None and sampling.leads != "consistent":
            raise FaultInside(
                f"is {sampling.leads!r}, but a cohort stores III, aVR, aVL and aVF as they follow "
                "from I and II, exactly; leave it 'consistent', or draw single ECGs with "
                "EcgTwin.draw",
                "leads",
            )
        return sampling

    @field_validator("sampling")
    @classmethod
    def _settings_are_of_the_sampler(cls, sampling: SamplingSpec | None) -> SamplingSpec | None:
        if sampling is not None:
            is_flow = PROCESS_OF[sampling.sampler] == "rectified_flow"
            of_others = ("clip_sample", "ddpm, ddim") if is_flow else ("time_shift", "euler, heun")
            if getattr(sampling, of_others[0]) != SamplingSpec.model_fields[of_others[0]].default:
                raise FaultInside(
                    f"has no meaning for sampler {sampling.sampler!r}, is for {of_others[1]}; "
                    "leave it out",
                    of_others[0],
                )
        return sampling

    @model_validator(mode="after")
    def _corpus_is_named(self) -> "CohortSpec":
        if self.corpus is None and isinstance(self.patients, PatientsById | PatientsOfCorpus):
            raise ValueError(
                "corpus is not given, but patients are of one: say where it is, or take patients "
                "from a bank or a population"
            )
        return self

    @model_validator(mode="after")
    def _strata_count_replicates(self) -> "CohortSpec":
        if self.strata() is not None and self.replicates != 1:
            raise FaultInside(
                f"is {self.replicates}, but strata say how many ECGs they want; raise their count "
                "instead",
                "replicates",
            )
        return self

    @model_validator(mode="after")
    def _states_are_few_enough(self) -> "CohortSpec":
        num = self.num_states()
        if num > MAX_STATES:
            raise FaultInside(
                f"come to {num:,} states, more than {MAX_STATES:,}; ask for fewer rates, ages or "
                "reports, or make several cohorts",
                "conditions",
            )
        return self

    def num_states(self) -> int:
        """Return how many states the conditions come to, constraints left aside."""
        return sum(self.num_states_of_parts())

    def num_states_of_parts(self) -> list[int]:
        """Return how many states each condition, or stratum, comes to."""
        return [one.num_states() for one in self._parts()]

    def states(self) -> list[WantedState]:
        """Return the states in order; those of a stratum stand together."""
        return [state for one in self._parts() for state in one.states()]

    def strata(self) -> tuple[StratumSpec, ...] | None:
        """Return the strata, None where every patient is wanted in every state."""
        conditions = self.conditions
        return conditions.strata if isinstance(conditions, GroupedConditions) else None

    def _parts(self) -> Sequence[ConditionSpec | GridSpec]:
        conditions = self.conditions
        return conditions.parts() if isinstance(conditions, GroupedConditions) else conditions

    def bytes_digest(self) -> str:
        """Return a digest of the fields that decide what is stored (not where or by whom)."""
        return digest_of(bytes_fields(self))
