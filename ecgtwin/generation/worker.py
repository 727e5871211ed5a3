"""GenerateShard: the rows of one shard drawn, measured and committed. Idempotent."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.draw import FIRST_ATTEMPT, Decoder, sample_rows
from ecgtwin.generation.judge import Judged, judge_rows, ledger_line, manifest_columns
from ecgtwin.generation.numerics import agree_on_numerics, fingerprint, settle_numerics
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort, check_still_planned, load_cohort
from ecgtwin.generation.stages import ShardClock, Stage, Stages
from ecgtwin.generation.texts import load_twin
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.objects import is_s3, local_path
from ecgtwin.store.writer import CommittedShard, write_shard
from ecgtwin.twin.checkpoint import SHIPPED
from ecgtwin.twin.twin import EcgTwin


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard took, and how many of its rows were kept. Seconds are of wall time.

    ``num_drawn`` counts every attempt. Seconds are those at work, not those of waiting for a stage.
    """

    num_rows: int
    num_accepted: int
    num_drawn: int
    object_bytes: int
    was_ours: bool
    sampling_s: float
    decoding_s: float
    gating_s: float
    writing_s: float


class GenerateShard:
    """Work: loads the twin and the plan on its first call in a process.

    Calls from several threads, up to ``num_overlapping``, overlap their stages.
    """

    num_overlapping = Stages.num_overlapping

    def __init__(
        self,
        spec: CohortSpec,
        *,
        mixed_numerics: bool = False,
        on_stage_start: Callable[[Stage], None] | None = None,
    ) -> None:
        self._spec = _with_absolute_paths(spec)
        self._mixed_numerics = mixed_numerics
        self._on_stage_start = on_stage_start
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._stages: Stages | None = None
        self._loaded: tuple[EcgTwin, ResolvedCohort, Decoder] | None = None

    def __getstate__(self) -> dict[str, Any]:
        mine = ("_spec", "_mixed_numerics", "_on_stage_start")
        return {name: self.__dict__[name] for name in mine}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, shard: Shard) -> ShardResult:
        """Draw, measure and commit ``shard``."""
        with self._lock:
            if self._stages is None:
                self._stages = Stages(self._on_stage_start)
            if self._loaded is None:
                self._loaded = self._stages.run("sampling", self._load)
        return _generate(*self._loaded, shard, ShardClock(self._stages))

    def _load(self) -> tuple[EcgTwin, ResolvedCohort, Decoder]:
        """Return twin and plan; the cohort's numerics are agreed before anything is written."""
        settle_numerics()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        url = self._spec.output.url
        twin = load_twin(self._spec.checkpoint, texts_at=url, device=device)
        cohort = load_cohort(self._spec, checkpoint_digest=twin.digest)
        mine = fingerprint(twin.device, batch_rows=self._spec.batch_rows)
        agree_on_numerics(cohort.url, mine, mixed=self._mixed_numerics)
        return twin, cohort, Decoder(twin)


def _with_absolute_paths(spec: CohortSpec) -> CohortSpec:
    """Return ``spec`` for a worker that may run in another folder of the same machine."""
    checkpoint = spec.checkpoint
    output = spec.output.model_copy(update={"url": _absolute(spec.output.url)})
    return spec.model_copy(
        update={
            "checkpoint": checkpoint if checkpoint in SHIPPED else _absolute(checkpoint),
            "output": output,
        }
    )


def _absolute(url: str) -> str:
    return url if is_s3(url) else str(local_path(url).absolute())


def generate_shard(twin: EcgTwin, cohort: ResolvedCohort, shard: Shard) -> ShardResult:
    """Draw the rows of ``shard`` in the plan's batches; measure what will be stored; commit it.

    ECGs are resampled where the cohort's rate is not the twin's. With ``accept: exact`` the rows
    that are not accepted are drawn again, as their next attempt, together and in row order, until
    their attempts are spent; the ledger has every reject.
    """
    with one_torch_thread():
        return _generate(twin, cohort, Decoder(twin), shard, ShardClock())


