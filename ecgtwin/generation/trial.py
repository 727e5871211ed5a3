"""A few rows of a plan drawn here: to look at, and to measure rate and size with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.draw import FIRST_ATTEMPT, draw_to_store
from ecgtwin.generation.judge import judge_rows, manifest_columns
from ecgtwin.generation.numerics import device_kind, settle_numerics
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.spec.rates import Rate, StoredForm
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.writer import quantise
from ecgtwin.store.zarr_shards import encode_shard
from ecgtwin.twin.twin import EcgTwin

_MOST_BATCHES = 8
_ENOUGH_S = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Rows as a worker would draw them: requests and samples (rows, 12, time) in mV."""

    requests: Sequence[SampleRequest]
    samples_mv: NDArray[np.float32]


def draw_spread(twin: EcgTwin, cohort: ResolvedCohort, num_rows: int) -> Trial:
    """Draw ``num_rows`` rows spread evenly over the plan, in its batches and with one thread.

    They differ from those of the cohort by low bits only, as other rows stand in their batch.
    """
    return _drawn(twin, cohort, _spread(cohort, num_rows))


def stored_share(cohort: ResolvedCohort, trial: Trial) -> float | None:
    """Return the bytes that whole chunks of the rows take, as a share of the raw ones.

    None where the rows do not fill a chunk: a partial one takes more.
    """
    size = cohort.layout.rows_per_chunk
    whole = len(trial.requests) // size * size
    if not whole:
        return None
    chunks = Trial(trial.requests[:whole], trial.samples_mv[:whole])
    return _stored_bytes(cohort, chunks) / cohort.layout.raw_bytes(whole)


def stored_form(layout: SignalLayout) -> StoredForm:
    """Return what the size of a stored ECG goes by."""
    return StoredForm(
        sampling_rate_hz=layout.sampling_rate_hz,
        step_mv=layout.step_mv,
        codec=layout.codec,
        rows_per_chunk=layout.rows_per_chunk,
    )


def _spread(cohort: ResolvedCohort, num_rows: int) -> list[SampleRequest]:
    last = cohort.plan.num_rows - 1
    rows = np.unique(np.linspace(0, last, num_rows).round().astype(np.int64))
    return [cohort.plan.request_at(row) for row in rows.tolist()]


def _full_batch(cohort: ResolvedCohort, size: int) -> list[SampleRequest]:
    """Return a whole batch: of a plan of fewer rows some stand there again."""
    spread = _spread(cohort, size)
    return [spread[place % len(spread)] for place in range(size)]


def _drawn(twin: EcgTwin, cohort: ResolvedCohort, requests: Sequence[SampleRequest]) -> Trial:
    settle_numerics()
    with one_torch_thread():
        return Trial(requests, draw_to_store(twin, cohort, requests))


def measure_rate(twin: EcgTwin, cohort: ResolvedCohort) -> Rate:
    """Draw, measure, quantise and encode batches for some seconds, and return the rate.

    A first batch warms up and does not count. Nothing is written.
    """
    size = cohort.plan.spec.batch_rows
    requests = _full_batch(cohort, size)
    _drawn(twin, cohort, requests)
    num_ecgs, num_batches, stored_bytes = 0, 0, 0
    started = time.perf_counter()
    while num_batches < _MOST_BATCHES and time.perf_counter() - started < _ENOUGH_S:
        trial = _drawn(twin, cohort, requests)
        with one_torch_thread():
            judged = judge_rows(cohort, trial.requests, trial.samples_mv)
            manifest_columns(cohort, trial.requests, judged, [FIRST_ATTEMPT] * len(judged))
        stored_bytes += _stored_bytes(cohort, trial)
        num_ecgs += len(trial.requests)
        num_batches += 1
    seconds = time.perf_counter() - started
    return Rate(
        checkpoint=twin.digest,
        preset=twin.spec.preset,
        device_kind=device_kind(twin.device),
        sampling=cohort.plan.spec.sampling or twin.spec.sampling,
        batch_rows=size,
        stored=stored_form(cohort.layout),
        ecgs_per_second=num_ecgs / seconds,
        bytes_per_ecg=stored_bytes / num_ecgs,
        raw_bytes_per_ecg=cohort.layout.raw_bytes(1),
        num_ecgs=num_ecgs,
        measured_on=datetime.now(UTC).date().isoformat(),
        versions={name: version(name) for name in ("ecgtwin", "torch", "numpy", "zarr")},
    )


def _stored_bytes(cohort: ResolvedCohort, trial: Trial) -> int:
    layout = cohort.layout
    steps, _ = quantise(trial.samples_mv, step_mv=layout.step_mv)
    return sum(
        len(encode_shard(layout, steps[start : start + layout.rows_per_shard]))
        for start in range(0, len(steps), layout.rows_per_shard)
    )
