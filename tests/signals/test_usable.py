"""What the networks are given of a recording: judged as it was recorded, then prepared."""

import numpy as np
import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.preprocess import prepare
from ecgtwin.signals.record import EcgRecord
from ecgtwin.signals.usable import usable_samples, usable_window
from ecgtwin.spec.ingest import IngestSpec, QualitySpec, SignalSpec
from tests.signals.pulses import pulse_train

TO_HZ, NUM_SAMPLES = 102.4, 1024


@pytest.fixture
def samples_mv(rng):
    samples, _ = pulse_train(sampling_rate_hz=500)
    return samples + 0.01 * rng.standard_normal(samples.shape).astype(np.float32)


def record_of(samples_mv, rate_hz=500.0):
    return EcgRecord(samples_mv, rate_hz, "person", "record")


def usable(samples_mv):
    return usable_samples(record_of(samples_mv), to_hz=TO_HZ, num_samples=NUM_SAMPLES)


def refused(samples_mv, settings=None, rate_hz=500.0):
    with pytest.raises(RecordError) as caught:
        usable_window(record_of(samples_mv, rate_hz), settings or IngestSpec())
    return caught.value


def test_a_good_recording_is_prepared_and_no_more(samples_mv):
    expected = prepare(samples_mv, sampling_rate_hz=500.0, to_hz=TO_HZ, num_samples=NUM_SAMPLES)
    np.testing.assert_array_equal(usable(samples_mv), expected)
    found, flags = usable_window(record_of(samples_mv), IngestSpec())
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, flags) == (np.float32, ())


def test_the_order_in_memory_does_not_matter(samples_mv):
    np.testing.assert_array_equal(usable(np.asfortranarray(samples_mv)), usable(samples_mv))


def test_clipping_is_seen_at_the_rate_of_the_recording(samples_mv):
    clipped = samples_mv.copy()
    top = 0.6 * clipped[10].max()
    clipped[10] = np.minimum(20 * clipped[10], 20 * top)
    assert "clipped in lead V5" in str(refused(clipped))


def test_what_lies_behind_the_window_does_not_matter(samples_mv):
    alone = usable(samples_mv)
    for behind in (np.zeros_like(samples_mv), np.full_like(samples_mv, np.nan)):
        longer = np.concatenate([samples_mv, behind], axis=1)
        np.testing.assert_array_equal(usable(longer), alone)


def test_every_fault_is_said_and_the_first_is_the_kind(samples_mv):
    bad = samples_mv.copy()
    bad[3] = 0.0
    bad[6] *= 100
    error = refused(bad)
    assert "flat for 2.5 s or more in lead aVR; amplitude of" in str(error)
    assert "(above 10 mV) in lead V1" in str(error)
    assert (error.kind, error.value) == ("flat_lead", "aVR for 10.0 s")


def test_gaps_are_told_before_and_beside_what_else_is_wrong(samples_mv):
    bad = samples_mv.copy()
    bad[0] = np.nan
    bad[1, 100:200] = np.inf
    bad[2, ::50] = np.nan
    bad[3] = 0.0
    bad[4] *= 100
    error = refused(bad)
    assert (error.kind, error.value) == ("lead_empty", "I")
    assert "lead II for 200 ms, III in 2.0% of its samples" in str(error)
    assert "in lead aVR; amplitude" in str(error)


@pytest.mark.parametrize(
    ("fault", "kind", "value"),
    [
        (lambda x: x[:, :4000], "too_short", "8.00 s"),
        (lambda x: x[:11], "lead_missing", "(11, 5000)"),
        (lambda x: np.full_like(x, np.nan), "lead_empty", ", ".join(["I", "II", "III"])),
        (lambda x: x * 0.01, "flat_lead", "I for 10.0 s"),
        (lambda x: 0.02 * np.sign(x), "amplitude_low", "0.040 mV"),
        (lambda x: x * 50, "amplitude_high", "I "),
    ],
)
def test_each_kind_has_its_value(samples_mv, fault, kind, value):
    error = refused(fault(samples_mv))
    assert error.kind == kind
    assert error.value.startswith(value)


def test_a_filled_gap_is_flagged(samples_mv):
    gapped = samples_mv.copy()
    gapped[1, 500:510] = np.nan
    gapped[7, 0] = -np.inf
    found, flags = usable_window(record_of(gapped), IngestSpec())
    assert flags == ("gap_filled:II", "gap_filled:V2")
    assert np.isfinite(found).all()
    narrow = IngestSpec(signal=SignalSpec(max_gap_s=0.01))
    assert refused(gapped, narrow).kind == "nan_gap"


def test_a_flat_lead_may_be_kept_with_a_flag(samples_mv):
    flat = samples_mv.copy()
    flat[8, 1000:3500] = 0.1
    lenient = IngestSpec(quality=QualitySpec(flat_lead="flag"))
    found, flags = usable_window(record_of(flat), lenient)
    assert flags == ("flat_lead:V3",)
    np.testing.assert_array_equal(
        found, prepare(flat, sampling_rate_hz=500, to_hz=TO_HZ, num_samples=NUM_SAMPLES)
    )
    flat[4] *= 100
    assert refused(flat, lenient).kind == "amplitude_high"


def test_a_recording_shorter_than_allowed_is_refused_however_short_the_window(samples_mv):
    settings = IngestSpec(num_samples=256)
    assert usable_window(record_of(samples_mv), settings)[0].shape == (12, 256)
    error = refused(samples_mv[:, :2000], settings)
    assert (error.kind, error.value) == ("too_short", "4.00 s")
    assert "at least 5 s is needed" in str(error)


def test_the_filters_are_those_of_the_settings(samples_mv):
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(5000) / 500).astype(np.float32)
    wander = 1 + 0.3 * np.sin(2 * np.pi * 0.07 * np.arange(5000) / 500).astype(np.float32)
    signal = SignalSpec(highpass_hz=0.5, notch_hz=50, resampling="fft")
    found, flags = usable_window(record_of(samples_mv + hum + wander), IngestSpec(signal=signal))
    clean, _ = usable_window(record_of(samples_mv), IngestSpec(signal=signal))
    assert flags == ()
    assert np.abs(found - clean)[:, 100:-100].max() < 0.05


def test_a_notch_that_cannot_be_made_is_flagged():
    samples, _ = pulse_train(sampling_rate_hz=100)
    settings = IngestSpec(sampling_rate_hz=100, num_samples=1000, signal=SignalSpec(notch_hz=50))
    found, flags = usable_window(record_of(samples, 100.0), settings)
    assert flags == ("notch_above_rate:50",)
    np.testing.assert_array_equal(found, samples)
