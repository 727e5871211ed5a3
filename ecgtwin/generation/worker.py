"""GenerateShard: the rows of one shard drawn, measured and committed. Idempotent."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtwin.diffusion.noise_key import noise_key, standard_normal
from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.gates import NOT_FINITE, failed_gates
from ecgtwin.generation.numerics import agree_on_numerics, fingerprint, settle_numerics
from ecgtwin.generation.plan import CohortPlan, SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort, check_still_planned, load_cohort
from ecgtwin.generation.texts import load_twin
from ecgtwin.signals.beats import Measurement
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.measurement import measure_all
from ecgtwin.signals.preprocess import resample_rows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.objects import is_s3, local_path
from ecgtwin.store.reader import to_mv
from ecgtwin.store.writer import quantise, write_shard
from ecgtwin.twin.checkpoint import SHIPPED
from ecgtwin.twin.twin import EcgTwin

_FIRST_ATTEMPT = 0
_MEASURED = ("rr_sd_ms", "qrs_ms", "pr_ms", "qt_ms")


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard took, and how many of its rows were kept. Seconds are of wall time."""

    num_rows: int
    num_accepted: int
    object_bytes: int
    was_ours: bool
    sampling_s: float
    measuring_s: float
    writing_s: float


class GenerateShard:
    """Work: loads the twin and the plan on its first call in a process."""

    def __init__(self, spec: CohortSpec, *, mixed_numerics: bool = False) -> None:
        self._spec = _with_absolute_paths(spec)
        self._mixed_numerics = mixed_numerics
        self._loaded: tuple[EcgTwin, ResolvedCohort] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def __call__(self, shard: Shard) -> ShardResult:
        """Draw, measure and commit ``shard``."""
        with one_torch_thread():
            if self._loaded is None:
                self._loaded = self._load()
            return generate_shard(*self._loaded, shard)

    def _load(self) -> tuple[EcgTwin, ResolvedCohort]:
        """Return twin and plan; the cohort's numerics are agreed before anything is written."""
        settle_numerics()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        url = self._spec.output.url
        twin = load_twin(self._spec.checkpoint, texts_at=url, device=device)
        cohort = load_cohort(self._spec, checkpoint_digest=twin.digest)
        mine = fingerprint(twin.device, batch_rows=self._spec.batch_rows)
        agree_on_numerics(cohort.url, mine, mixed=self._mixed_numerics)
        return twin, cohort


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

    ECGs are resampled where the cohort's rate is not the twin's.
    """
    started = time.perf_counter()
    requests = [cohort.plan.request_at(row) for row in range(shard.start, shard.stop)]
    samples_mv = draw_to_store(twin, cohort, requests)
    sampled = time.perf_counter()
    columns = manifest_columns(cohort, requests, samples_mv)
    measured = time.perf_counter()
    check_still_planned(cohort)
    written = write_shard(
        cohort.url,
        cohort.layout,
        shard,
        samples_mv,
        columns,
        schema="cohort",
        plan_digest=cohort.plan.digest,
    )
    return ShardResult(
        num_rows=len(requests),
        num_accepted=sum(columns["accepted"]),
        object_bytes=written.object_bytes,
        was_ours=written.was_ours,
        sampling_s=sampled - started,
        measuring_s=measured - sampled,
        writing_s=time.perf_counter() - measured,
    )


def draw_to_store(
    twin: EcgTwin, cohort: ResolvedCohort, requests: Sequence[SampleRequest]
) -> NDArray[np.float32]:
    """Return (rows, 12, time) in mV at the rate that the cohort is stored at."""
    return resample_rows(
        draw_rows(twin, cohort.plan, cohort.base_vectors, requests),
        from_hz=twin.sampling_rate_hz,
        to_hz=cohort.layout.sampling_rate_hz,
    )


def draw_rows(
    twin: EcgTwin,
    plan: CohortPlan,
    base_vectors: NDArray[np.float32],
    requests: Sequence[SampleRequest],
) -> NDArray[np.float32]:
    """Return (rows, 12, time) in mV, drawn ``batch_rows`` at a time in row order.

    The last batch is padded with its last request to the full number of rows: the low bits of a
    network's output depend on how many rows it is given.
    """
    size = plan.spec.batch_rows
    drawn = []
    for start in range(0, len(requests), size):
        batch = list(requests[start : start + size])
        padded = batch + batch[-1:] * (size - len(batch))
        drawn.append(_draw_batch(twin, plan, base_vectors, padded)[: len(batch)])
    return np.concatenate(drawn)


def key_of(spec: CohortSpec, request: SampleRequest) -> tuple[int, int]:
    """Return what all noise of a sample follows from: what it is, and nothing of its cohort."""
    return noise_key(
        cohort_seed=spec.seed,
        person=request.person,
        condition_digest=None if spec.share_noise else request.condition_digest,
        replicate=request.replicate,
        attempt=_FIRST_ATTEMPT,
    )


def _draw_batch(
    twin: EcgTwin,
    plan: CohortPlan,
    base_vectors: NDArray[np.float32],
    requests: Sequence[SampleRequest],
) -> NDArray[np.float32]:
    """Draw ``requests`` together. Step 0 of a sample's noise starts it, 1 + i is of step i."""
    keys = [key_of(plan.spec, request) for request in requests]

    def noise(step: int) -> NDArray[np.float32]:
        return standard_normal(keys, twin.latent_shape, step=step).astype(np.float32)

    return twin.draw(
        base_vectors[[request.patient_index for request in requests]],
        [request.condition for request in requests],
        noise(0),
        plan.spec.sampling or twin.spec.sampling,
        noise_at=lambda index: noise(1 + index),
    )


