import numpy as np
import pytest
from scipy import signal as scipy_signal

from ecgtwin.errors import RecordError
from ecgtwin.signals.beats import measure
from ecgtwin.signals.leads import derive_limb_leads, limb_residual_mv
from ecgtwin.signals.preprocess import (
    crop,
    fill_gaps,
    filter_samples,
    prepare,
    resample,
    resample_rows,
)
from ecgtwin.spec.ingest import SignalSpec
from tests.signals.pulses import pulse_train


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(500, 102.4), (1000, 102.4), (102.4, 500), (360, 250)]
)
def test_resampling_a_sine_keeps_amplitude_and_phase(from_hz, to_hz):
    times_s = np.arange(round(10 * from_hz)) / from_hz
    sine = np.sin(2 * np.pi * 7.3 * times_s + 0.4)
    resampled = resample(sine, from_hz=from_hz, to_hz=to_hz)
    wanted = np.sin(2 * np.pi * 7.3 * np.arange(round(10 * to_hz)) / to_hz + 0.4)
    assert len(resampled) == round(10 * to_hz)
    assert np.abs(resampled - wanted)[50:-50].max() < 4e-4


@pytest.mark.parametrize(("method", "rings"), [("polyphase", False), ("fft", True)])
def test_edges_do_not_ring_for_an_offset_and_a_slope(method, rings):
    times_s = np.arange(5000) / 500
    signal_mv = 5.0 + 0.3 * times_s + 0.2 * np.sin(2 * np.pi * 1.1 * times_s)
    resampled = resample(signal_mv, from_hz=500, to_hz=102.4, method=method)
    at = np.arange(1024) / 102.4
    error = np.abs(resampled - (5.0 + 0.3 * at + 0.2 * np.sin(2 * np.pi * 1.1 * at)))
    edge = max(error[:30].max(), error[-30:].max())
    assert (edge > 0.1) == rings
    assert rings or error.max() < 0.003


@pytest.mark.parametrize("to_hz", [250, 500, 1000])
def test_rows_at_a_higher_rate_are_the_same_ecgs(to_hz):
    """Waves of a formula are known at any rate; their QRS holds nothing above 42 Hz."""
    kinds = [{"rate_bpm": 48.0}, {"rate_bpm": 75.0}, {"rate_bpm": 131.0}]
    drawn, wanted = (
        np.stack([pulse_train(**kind, sampling_rate_hz=hz)[0] for kind in kinds])
        for hz in (102.4, to_hz)
    )
    found = resample_rows(drawn, from_hz=102.4, to_hz=to_hz)
    assert found.dtype == np.float32
    assert found.shape == (3, 12, 10 * to_hz)
    np.testing.assert_allclose(found, wanted, atol=0.006)
    assert limb_residual_mv(found.astype(np.float64)).max() < 1e-5
    for kind, low, high, formula in zip(kinds, drawn, found, wanted, strict=True):
        before, after = measure(low, sampling_rate_hz=102.4), measure(high, sampling_rate_hz=to_hz)
        assert after.num_beats == before.num_beats
        assert after.heart_rate_bpm == pytest.approx(kind["rate_bpm"], abs=0.3)
        true_mv = measure(formula, sampling_rate_hz=to_hz).r_amplitude_mv
        assert after.r_amplitude_mv == pytest.approx(true_mv, rel=0.01)


def test_rows_are_resampled_each_by_itself(rng):
    samples = rng.standard_normal((5, 12, 1024)).astype(np.float32)
    samples[1, 3, 40], samples[2, 0, 7] = np.nan, np.inf
    found = resample_rows(samples, from_hz=102.4, to_hz=500)
    assert np.isfinite(found).all(axis=(1, 2)).tolist() == [True, False, False, True, True]
    alone = resample_rows(samples[3:4], from_hz=102.4, to_hz=500)
    assert found[3].tobytes() == alone[0].tobytes()
    assert resample_rows(samples, from_hz=102.4, to_hz=102.4) is samples
    assert resample_rows(samples[:0], from_hz=102.4, to_hz=250).shape == (0, 12, 2500)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    times_s = np.arange(5000) / 500
    tone = resample(np.sin(2 * np.pi * 80 * times_s), from_hz=500, to_hz=102.4)
    assert np.abs(tone[20:-20]).max() < 4e-4


def test_the_published_way_is_the_fft_of_the_whole(rng):
    samples = rng.standard_normal((12, 5000)).astype(np.float32)
    found = resample(samples, from_hz=500, to_hz=102.4, method="fft")
    wanted = scipy_signal.resample(samples.T.astype(np.float64), 1024).T
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_limb_identities_survive_preparation(rng):
    twelve = derive_limb_leads(rng.standard_normal((8, 5000)).cumsum(axis=1) * 0.01)
    for signal in (SignalSpec(), SignalSpec(highpass_hz=0.5, notch_hz=50, resampling="fft")):
        prepared = prepare(
            twelve, sampling_rate_hz=500, to_hz=102.4, num_samples=1024, signal=signal
        )
        assert prepared.shape == (12, 1024)
        assert prepared.dtype == np.float32
        assert limb_residual_mv(prepared.astype(np.float64)) < 1e-5


