import numpy as np
import pytest

from ecgtwin.signals.quality import reasons
from tests.signals.pulses import pulse_train


@pytest.fixture
def clean(rng):
    samples, _ = pulse_train(sampling_rate_hz=500)
    return samples + 0.01 * rng.standard_normal(samples.shape).astype(np.float32)


def test_a_clean_recording_has_no_reason_against_it(clean):
    assert reasons(clean, sampling_rate_hz=500) == ()


@pytest.mark.parametrize("rate_bpm", [35, 70, 180])
def test_a_recording_without_any_noise_is_not_called_flat(rate_bpm):
    samples, _ = pulse_train(rate_bpm=rate_bpm)
    assert reasons(samples, sampling_rate_hz=102.4) == ()


def test_each_fault_is_named_with_its_lead(clean):
    flat, partly, clipped, huge, missing = (clean.copy() for _ in range(5))
    flat[2] = 0.0
    partly[8, 2000:4000] = partly[8, 2000]
    clipped[1] = np.clip(3 * clipped[1], -1.0, 1.0)
    huge[10, 77] = 25.0
    missing[0, 5] = np.nan
    assert reasons(flat, sampling_rate_hz=500) == ("flat for 2.5 s or more in lead III",)
    assert reasons(partly, sampling_rate_hz=500) == ("flat for 2.5 s or more in lead V3",)
    assert reasons(clipped, sampling_rate_hz=500) == ("clipped in lead II",)
    assert "above 10 mV) in lead V5" in reasons(huge, sampling_rate_hz=500)[0]
    assert reasons(missing, sampling_rate_hz=500) == ("no finite value (NaN) in lead I",)


def test_shape_length_and_an_unconnected_recording(clean):
    assert "shape (3, 5000)" in reasons(clean[:3], sampling_rate_hz=500)[0]
    assert "too short: 4.0 s" in reasons(clean[:, :2000], sampling_rate_hz=500)[0]
    assert any("in every lead" in text for text in reasons(clean * 0.03, sampling_rate_hz=500))


def test_real_recordings_pass(ptbxl_records):
    refused = [r for _, samples in ptbxl_records if (r := reasons(samples, sampling_rate_hz=500))]
    assert len(refused) <= 0.05 * len(ptbxl_records), refused
