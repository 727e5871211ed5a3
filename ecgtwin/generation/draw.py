"""Rows of a plan drawn in its batches: latents on the device, then ECGs at the stored rate."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.diffusion.noise_key import noise_key, standard_normal
from ecgtwin.generation.plan import CohortPlan, SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.signals.preprocess import resample_rows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.twin.drawing import draw_latents
from ecgtwin.twin.twin import EcgTwin

Latents = Sequence[Tensor]  # (row, channel, frame) of a batch each

FIRST_ATTEMPT = 0


class AbandonedError(RuntimeError):
    """Nobody waits for a shard any more; nothing of it was written."""


def sample_rows(
    twin: EcgTwin,
    plan: CohortPlan,
    base_vectors: NDArray[np.float32],
    requests: Sequence[SampleRequest],
    *,
    attempt: int = FIRST_ATTEMPT,
    is_abandoned: Callable[[], bool] = lambda: False,
) -> Latents:
    """Return the latents of ``requests`` in their order.

    The last batch is padded with its last request to the full number of rows: the low bits of a
    network's output depend on how many rows it is given. On a GPU they are ready on return.
    Raises AbandonedError between batches once ``is_abandoned``.
    """
    size = plan.spec.batch_rows
    drawn = []
    for start in range(0, len(requests), size):
        if is_abandoned():
            raise AbandonedError("the run was ended")
        batch = list(requests[start : start + size])
        padded = batch + batch[-1:] * (size - len(batch))
        drawn.append(_sample_batch(twin, plan, base_vectors, padded, attempt)[: len(batch)])
    if twin.device.type == "cuda":
        torch.cuda.current_stream(twin.device).synchronize()
    return drawn


class Decoder:
    """Makes ECGs of latents beside the sampling: on a GPU on a stream of its own.

    They come back through one buffer of pinned memory there, so one thread at a time may use it.
    """

    def __init__(self, twin: EcgTwin) -> None:
        self._twin = twin
        self._stream: torch.cuda.Stream | None = None
        if twin.device.type == "cuda":
            self._stream = torch.cuda.Stream(twin.device)  # type: ignore[no-untyped-call]
        self._pinned: Tensor | None = None

    def decode(self, plan: CohortPlan, latents: Latents) -> NDArray[np.float32]:
        """Return (rows, 12, time) in mV at the twin's rate of latents in batches."""
        with torch.cuda.stream(self._stream):  # does nothing for None
            return np.concatenate([self._decoded(plan, batch) for batch in latents])

    def decode_to_store(self, cohort: ResolvedCohort, latents: Latents) -> NDArray[np.float32]:
        """Return (rows, 12, time) in mV at the rate that the cohort is stored at."""
        return resample_rows(
            self.decode(cohort.plan, latents),
            from_hz=self._twin.sampling_rate_hz,
            to_hz=cohort.layout.sampling_rate_hz,
        )

    def _decoded(self, plan: CohortPlan, latents: Tensor) -> NDArray[np.float32]:
        num_rows, size = len(latents), plan.spec.batch_rows
        whole = torch.cat([latents, latents[-1:].expand(size - num_rows, -1, -1)])
        leads = (plan.spec.sampling or self._twin.spec.sampling).leads
        return self._twin.samples_of(whole, leads=leads, to_host=self._on_host)[:num_rows]

    def _on_host(self, values: Tensor) -> Tensor:
        if self._stream is None:
            return values
        if self._pinned is None or self._pinned.shape != values.shape:
            self._pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._pinned.copy_(values, non_blocking=True)
        self._stream.synchronize()
        return self._pinned


def draw_to_store(
    twin: EcgTwin,
    cohort: ResolvedCohort,
    requests: Sequence[SampleRequest],
    *,
    attempt: int = FIRST_ATTEMPT,
) -> NDArray[np.float32]:
    """Return (rows, 12, time) in mV at the rate that the cohort is stored at."""
    latents = sample_rows(twin, cohort.plan, cohort.base_vectors, requests, attempt=attempt)
    return Decoder(twin).decode_to_store(cohort, latents)


def key_of(
    spec: CohortSpec, request: SampleRequest, *, attempt: int = FIRST_ATTEMPT
) -> tuple[int, int]:
    """Return what all noise of a sample follows from: what it is, and nothing of its cohort."""
    return noise_key(
        cohort_seed=spec.seed,
        person=request.person,
        condition_digest=None if spec.share_noise else request.condition_digest,
        replicate=request.replicate,
        attempt=attempt,
    )


def _sample_batch(
    twin: EcgTwin,
    plan: CohortPlan,
    base_vectors: NDArray[np.float32],
    requests: Sequence[SampleRequest],
    attempt: int,
) -> Tensor:
    """Draw ``requests`` together. Step 0 of a sample's noise starts it, 1 + i is of step i."""
    keys = [key_of(plan.spec, request, attempt=attempt) for request in requests]

    def noise(step: int) -> NDArray[np.float32]:
        return standard_normal(keys, twin.latent_shape, step=step).astype(np.float32)

    return draw_latents(
        twin,
        base_vectors[[request.patient_index for request in requests]],
        [request.condition for request in requests],
        noise(0),
        plan.spec.sampling or twin.spec.sampling,
        noise_at=lambda index: noise(1 + index),
    )