def test_filters_are_off_until_asked_for_and_act_in_either_order(rng):
    times_s = np.arange(5000) / 500
    wander = 3 + 0.5 * np.sin(2 * np.pi * 0.05 * times_s)
    hum = 0.3 * np.sin(2 * np.pi * 50 * times_s + 1)
    waves = np.tile(np.sin(2 * np.pi * 8 * times_s), (12, 1))
    dirty = waves + wander + hum
    assert filter_samples(dirty, sampling_rate_hz=500) is dirty
    signal = SignalSpec(highpass_hz=0.5, notch_hz=50)
    clean = filter_samples(dirty, sampling_rate_hz=500, signal=signal)
    assert np.abs(clean - waves)[:, 500:-500].max() < 0.03
    only = filter_samples(dirty, sampling_rate_hz=500, signal=SignalSpec(notch_hz=50))
    assert np.abs(only - waves - wander).max() < 0.02


def test_mains_above_the_rate_are_let_be():
    samples = np.random.default_rng(0).standard_normal((12, 1000))
    same = filter_samples(samples, sampling_rate_hz=100, signal=SignalSpec(notch_hz=50))
    np.testing.assert_array_equal(same, samples)


def test_a_short_gap_is_interpolated_linearly():
    samples = np.tile(np.linspace(0, 1, 500), (12, 1))
    broken = samples.copy()
    broken[3, 100:104] = np.nan
    broken[4, 0] = np.inf
    filled = fill_gaps(broken, sampling_rate_hz=500)
    np.testing.assert_allclose(filled[3], samples[3], atol=1e-12)
    assert filled[4, 0] == samples[4, 1]
    assert np.isnan(broken[3, 100])  # the input is left alone


@pytest.mark.parametrize(
    ("where", "kind", "value"),
    [
        (slice(100, 130), "nan_gap", "V2 for 60 ms"),
        (slice(0, 500), "lead_empty", "V2"),
        (slice(0, 500, 20), "nan_gap", "V2 in 5.0% of its samples"),
    ],
)
def test_a_long_gap_names_its_lead(where, kind, value):
    samples = np.zeros((12, 500))
    samples[7, where] = np.nan
    with pytest.raises(RecordError, match=r"NaN.* lead V2") as caught:
        fill_gaps(samples, sampling_rate_hz=500)
    assert (caught.value.kind, caught.value.value) == (kind, value)


def test_how_long_a_gap_may_be_is_a_parameter():
    samples = np.tile(np.linspace(0, 1, 500), (12, 1))
    samples[7, 100:130] = np.nan
    samples[8, ::20] = np.nan
    allowed = SignalSpec(max_gap_s=0.06, max_gap_share=0.1)
    assert np.isfinite(fill_gaps(samples, sampling_rate_hz=500, signal=allowed)).all()
    with pytest.raises(RecordError, match="at most 59 ms and 10% of a lead are filled"):
        fill_gaps(
            samples,
            sampling_rate_hz=500,
            signal=SignalSpec(max_gap_s=0.059, max_gap_share=0.1),
        )


@pytest.mark.parametrize(
    ("shape", "rate", "message", "kind"),
    [
        ((11, 5000), 500, r"shape \(11, 5000\)", "lead_missing"),
        ((12, 4000), 500, "too short: 8.00 s, 10.00 s are needed", "too_short"),
        ((12, 5000), 0, "sampling rate is 0", "rate_invalid"),
        ((12, 5000), np.nan, "sampling rate is nan", "rate_invalid"),
    ],
)
def test_what_cannot_be_prepared_says_why(shape, rate, message, kind):
    with pytest.raises(RecordError, match=message) as caught:
        prepare(np.zeros(shape), sampling_rate_hz=rate, to_hz=102.4, num_samples=1024)
    assert caught.value.kind == kind
    assert caught.value.value


def test_crop_keeps_the_beginning_and_refuses_too_little():
    samples = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(crop(samples, num_samples=5), samples[:, :5])
    with pytest.raises(RecordError, match="12 samples at the wanted rate, 13 are needed"):
        crop(samples, num_samples=13)


def test_real_recordings_are_as_the_former_filter_gave_them(ptbxl_records):
    """The shipped weights were trained on scipy's default polyphase filter: within 5 uV RMS."""
    rms_mv = []
    for _, samples in ptbxl_records:
        found = prepare(samples, sampling_rate_hz=500, to_hz=102.4, num_samples=1024)
        former = scipy_signal.resample_poly(
            samples.astype(np.float64), 128, 625, axis=-1, padtype="antireflect"
        )
        rms_mv.append(np.sqrt(((found - former) ** 2).mean()))
    assert max(rms_mv) < 0.005
