"""generate_cohort: planned minus committed, given to an executor; what failed is reported."""

import json
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ecgtwin.errors import (
    CheckpointError,
    CohortMismatchError,
    DamageError,
    SpecificationError,
    StoreError,
)
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.generation.estimate import SHARDS_PER_RECORD
from ecgtwin.generation.making import ShardResult
from ecgtwin.generation.plan import plan_text, shards_text
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort, write_plan
from ecgtwin.generation.texts import put_plan_texts
from ecgtwin.generation.worker import GenerateShard
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.commit import put_new
from ecgtwin.store.manifest import resumable_shards
from ecgtwin.store.objects import join

# What no other try and no other shard can mend: the whole run ends with it.
_HOPELESS = (CheckpointError, CohortMismatchError, DamageError, SpecificationError)


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """What one run did. ``num_rows`` are those made in this run; the shares sum to 1."""

    url: str
    plan_digest: str
    num_shards: int
    num_done_before: int
    num_done: int
    num_rows: int
    num_accepted: int
    seconds: float
    shares: dict[str, float]
    failures: tuple[Outcome, ...]

    @property
    def ecgs_per_second(self) -> float:
        """ECGs made per second of wall time, all workers together, their start included."""
        return self.num_rows / self.seconds if self.seconds else 0.0

    @property
    def is_complete(self) -> bool:
        """Say whether every shard of the plan is committed."""
        return self.num_done_before + self.num_done == self.num_shards

    def line(self) -> str:
        """Return one line for a person."""
        shares = "".join(f", {name} {share:.0%}" for name, share in self.shares.items())
        return (
            f"{self.num_rows:,} ECGs in {self.seconds:.1f} s "
            f"({self.ecgs_per_second:.1f} a second{shares}); "
            f"{self.num_done_before + self.num_done} of {self.num_shards} shards committed"
        )


@dataclass(frozen=True, slots=True)
class PlanDescription:
    """What a specification comes to, before anything is written."""

    text: str
    num_shards: int
    num_left: int


def describe_plan(spec: CohortSpec) -> PlanDescription:
    """Return what making ``spec`` would take. Writes nothing; raises as ``generate_cohort``."""
    cohort = resolve_cohort(spec)
    num_done, num_shards = len(_done(cohort)), cohort.plan.num_shards
    shards = shards_text(
        cohort.plan, raw_bytes=cohort.layout.raw_bytes(cohort.plan.num_rows), num_committed=num_done
    )
    return PlanDescription(f"{plan_text(cohort.plan)}\n{shards}", num_shards, num_shards - num_done)


def generate_cohort(
    spec: CohortSpec,
    *,
    executor: Executor,
    on_outcome: Callable[[Outcome], None] | None = None,
    mixed_numerics: bool = False,
) -> GenerationSummary:
    """Make, or finish, the cohort that ``spec`` asks for; a finished one is left as it is.

    Raises CohortMismatchError, with nothing changed, where another cohort stands at the URL.
    Shards that fail after their tries are in the summary; the rest is made.
    """
    cohort = resolve_cohort(spec)
    done = _done(cohort)
    left = [shard for shard in cohort.plan.shards() if shard.index not in done]
    if not left:
        return _summary(cohort, len(done), [], 0.0)
    cohort = write_plan(cohort)
    put_plan_texts(
        cohort.url,
        (line for state in cohort.plan.states for line in state.statements),
        checkpoint=spec.checkpoint,
        corpus_url=spec.corpus,
    )
    started = time.perf_counter()
    outcomes: list[Outcome] = []
    record = _RunRecord(cohort)
    try:
        work = GenerateShard(cohort.plan.spec, mixed_numerics=mixed_numerics)
        # Closed here, not when somebody lets go of the error: workers must not outlive the run.
        with closing(executor.run(work, left)) as made:
            for outcome in made:
                outcomes.append(outcome)
                record.add(outcome)
                if isinstance(outcome.mistake, _HOPELESS):
                    raise outcome.mistake
                if on_outcome is not None:
                    on_outcome(outcome)
    finally:
        record.flush()
    return _summary(cohort, len(done), outcomes, time.perf_counter() - started)


def _done(cohort: ResolvedCohort) -> set[int]:
    """Return the shards of this plan that are committed."""
    return resumable_shards(cohort.url, cohort.layout, plan_digest=cohort.plan.digest)


def _summary(
    cohort: ResolvedCohort, num_done_before: int, outcomes: Sequence[Outcome], seconds: float
) -> GenerationSummary:
    results = [outcome.result for outcome in outcomes if isinstance(outcome.result, ShardResult)]
    parts = {
        "sampling": sum(result.sampling_s for result in results),
        "decoding": sum(result.decoding_s for result in results),
        "gates": sum(result.gating_s for result in results),
        "writing": sum(result.writing_s for result in results),
    }
    total = sum(parts.values())
    return GenerationSummary(
        url=cohort.url,
        plan_digest=cohort.plan.digest,
        num_shards=cohort.plan.num_shards,
        num_done_before=num_done_before,
        num_done=len(results),
        num_rows=sum(result.num_rows for result in results),
        num_accepted=sum(result.num_accepted for result in results),
        seconds=seconds,
        shares={name: part / total for name, part in parts.items()} if total else {},
        failures=tuple(outcome for outcome in outcomes if outcome.error is not None),
    )


class _RunRecord:
    """Clocks, hosts, durations and tracebacks of one run, in whole objects under ``runs/``."""

    def __init__(self, cohort: ResolvedCohort) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._folder = join(cohort.url, "runs", f"{stamp}-{secrets.token_hex(4)}")
        self._plan_digest = cohort.plan.digest
        self._lines: list[str] = []
        self._num_objects = 0

    def add(self, outcome: Outcome) -> None:
        result = asdict(outcome.result) if isinstance(outcome.result, ShardResult) else None
        line = {
            "at": datetime.now(UTC).isoformat(),
            "driver": platform.node(),
            "plan_digest": self._plan_digest,
            "shard": outcome.shard.index,
            "tries": outcome.tries,
            "worker": outcome.worker,
            "seconds": outcome.seconds,
            "result": result,
            "error": outcome.error,
        }
        self._lines.append(json.dumps(line, sort_keys=True) + "\n")
        if len(self._lines) >= SHARDS_PER_RECORD:
            self.flush()

    def flush(self) -> None:
        """Write what was added since; a store that refuses it does not stop the run."""
        if not self._lines:
            return
        name = join(self._folder, f"shards-{self._num_objects:06d}.jsonl")
        with suppress(StoreError):
            put_new(name, "".join(self._lines).encode())
        self._lines = []
        self._num_objects += 1
