import numpy as np
import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import derive_limb_leads, limb_residual_mv
from ecgtwin.signals.preprocess import crop, fill_gaps, prepare, remove_baseline, resample


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(500, 102.4), (1000, 102.4), (102.4, 500), (360, 250)]
)
def test_resampling_a_sine_keeps_amplitude_and_phase(from_hz, to_hz):
    times_s = np.arange(round(10 * from_hz)) / from_hz
    sine = np.sin(2 * np.pi * 7.3 * times_s + 0.4)
    resampled = resample(sine, from_hz=from_hz, to_hz=to_hz)
    wanted = np.sin(2 * np.pi * 7.3 * np.arange(round(10 * to_hz)) / to_hz + 0.4)
    assert len(resampled) == round(10 * to_hz)
    assert np.abs(resampled - wanted)[50:-50].max() < 3e-3


def test_edges_do_not_ring_for_an_offset_and_a_slope():
    times_s = np.arange(5000) / 500
    signal_mv = 5.0 + 0.3 * times_s + 0.2 * np.sin(2 * np.pi * 1.1 * times_s)
    resampled = resample(signal_mv, from_hz=500, to_hz=102.4)
    at = np.arange(1024) / 102.4
    error = np.abs(resampled - (5.0 + 0.3 * at + 0.2 * np.sin(2 * np.pi * 1.1 * at)))
    interior, edge = error[100:-100].max(), max(error[:30].max(), error[-30:].max())
    assert edge < 0.01
    assert interior < 0.01


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    times_s = np.arange(5000) / 500
    tone = resample(np.sin(2 * np.pi * 80 * times_s), from_hz=500, to_hz=102.4)
    assert np.abs(tone[20:-20]).max() < 0.005


def test_limb_identities_survive_preparation(rng):
    twelve = derive_limb_leads(rng.standard_normal((8, 5000)).cumsum(axis=1) * 0.01)
    prepared = prepare(twelve, sampling_rate_hz=500, to_hz=102.4, num_samples=1024)
    assert prepared.shape == (12, 1024)
    assert prepared.dtype == np.float32
    assert limb_residual_mv(prepared.astype(np.float64)) < 1e-5


def test_a_short_gap_is_interpolated_linearly():
    samples = np.tile(np.linspace(0, 1, 500), (12, 1))
    broken = samples.copy()
    broken[3, 100:104] = np.nan
    broken[4, 0] = np.inf
    filled = fill_gaps(broken, sampling_rate_hz=500)
    np.testing.assert_allclose(filled[3], samples[3], atol=1e-12)
    assert filled[4, 0] == samples[4, 1]
    assert np.isnan(broken[3, 100])  # the input is left alone


@pytest.mark.parametrize("where", [slice(100, 130), slice(0, 500), slice(0, 500, 20)])
def test_a_long_gap_names_its_lead(where):
    samples = np.zeros((12, 500))
    samples[7, where] = np.nan
    with pytest.raises(RecordError, match=r"lead V2 .*NaN"):
        fill_gaps(samples, sampling_rate_hz=500)


@pytest.mark.parametrize(
    ("shape", "rate", "message"),
    [
        ((11, 5000), 500, r"shape \(11, 5000\)"),
        ((12, 4000), 500, "too short: 8.00 s, 10.00 s are needed"),
        ((12, 5000), 0, "sampling rate is 0"),
    ],
)
def test_what_cannot_be_prepared_says_why(shape, rate, message):
    with pytest.raises(RecordError, match=message):
        prepare(np.zeros(shape), sampling_rate_hz=rate, to_hz=102.4, num_samples=1024)


def test_crop_keeps_the_beginning_and_refuses_too_little():
    samples = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(crop(samples, num_samples=5), samples[:, :5])
    with pytest.raises(RecordError, match="12 samples at the wanted rate, 13 are needed"):
        crop(samples, num_samples=13)


def test_baseline_goes_and_the_waves_stay():
    times_s = np.arange(1024) / 102.4
    waves = np.sin(2 * np.pi * 8 * times_s)
    wander = 2.0 + 0.5 * np.sin(2 * np.pi * 0.1 * times_s)
    kept = remove_baseline(waves + wander, sampling_rate_hz=102.4)
    assert np.abs(kept - waves)[100:-100].max() < 0.05
