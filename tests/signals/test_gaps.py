import numpy as np
import pytest

from ecgtwin.signals.gaps import filled, gap_faults, longest_run, runs
from ecgtwin.spec.ingest import SignalSpec


def test_runs_and_the_longest_of_them(rng):
    for _ in range(50):
        mask = rng.random(30) < rng.random()
        text = "".join("x" if value else " " for value in mask)
        starts, stops = runs(mask)
        assert [text[a:b] for a, b in zip(starts, stops, strict=True)] == text.split()
        assert longest_run(mask) == max(map(len, text.split()), default=0)


@pytest.mark.parametrize(
    ("length", "kinds"), [(0, []), (20, []), (21, ["nan_gap"]), (1000, ["lead_empty"])]
)
def test_a_gap_is_a_fault_from_the_first_sample_too_many(length, kinds):
    """20 samples of 500 Hz are 40 ms; 2 % of the lead may be missing."""
    missing = np.zeros((2, 1000), dtype=bool)
    missing[1, :length] = True
    signal = SignalSpec(max_gap_share=0.05)
    found = gap_faults(missing, ["I", "II"], sampling_rate_hz=500, signal=signal)
    assert [fault.kind for fault in found] == kinds
    assert all(fault.value.startswith("II") for fault in found)


def test_a_share_counts_gaps_that_are_each_short_enough():
    missing = np.zeros((1, 1000), dtype=bool)
    missing[0, 0:500:50] = True
    kinds = [
        [fault.kind for fault in gap_faults(missing, ["V1"], sampling_rate_hz=500, signal=signal)]
        for signal in (SignalSpec(), SignalSpec(max_gap_share=0.009))
    ]
    assert kinds == [[], ["nan_gap"]]


def test_filling_is_linear_keeps_the_precision_and_lets_an_empty_lead_be():
    samples = np.tile(np.arange(10, dtype=np.float32), (3, 1))
    missing = np.zeros((3, 10), dtype=bool)
    missing[0, 3:6] = missing[1, :2] = missing[1, 9] = missing[2] = True
    samples[missing] = np.nan
    found = filled(samples, missing)
    assert found.dtype == np.float32
    assert found[0].tolist() == list(range(10))
    assert found[1].tolist() == [2, 2, 2, 3, 4, 5, 6, 7, 8, 8]
    assert np.isnan(found[2]).all()
