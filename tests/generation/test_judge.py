"""Rows judged together, a few at a time, as each is by itself."""

from pathlib import Path

import numpy as np

from ecgtwin.generation.gates import NOT_FINITE
from ecgtwin.generation.judge import judge_rows
from ecgtwin.generation.prepare import resolve_cohort
from ecgtwin.signals.measurement import BLOCK_SAMPLES
from ecgtwin.sources.simulated import simulate
from tests.generation.corpora import NUM_SAMPLES, RATE_HZ, make_spec


def test_every_row_is_judged_as_it_is_alone_whatever_stands_beside_it(
    inputs: Path, tmp_path: Path
) -> None:
    """More rows than are looked at together, some of them not finite."""
    cohort = resolve_cohort(make_spec(inputs, tmp_path / "cohort", gates={"accept": "exact"}))
    num_rows = BLOCK_SAMPLES // NUM_SAMPLES + 20
    rows = simulate(seed=8, persons=range(num_rows), visits_per_person=1, sampling_rate_hz=RATE_HZ)
    samples = np.stack([row.record.samples_mv for row in rows])
    broken = [0, 77, num_rows - 25, num_rows - 1]
    samples[broken, 3, 500] = [np.nan, np.inf, -np.inf, np.nan]
    requests = [cohort.plan.request_at(row // 5 % cohort.plan.num_rows) for row in range(num_rows)]
    judged = judge_rows(cohort, requests, samples)
    assert len(judged) == num_rows
    assert [row for row, one in enumerate(judged) if one.failures == (NOT_FINITE,)] == broken
    alone = [
        judge_rows(cohort, [request], samples[row : row + 1])[0]
        for row, request in enumerate(requests)
    ]
    for one, other in zip(judged, alone, strict=True):
        assert (one.failures, one.is_accepted) == (other.failures, other.is_accepted)
        assert one.limb_residual_mv == other.limb_residual_mv
        assert one.measured.heart_rate_bpm == other.measured.heart_rate_bpm
        assert one.is_accepted == (not one.failures)
    assert 10 < sum(one.is_accepted for one in judged) < num_rows - 10
