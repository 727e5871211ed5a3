"""generate_cohort: planned minus committed, given to an executor; what failed is reported."""

import json
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ecgtwin.errors import StoreError
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.generation.estimate import SHARDS_PER_RECORD
from ecgtwin.generation.making import ShardResult
from ecgtwin.generation.numerics import check_fixed
from ecgtwin.generation.plan import plan_text, shards_text
from ecgtwin.generation.prepare import ResolvedCohort, resolve_cohort, write_plan
from ecgtwin.generation.speed import Speed
from ecgtwin.generation.texts import put_plan_texts
from ecgtwin.generation.worker import GenerateShard
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.commit import put_new
from ecgtwin.store.manifest import resumable_shards
from ecgtwin.store.objects import join

SECONDS_PER_RECORD = 30.0  # no shard that ended longer ago is not yet told under runs/


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """What one run did; ``speed`` counts what was made in this run."""

    url: str
    plan_digest: str
    num_shards: int
    num_done_before: int
    speed: Speed
    failures: tuple[Outcome, ...]

    @property
    def num_rows(self) -> int:
        """ECGs made in this run."""
        return self.speed.num_ecgs

    @property
    def num_accepted(self) -> int:
        """ECGs of this run that are accepted."""
        return self.speed.num_accepted

    @property
    def num_done(self) -> int:
        """Shards made in this run."""
        return self.speed.num_shards

    @property
    def is_complete(self) -> bool:
        """Say whether every shard of the plan is committed."""
        return self.num_done_before + self.num_done == self.num_shards

    def line(self) -> str:
        """Return one line for a person."""
        light = self.speed.light()
        some = self.num_accepted < self.num_rows
        accepted = f", {self.num_accepted:,} of them accepted," if some else ""
        return (
            f"{self.num_rows:,} ECGs{accepted} in {self.speed.seconds:.1f} s"
            f"{light and f' ({light})'}; "
            f"{self.num_done_before + self.num_done} of {self.num_shards} shards committed"
        )


@dataclass(frozen=True, slots=True)
class PlanDescription:
    """What a specification comes to, before anything is written."""

    text: str
    num_shards: int
    num_left: int
    num_ecgs_left: int


def describe_plan(spec: CohortSpec) -> PlanDescription:
    """Return what making ``spec`` would take. Writes nothing; raises as ``generate_cohort``."""
    cohort = resolve_cohort(spec)
    done, shards = _done(cohort), cohort.plan.shards()
    text = shards_text(
        cohort.plan,
        raw_bytes=cohort.layout.raw_bytes(cohort.plan.num_rows),
        num_committed=len(done),
    )
    return PlanDescription(
        text=f"{plan_text(cohort.plan)}\n{text}",
        num_shards=len(shards),
        num_left=len(shards) - len(done),
        num_ecgs_left=cohort.plan.num_rows - sum(len(shards[index]) for index in done),
    )


def generate_cohort(
    spec: CohortSpec,
    *,
    executor: Executor,
    on_outcome: Callable[[Outcome, Speed], None] | None = None,
    mixed_numerics: bool = False,
) -> GenerationSummary:
    """Make, or finish, the cohort that ``spec`` asks for; a finished one is left as it is.

    Raises CohortMismatchError, with nothing changed, where another cohort stands at the URL, and
    DamageError where its numerics are lost, unless ``mixed_numerics``.
    Shards that fail after their tries are in the summary; the rest is made. ``on_outcome`` is told
    how each shard ended, and the speed so far.
    """
    cohort = resolve_cohort(spec)
    done = _done(cohort)
    shards = cohort.plan.shards()
    left = (shards[index] for index in range(len(shards)) if index not in done)
    if len(done) == len(shards):
        return _summary(cohort, len(done), Speed(), [])
    if done and not mixed_numerics:
        check_fixed(cohort.url)
    cohort = write_plan(cohort)
    put_plan_texts(
        cohort.url,
        (line for state in cohort.plan.states for line in state.statements),
        checkpoint=spec.checkpoint,
        corpus_url=spec.corpus,
    )
    started = time.perf_counter()
    failures: list[Outcome] = []
    speed = Speed()
    record = _RunRecord(cohort)
    try:
        work = GenerateShard(cohort.plan.spec, mixed_numerics=mixed_numerics)
        # Closed here, not when somebody lets go of the error: workers must not outlive the run.
        with closing(executor.run(work, left)) as made:
            for outcome in made:
                speed.add(outcome, seconds=time.perf_counter() - started)
                record.add(outcome)
                if outcome.error is not None:
                    failures.append(outcome)
                if outcome.mistake is not None and outcome.is_hopeless:
                    raise outcome.mistake
                if on_outcome is not None:
                    on_outcome(outcome, speed)
    finally:
        record.flush()
    speed.seconds = time.perf_counter() - started
    return _summary(cohort, len(done), speed, failures)


def _done(cohort: ResolvedCohort) -> set[int]:
    """Return the shards of this plan that are committed."""
    return resumable_shards(cohort.url, cohort.layout, plan_digest=cohort.plan.digest)


def _summary(
    cohort: ResolvedCohort, num_done_before: int, speed: Speed, failures: Sequence[Outcome]
) -> GenerationSummary:
    return GenerationSummary(
        url=cohort.url,
        plan_digest=cohort.plan.digest,
        num_shards=cohort.plan.num_shards,
        num_done_before=num_done_before,
        speed=speed,
        failures=tuple(failures),
    )


class _RunRecord:
    """Clocks, hosts, durations and tracebacks of one run, in whole objects under ``runs/``."""

    def __init__(self, cohort: ResolvedCohort) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._folder = join(cohort.url, "runs", f"{stamp}-{secrets.token_hex(4)}")
        self._plan_digest = cohort.plan.digest
        self._lines: list[str] = []
        self._num_objects = 0
        self._flushed_at = time.monotonic()

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
        is_old = time.monotonic() - self._flushed_at > SECONDS_PER_RECORD
        if is_old or len(self._lines) >= SHARDS_PER_RECORD:
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
        self._flushed_at = time.monotonic()
