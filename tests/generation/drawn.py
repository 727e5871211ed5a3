"""ECGs of a plan as a worker draws them, before they are resampled and stored."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.draw import Decoder, sample_rows
from ecgtwin.generation.plan import CohortPlan, SampleRequest
from ecgtwin.twin.twin import EcgTwin


def draw_rows(
    twin: EcgTwin,
    plan: CohortPlan,
    base_vectors: NDArray[np.float32],
    requests: Sequence[SampleRequest],
) -> NDArray[np.float32]:
    """Return (rows, 12, time) in mV at the twin's rate, drawn in the plan's batches."""
    return Decoder(twin).decode(plan, sample_rows(twin, plan, base_vectors, requests))