@dataclass(slots=True)
class _Rows:
    """The rows of a shard as they stand after the attempts so far."""

    requests: Sequence[SampleRequest]
    samples_mv: NDArray[np.float32]
    judged: list[Judged]
    attempts: list[int]
    rejects: list[Mapping[str, Any]] = field(default_factory=list)
    num_drawn: int = 0

    @classmethod
    def of(cls, cohort: ResolvedCohort, shard: Shard) -> "_Rows":
        requests = [cohort.plan.request_at(row) for row in range(shard.start, shard.stop)]
        return cls(requests, np.empty(0, np.float32), [], [FIRST_ATTEMPT] * len(requests))

    def waiting(self) -> list[int]:
        """Return the places of the rows that no attempt was accepted of."""
        if not self.judged:
            return list(range(len(self.requests)))
        return [place for place, one in enumerate(self.judged) if not one.is_accepted]

    def take(
        self,
        places: Sequence[int],
        attempt: int,
        samples_mv: NDArray[np.float32],
        judged: Sequence[Judged],
    ) -> None:
        """Put what was drawn as ``attempt`` in the place of what was there."""
        if not self.judged:
            self.samples_mv, self.judged = samples_mv, list(judged)
        else:
            self.samples_mv[list(places)] = samples_mv
            for place, one in zip(places, judged, strict=True):
                self.judged[place], self.attempts[place] = one, attempt
        self.num_drawn += len(places)
        self.rejects += [
            ledger_line(self.requests[place].row, attempt, one)
            for place, one in zip(places, judged, strict=True)
            if not one.is_accepted
        ]


def _generate(
    twin: EcgTwin, cohort: ResolvedCohort, decoder: Decoder, shard: Shard, clock: ShardClock
) -> ShardResult:
    gates = cohort.plan.spec.gates
    rows = _Rows.of(cohort, shard)
    for attempt in range(1 if gates is None else gates.attempts):
        places = rows.waiting()
        if not places:
            break
        samples_mv, judged = _draw_and_judge(
            twin, cohort, decoder, [rows.requests[place] for place in places], attempt, clock
        )
        rows.take(places, attempt, samples_mv, judged)
    written = clock.run("writing", lambda: _write(cohort, shard, rows, clock))
    return ShardResult(
        num_rows=len(rows.requests),
        num_accepted=sum(one.is_accepted for one in rows.judged),
        num_drawn=rows.num_drawn,
        object_bytes=written.object_bytes,
        was_ours=written.was_ours,
        **{
            f"{part}_s": clock.seconds[part]
            for part in ("sampling", "decoding", "gating", "writing")
        },
    )


def _draw_and_judge(
    twin: EcgTwin,
    cohort: ResolvedCohort,
    decoder: Decoder,
    requests: Sequence[SampleRequest],
    attempt: int,
    clock: ShardClock,
) -> tuple[NDArray[np.float32], list[Judged]]:
    def sample() -> list[torch.Tensor]:
        with clock.counted("sampling"):
            return sample_rows(twin, cohort.plan, cohort.base_vectors, requests, attempt=attempt)

    latents = clock.run("sampling", sample)

    def judge() -> tuple[NDArray[np.float32], list[Judged]]:
        with clock.counted("decoding"):
            samples_mv = decoder.decode_to_store(cohort, latents)
        with clock.counted("gating"):
            return samples_mv, judge_rows(cohort, requests, samples_mv)

    return clock.run("judging", judge)


def _write(cohort: ResolvedCohort, shard: Shard, rows: _Rows, clock: ShardClock) -> CommittedShard:
    gates = cohort.plan.spec.gates
    with clock.counted("writing"):
        check_still_planned(cohort)
        return write_shard(
            cohort.url,
            cohort.layout,
            shard,
            rows.samples_mv,
            manifest_columns(cohort, rows.requests, rows.judged, rows.attempts),
            schema="cohort",
            plan_digest=cohort.plan.digest,
            ledger=rows.rejects if gates is not None and gates.accept == "exact" else None,
        )
