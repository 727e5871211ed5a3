"""One shard on its way: sampled, decoded, judged, drawn again where that is asked, committed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.decisions import keeps_rejects
from ecgtwin.generation.draw import FIRST_ATTEMPT, Decoder, Latents, sample_rows
from ecgtwin.generation.judge import Judged, judge_rows, ledger_line, manifest_columns
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort, check_still_planned
from ecgtwin.generation.stages import ShardClock
from ecgtwin.spec.shard import Shard
from ecgtwin.store.writer import CommittedShard, EncodedShard, encode_whole, write_shard
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker keeps from shard to shard. ``base_vectors`` is (patient, width)."""

    twin: EcgTwin
    cohort: ResolvedCohort
    base_vectors: NDArray[np.float32]
    decoder: Decoder

    @classmethod
    def of(cls, twin: EcgTwin, cohort: ResolvedCohort) -> "Loaded":
        """Return what follows from twin and plan."""
        return cls(twin, cohort, cohort.base_vectors, Decoder(twin))


class ShardMaking:
    """The rows of one shard as they stand after the attempts so far.

    ``load`` is called in the stage of sampling, which ends early once ``is_abandoned``.
    """

    def __init__(
        self,
        load: Callable[[], Loaded],
        shard: Shard,
        clock: ShardClock,
        is_abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        self._load = load
        self._is_abandoned = is_abandoned
        self._shard = shard
        self._clock = clock
        self._attempts = [FIRST_ATTEMPT] * len(shard)
        self._waiting = list(range(len(shard)))  # places that no attempt was accepted of
        self._rejects: list[Mapping[str, Any]] = []
        self._num_drawn = 0
        self._loaded: Loaded
        self._requests: Sequence[SampleRequest]
        self._latents: Latents = ()
        self._samples_mv: NDArray[np.float32] = np.empty(0, np.float32)
        self._judged: list[Judged] = []

    def result(self) -> ShardResult:
        """Draw and judge until all rows are accepted or their attempts are spent; then write."""
        self._draw()
        written = self._clock.run("writing", self._write)
        seconds = self._clock.seconds
        return ShardResult(
            num_rows=len(self._shard),
            num_accepted=sum(one.is_accepted for one in self._judged),
            num_drawn=self._num_drawn,
            object_bytes=written.object_bytes,
            was_ours=written.was_ours,
            sampling_s=seconds["sampling"],
            decoding_s=seconds["decoding"],
            gating_s=seconds["gates"],
            writing_s=seconds["writing"],
        )

    def encoded(self) -> EncodedShard:
        """Return the bytes that ``result`` commits; puts nothing."""
        self._draw()
        return encode_whole(self._loaded.cohort.layout, self._shard, **self._content())

    def _draw(self) -> None:
        self._clock.run("sampling", self._begin)
        gates = self._loaded.cohort.plan.spec.gates
        for attempt in range(1 if gates is None else gates.attempts):
            if not self._waiting:
                break
            if attempt > FIRST_ATTEMPT:
                self._clock.run("sampling", partial(self._sample, attempt))
            self._clock.run("judging", partial(self._judge, attempt))

    def _begin(self) -> None:
        """Load and sample at once: shards that come to this stage in order are begun in order."""
        self._loaded = self._load()
        plan = self._loaded.cohort.plan
        self._requests = [
            plan.request_at(row) for row in range(self._shard.start, self._shard.stop)
        ]
        self._sample(FIRST_ATTEMPT)

    def _sample(self, attempt: int) -> None:
        with self._clock.counted("sampling"):
            loaded = self._loaded
            self._latents = sample_rows(
                loaded.twin,
                loaded.cohort.plan,
                loaded.base_vectors,
                [self._requests[place] for place in self._waiting],
                attempt=attempt,
                is_abandoned=self._is_abandoned,
            )

    def _judge(self, attempt: int) -> None:
        """Decode and judge what was sampled, and put it in the place of the attempts before."""
        loaded, places = self._loaded, self._waiting
        with self._clock.counted("decoding"):
            samples_mv = loaded.decoder.decode_to_store(loaded.cohort, self._latents)
            self._latents = ()
        with self._clock.counted("gates"):
            requests = [self._requests[place] for place in places]
            judged = judge_rows(loaded.cohort, requests, samples_mv)
        if attempt == FIRST_ATTEMPT:
            self._samples_mv, self._judged = samples_mv, judged
        else:
            self._samples_mv[places] = samples_mv
            for place, one in zip(places, judged, strict=True):
                self._judged[place], self._attempts[place] = one, attempt
        self._num_drawn += len(places)
        self._waiting = [place for place in places if not self._judged[place].is_accepted]
        self._rejects += [
            ledger_line(self._requests[place].row, attempt, self._judged[place])
            for place in self._waiting
        ]

    def _write(self) -> CommittedShard:
        cohort = self._loaded.cohort
        with self._clock.counted("writing"):
            check_still_planned(cohort)
            return write_shard(cohort.url, cohort.layout, self._shard, **self._content())

    def _content(self) -> dict[str, Any]:
        """Return what is written of the shard, by argument."""
        cohort = self._loaded.cohort
        return {
            "samples_mv": self._samples_mv,
            "columns": manifest_columns(cohort, self._requests, self._judged, self._attempts),
            "schema": "cohort",
            "plan_digest": cohort.plan.digest,
            "ledger": self._rejects if keeps_rejects(cohort.plan.spec.gates) else None,
        }