def manifest_columns(
    cohort: ResolvedCohort, requests: Sequence[SampleRequest], samples_mv: NDArray[np.float32]
) -> dict[str, list[Any]]:
    """Return the manifest's columns; what is measured is measured on the stored values."""
    is_finite = [bool(np.isfinite(row_mv).all()) for row_mv in samples_mv]
    layout = cohort.layout
    steps, _ = quantise(samples_mv, step_mv=layout.step_mv)
    stored_mv = to_mv(steps, step_mv=layout.step_mv)
    measurements = [Measurement(num_beats=0)] * len(requests)
    finite = np.flatnonzero(is_finite).tolist()
    rates_hz = [layout.sampling_rate_hz] * len(finite)
    for place, found in zip(finite, measure_all(list(stored_mv[finite]), rates_hz), strict=True):
        measurements[place] = found
    residuals_mv = limb_residual_mv(stored_mv).tolist()
    gates, failures = cohort.plan.spec.gates, [[NOT_FINITE]] * len(requests)
    for place in finite:
        failures[place] = (
            []
            if gates is None
            else failed_gates(
                stored_mv[place],
                measured=measurements[place],
                limb_residual_mv=residuals_mv[place],
                condition=requests[place].condition,
                gates=gates,
                sampling_rate_hz=layout.sampling_rate_hz,
            )
        )
    conditions = [request.condition for request in requests]
    patients = [cohort.plan.patients[request.patient_index] for request in requests]
    return {
        "person": [request.person for request in requests],
        "patient_index": [request.patient_index for request in requests],
        "condition_index": [request.condition_index for request in requests],
        "replicate": [request.replicate for request in requests],
        "attempt": [_FIRST_ATTEMPT] * len(requests),
        "accepted": is_finite,
        "gate_failures": failures,
        "statements": [[line.code for line in one.statements] for one in conditions],
        "certainties": [[line.certainty for line in one.statements] for one in conditions],
        "heart_rate_bpm": [one.heart_rate_bpm for one in conditions],
        "age_years": [one.age_years for one in conditions],
        "sex": [one.sex for one in conditions],
        "split": [patient.split for patient in patients],
        "measured_heart_rate_bpm": [found.heart_rate_bpm for found in measurements],
        **{name: [getattr(found, name) for found in measurements] for name in _MEASURED},
        "limb_residual_mv": residuals_mv,
    }
