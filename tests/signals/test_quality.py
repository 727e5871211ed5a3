"""The checks against direct implementations of what they say, on what is easy and what is not."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.quality import REST_MV, faults, flat_leads, may_have_faults
from ecgtwin.spec.ingest import QualitySpec
from tests.signals.pulses import pulse_train

USUAL = QualitySpec()


@pytest.fixture
def clean(rng):
    samples, _ = pulse_train(sampling_rate_hz=500)
    return samples + 0.01 * rng.standard_normal(samples.shape).astype(np.float32)


def kinds(samples, rate_hz=500, quality=USUAL):
    return [fault.kind for fault in faults(samples, sampling_rate_hz=rate_hz, quality=quality)]


def directly(samples, rate_hz, quality=USUAL):
    """Return {kind: leads} as the definitions say, window by window and sample by sample."""
    samples = samples.astype(np.float64)
    centred = samples - np.median(samples, axis=1, keepdims=True)
    width = min(int(quality.flat_s * rate_hz), samples.shape[1])
    windows = sliding_window_view(samples, width, axis=1)
    flat = ((windows.max(axis=2) - windows.min(axis=2)) < quality.flat_mv).any(axis=1)
    clipped = [clips(lead, rate_hz, quality) for lead in samples]
    largest = np.abs(centred).max(axis=1)
    found = {
        "flat_lead": flat,
        "clipped": np.array(clipped),
        "amplitude_high": largest > quality.max_amplitude_mv,
        "amplitude_low": np.repeat(largest.max() < quality.min_amplitude_mv, len(samples)),
    }
    return {kind: np.flatnonzero(leads).tolist() for kind, leads in found.items() if leads.any()}


def clips(lead, rate_hz, quality):
    width = max(3, int(quality.clipped_run_s * rate_hz))
    for extreme in (lead.max(), lead.min()):
        num_runs = length = 0
        for at_rest in [*(np.abs(lead - extreme) < REST_MV), False]:
            if not at_rest:
                num_runs += length >= width
            length = length + 1 if at_rest else 0
        far = abs(extreme - np.median(lead)) > quality.clipped_mv
        if num_runs >= quality.clipped_runs and far:
            return True
    return False


def as_found(samples, rate_hz, quality=USUAL):
    """Return {kind: leads} from the messages."""
    found = {}
    for fault in faults(samples, sampling_rate_hz=rate_hz, quality=quality):
        named = fault.message.rpartition(" lead ")[2].split(", ")
        everywhere = "every lead" in fault.message
        found[fault.kind] = list(range(12)) if everywhere else [LEADS.index(n) for n in named]
    return found


def test_a_clean_recording_has_no_fault(clean):
    assert faults(clean, sampling_rate_hz=500) == ()


def test_the_bound_leaves_little_open_and_no_fault_out(ptbxl_records, clean, rng):
    recordings = np.stack([samples for _, samples in ptbxl_records])
    doubtful = may_have_faults(recordings, sampling_rate_hz=500)
    faulty = [bool(faults(samples, sampling_rate_hz=500)) for samples in recordings]
    assert (doubtful >= faulty).all()
    assert doubtful.mean() < 0.2
    faint = rng.uniform(-0.09, 0.09, clean.shape)
    broken = np.stack([clean, clean, clean, 30 * clean, faint])
    broken[1, 3, 1000:3000] = 0.1
    broken[2, 11] = np.clip(3 * broken[2, 11], -1, 1)
    found = may_have_faults(broken, sampling_rate_hz=500)
    assert found.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("rate_bpm", [35, 70, 180])
def test_a_recording_without_any_noise_is_not_called_flat(rate_bpm):
    samples, _ = pulse_train(rate_bpm=rate_bpm)
    assert faults(samples, sampling_rate_hz=102.4) == ()


def test_each_fault_is_named_with_its_lead_and_value(clean):
    flat, partly, clipped, huge = (clean.copy() for _ in range(4))
    flat[2] = 0.0
    partly[8, 2000:4000] = partly[8, 2000]
    clipped[1] = np.clip(3 * clipped[1], -1.0, 1.0)
    huge[10, 77] = 25.0

    def only(samples):
        (fault,) = faults(samples, sampling_rate_hz=500)
        return fault.kind, fault.value, fault.message

    said = "flat for 2.5 s or more in lead"
    assert only(flat) == ("flat_lead", "III for 10.0 s", f"{said} III")
    assert only(partly) == ("flat_lead", "V3 for 4.0 s", f"{said} V3")
    kind, value, message = only(clipped)
    assert (kind, message) == ("clipped", "clipped in lead II")
    assert value.startswith(("II at 0.9", "II at 1.0"))
    kind, value, message = only(huge)
    assert (kind, value) == ("amplitude_high", "V5 25.0 mV")
    assert "above 10 mV) in lead V5" in message


def test_an_unconnected_recording(rng):
    noise = rng.uniform(-0.09, 0.09, (12, 5000)).astype(np.float32)
    (fault,) = faults(noise, sampling_rate_hz=500)
    assert fault.kind == "amplitude_low"
    assert "in every lead" in fault.message
    assert fault.value.endswith(" mV")


def test_every_threshold_is_a_parameter(clean):
    pause = clean.copy()
    pause[4, 1000:1600] = pause[4, 1000]
    assert kinds(pause) == []
    assert kinds(pause, quality=QualitySpec(flat_s=1.1)) == ["flat_lead"]
    assert kinds(pause, quality=QualitySpec(flat_s=1.1, flat_mv=0.0)) == []
    tops = clean.copy()
    tops[6] = np.clip(3 * tops[6], -0.7, 0.7)
    assert kinds(tops) == []
    assert kinds(tops, quality=QualitySpec(clipped_mv=0.5)) == ["clipped"]
    assert kinds(tops, quality=QualitySpec(clipped_mv=0.5, clipped_runs=1000)) == []
    assert kinds(tops, quality=QualitySpec(clipped_mv=0.5, clipped_run_s=2.0)) == []
    assert kinds(clean, quality=QualitySpec(max_amplitude_mv=0.5)) == ["amplitude_high"]
    assert kinds(clean, quality=QualitySpec(min_amplitude_mv=5.0)) == ["amplitude_low"]


@pytest.mark.parametrize("rate_hz", [500, 1000, 102.4, 100, 37])
def test_random_signals_are_judged_as_defined(rng, rate_hz):
    """Of every kind, at every scale around the thresholds, with plateaus and stuck values."""
    seen = set()
    for turn in range(12):
        num = round(rng.uniform(5, 11) * rate_hz)
        samples = rng.standard_normal((12, num)).cumsum(axis=1) * 10 ** rng.uniform(-4, 0, (12, 1))
        for lead in rng.choice(12, 5, replace=False):
            start, length = rng.integers(num), round(rng.uniform(2.3, 2.7) * rate_hz)
            samples[lead, start : start + length] = samples[lead, start]
        for lead in rng.choice(12, 5, replace=False):
            bound = np.quantile(np.abs(samples[lead]), rng.uniform(0.5, 0.99))
            samples[lead] = np.clip(samples[lead], -bound, bound)
        if turn % 4 == 0:
            samples *= 0.05 / np.abs(samples).max()
        samples = samples.astype(np.float32)
        wanted = directly(samples, rate_hz)
        assert as_found(samples, rate_hz) == wanted
        for row in (samples, -samples):  # a row is looked at by itself
            together = may_have_faults(np.stack([row, row * 0]), sampling_rate_hz=rate_hz)
            assert together[0] >= bool(wanted)
            assert together[1]
        seen |= set(wanted)
    assert seen >= {"flat_lead", "clipped", "amplitude_low"}


@pytest.mark.parametrize("start", [0, 1, 7, 1249, 2500, 3748, 3749, 3750])
@pytest.mark.parametrize("length", [1249, 1250, 1251])
def test_a_pause_is_flat_from_the_very_sample_on_wherever_it_lies(rng, start, length):
    """Noise beyond the pause on either side; 1250 samples are 2.5 s."""
    samples = rng.choice([-0.5, 0.5], (12, 5000)).astype(np.float32)
    samples[5, start : start + length] = 0.0
    held = min(start + length, 5000) - start
    flat = flat_leads(samples, sampling_rate_hz=500)
    assert list(flat) == ([5] if held >= 1250 else [])
    assert not flat or flat[5] == pytest.approx(held / 500)


def test_one_spike_between_the_thinned_samples_breaks_a_pause(rng):
    """What the bound cannot see, the definition does: spikes that fall between its samples."""
    samples = rng.choice([-0.5, 0.5], (12, 5000)).astype(np.float32)
    samples[3, 1000:3499] = 0.0
    for spike in (1000, 2249, 2250, 3498):
        broken = samples.copy()
        broken[3, spike] = 0.0101
        assert as_found(broken, 500) == directly(broken, 500)
    assert list(flat_leads(samples, sampling_rate_hz=500)) == [3]


def test_a_slow_drift_is_flat_only_where_it_is_slower_than_the_threshold():
    for slope_mv_per_s, is_flat in ((0.0039, True), (0.0041, False)):
        drift = slope_mv_per_s * np.arange(5000) / 500
        samples = np.tile(drift, (12, 1)) + np.sin(np.arange(5000))
        samples[2] = drift
        assert (2 in flat_leads(samples, sampling_rate_hz=500)) == is_flat


def test_a_recording_shorter_than_the_window_is_one_window():
    samples = np.zeros((12, 500))
    assert len(flat_leads(samples, sampling_rate_hz=500)) == 12
    samples[:, 250] = 1.0
    assert flat_leads(samples, sampling_rate_hz=500) == {}


@pytest.mark.parametrize("num_runs", [2, 3])
@pytest.mark.parametrize("length", [5, 6])
@pytest.mark.parametrize("offset", [0, 5000 - 6, 300])
def test_clipping_needs_enough_runs_long_enough_at_either_end_too(rng, num_runs, length, offset):
    samples = rng.uniform(-0.5, 0.5, (12, 5000)).astype(np.float32)
    for run in range(num_runs):
        start = (offset + 1000 * run) % 5000
        samples[9, start : start + length] = -1.5
    wanted = {"clipped": [9]} if num_runs == 3 and length == 6 else {}
    assert as_found(samples, 500) == directly(samples, 500) == wanted


def test_a_run_may_tremble_by_just_less_than_a_microvolt_step(rng):
    for tremble_mv, is_clipped in ((0.00098, True), (0.00102, False)):
        samples = rng.uniform(-0.5, 0.5, (12, 5000)).astype(np.float32)
        for start in (1000, 2000, 3000):
            samples[9, start : start + 6] = [1.5, *[1.5 - tremble_mv] * 5]
        assert as_found(samples, 500) == directly(samples, 500)
        assert ("clipped" in as_found(samples, 500)) == is_clipped


def test_large_offsets_do_not_hide_clipping_in_single_precision(rng):
    samples = rng.uniform(-0.5, 0.5, (12, 5000))
    samples[1] = np.clip(4 * samples[1], -1.2, 1.2)
    samples[1].sort()
    samples[1] = np.roll(samples[1].reshape(50, 100), 1, axis=1).T.ravel()
    for offset_mv in (0, 8, 300, 5000):
        moved = (samples + offset_mv).astype(np.float32)
        assert as_found(moved, 500) == directly(moved, 500)


def test_real_recordings_pass(ptbxl_records):
    refused = []
    for _, samples in ptbxl_records:
        assert as_found(samples, 500) == directly(samples, 500)
        refused += faults(samples, sampling_rate_hz=500)
    assert len(refused) <= 0.05 * len(ptbxl_records), refused
