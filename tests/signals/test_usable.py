"""What the networks are given of a recording: judged as it was recorded, then prepared."""

import numpy as np
import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.preprocess import prepare
from ecgtwin.signals.record import EcgRecord
from ecgtwin.signals.usable import usable_samples
from ecgtwin.sources.simulated import simulate

TO_HZ, NUM_SAMPLES = 102.4, 1024


@pytest.fixture(scope="module")
def samples_mv():
    (row,) = simulate(seed=1, persons=range(1), visits_per_person=1, sampling_rate_hz=500.0)
    return row.record.samples_mv


def usable(samples_mv):
    record = EcgRecord(samples_mv, 500.0, "person", "record")
    return usable_samples(record, to_hz=TO_HZ, num_samples=NUM_SAMPLES)


def test_a_good_recording_is_prepared_and_no_more(samples_mv):
    expected = prepare(samples_mv, sampling_rate_hz=500.0, to_hz=TO_HZ, num_samples=NUM_SAMPLES)
    np.testing.assert_array_equal(usable(samples_mv), expected)


def test_clipping_is_seen_at_the_rate_of_the_recording(samples_mv):
    clipped = samples_mv.copy()
    top = 0.6 * clipped[10].max()
    clipped[10] = np.minimum(20 * clipped[10], 20 * top)
    with pytest.raises(RecordError, match="clipped in lead V5"):
        usable(clipped)


def test_what_lies_behind_the_window_does_not_matter(samples_mv):
    lost = np.concatenate([samples_mv, np.zeros_like(samples_mv)], axis=1)
    assert usable(lost).shape == (12, NUM_SAMPLES)


def test_every_reason_is_given(samples_mv):
    bad = samples_mv.copy()
    bad[3] = 0.0
    bad[6] *= 100
    with pytest.raises(RecordError, match=r"flat .* in lead aVR; .*above 10 mV.* in lead V1"):
        usable(bad)
