"""GenerateShard: the rows of one shard drawn, measured and committed. Idempotent."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.making import Loaded, ShardMaking, ShardResult
from ecgtwin.generation.numerics import (
    agree_on_numerics,
    device_at_hand,
    fingerprint,
    settle_numerics,
)
from ecgtwin.generation.prepare import ResolvedCohort, load_cohort
from ecgtwin.generation.stages import ShardClock, Stage, Stages
from ecgtwin.generation.texts import load_twin
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.objects import absolute_url
from ecgtwin.store.writer import EncodedShard
from ecgtwin.twin.checkpoint import SHIPPED
from ecgtwin.twin.twin import EcgTwin


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
        self._spec = with_absolute_paths(spec)
        self._mixed_numerics = mixed_numerics
        self._on_stage_start = on_stage_start
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._abandoned = threading.Event()
        self._stages: Stages | None = None
        self._loaded: Loaded | None = None

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
        clock = ShardClock(self._stages)
        return ShardMaking(self._load, shard, clock, self._abandoned.is_set).result()

    def abandon(self) -> None:
        """End the sampling of what is inside; what is sampled already is still written."""
        self._abandoned.set()

    def _load(self) -> Loaded:
        """Return twin and plan; the cohort's numerics are agreed before anything is written.

        Called by the thread of one stage only.
        """
        if self._loaded is None:
            self._loaded = self._load_first()
        return self._loaded

    def _load_first(self) -> Loaded:
        return Loaded.of(*load_for_work(self._spec, mixed_numerics=self._mixed_numerics))


def load_for_work(spec: CohortSpec, *, mixed_numerics: bool) -> tuple[EcgTwin, ResolvedCohort]:
    """Return twin and plan; the cohort's numerics are agreed before anything is written."""
    settle_numerics()
    twin = load_twin(spec.checkpoint, texts_at=spec.output.url, device=device_at_hand())
    cohort = load_cohort(spec, checkpoint_digest=twin.digest)
    mine = fingerprint(twin.device, batch_rows=spec.batch_rows)
    agree_on_numerics(cohort.url, mine, mixed=mixed_numerics)
    return twin, cohort


def with_absolute_paths(spec: CohortSpec) -> CohortSpec:
    """Return ``spec`` for a worker that may run in another folder of the same machine."""
    checkpoint = spec.checkpoint
    output = spec.output.model_copy(update={"url": absolute_url(spec.output.url)})
    return spec.model_copy(
        update={
            "checkpoint": checkpoint if checkpoint in SHIPPED else absolute_url(checkpoint),
            "output": output,
        }
    )


def generate_shard(twin: EcgTwin, cohort: ResolvedCohort, shard: Shard) -> ShardResult:
    """Draw the rows of ``shard`` in the plan's batches; measure what will be stored; commit it.

    ECGs are resampled where the cohort's rate is not the twin's. With ``accept: exact`` the rows
    that are not accepted are drawn again, as their next attempt, together and in row order, until
    their attempts are spent; the ledger has every reject.
    """
    with one_torch_thread():
        loaded = Loaded.of(twin, cohort)
        return ShardMaking(lambda: loaded, shard, ShardClock()).result()


def encode_generated(twin: EcgTwin, cohort: ResolvedCohort, shard: Shard) -> EncodedShard:
    """Return the bytes that ``generate_shard`` commits; puts nothing."""
    with one_torch_thread():
        loaded = Loaded.of(twin, cohort)
        return ShardMaking(lambda: loaded, shard, ShardClock()).encoded()
