import json
from dataclasses import replace

import numpy as np
import pytest

from ecgtwin.signals.beats import r_peaks
from ecgtwin.signals.leads import derive_limb_leads
from ecgtwin.signals.measurement import ERRORS, Measurement, measure, measure_all
from tests.conftest import REPOSITORY
from tests.signals.ludb import axis_deg
from tests.signals.pulses import GAINS, pulse_train


@pytest.fixture(scope="module")
def result():
    return json.loads((REPOSITORY / "benchmarks" / "results" / "measurement.json").read_text())


def test_together_as_alone_whatever_the_order_the_shape_and_the_rate():
    kinds = [(60, 102.4, 10), (80, 500.0, 10), (80, 102.4, 10), (110, 250.0, 30), (75, 500.0, 7)]
    recordings = [
        pulse_train(rate_bpm=rate + step, sampling_rate_hz=hz, duration_s=seconds)[0]
        for step in range(9)
        for rate, hz, seconds in kinds
    ]
    rates = [hz for _ in range(9) for _, hz, _ in kinds]
    together = measure_all(recordings, rates)
    for samples, hz, found in zip(recordings, rates, together, strict=True):
        assert found == measure(samples, sampling_rate_hz=hz)
        assert found.num_beats == len(r_peaks(samples, sampling_rate_hz=hz))


def test_real_recordings_together_as_alone(ptbxl_records):
    recordings = [samples for _, samples in ptbxl_records]
    together = measure_all(recordings, [500] * len(recordings))
    alone = [measure(samples, sampling_rate_hz=500) for samples in recordings]
    same = [one == other for one, other in zip(together, alone, strict=True)]
    assert np.mean(same) >= 0.98  # a matrix product of another size may round otherwise


def test_swaps_are_not_sought_where_they_are_not_asked_for(ptbxl_records):
    recordings = [samples for _, samples in ptbxl_records]
    exchanged = [derive_limb_leads(np.stack([-s[0], s[1] - s[0], *s[6:]])) for s in recordings]
    sought = measure_all(exchanged, [500] * len(recordings))
    plain = measure_all(exchanged, [500] * len(recordings), seek_swaps=False)
    assert any(one.swapped_limb_leads for one in sought)
    assert plain == [replace(one, swapped_limb_leads=None) for one in sought]


def test_the_deviation_of_rr_is_that_of_a_sample():
    samples, _ = pulse_train(rate_bpm=60, sampling_rate_hz=500, duration_s=20)
    early = np.concatenate([samples[:, :5000], samples[:, 5100:]], axis=1)  # one beat 0.2 s early
    found = measure(early, sampling_rate_hz=500)
    rr_ms = [1000.0] * (found.num_beats - 2) + [800.0]
    assert found.rr_sd_ms == pytest.approx(np.std(rr_ms, ddof=1), abs=1)


def test_what_cannot_be_read_is_empty_and_leaves_its_neighbours_alone():
    good, _ = pulse_train()
    missing, infinite = good.copy(), good.copy()
    missing[3, 100], missing[8, 7], infinite[0, -1] = 0.0, np.nan, np.inf
    found = measure_all([missing, good, np.zeros_like(good), infinite, good[:, :90]], [102.4] * 5)
    assert found[1] == measure(good, sampling_rate_hz=102.4)
    assert [found[at] for at in (0, 2, 3, 4)] == [Measurement(0)] * 4
    assert measure_all([], []) == []
    assert measure(np.zeros((12, 0)), sampling_rate_hz=500) == Measurement(0)


@pytest.mark.parametrize("hz", [100.0, 128.0, 257.0, 360.0, 500.0, 977.0, 1000.0, 2000.0])
def test_every_rate_reads_the_same(hz):
    reference = measure(pulse_train(sampling_rate_hz=500.0)[0], sampling_rate_hz=500.0)
    found = measure(pulse_train(sampling_rate_hz=hz)[0], sampling_rate_hz=hz)
    assert found.num_beats == reference.num_beats
    for name, within in (("qrs_ms", 4), ("pr_ms", 4), ("qt_ms", 4), ("qrs_axis_deg", 1)):
        assert getattr(found, name) == pytest.approx(getattr(reference, name), abs=within)
    assert found.heart_rate_bpm == pytest.approx(70, abs=0.1)
    assert found.rr_sd_ms < 1


def test_two_minutes_are_measured_like_ten_seconds():
    long = measure(pulse_train(sampling_rate_hz=500, duration_s=120)[0], sampling_rate_hz=500)
    assert long.num_beats == 140
    short = measure(pulse_train(sampling_rate_hz=500)[0], sampling_rate_hz=500)
    assert long.qt_ms == pytest.approx(short.qt_ms, abs=2)


def test_corrected_qt_is_qt_over_a_root_of_rr():
    found = measure(pulse_train(rate_bpm=90)[0], sampling_rate_hz=102.4)
    rr_s = 60 / found.heart_rate_bpm
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms / rr_s ** (1 / 3), abs=0.02)
    assert found.qtc_bazett_ms == pytest.approx(found.qt_ms / rr_s**0.5, abs=0.02)
    at_sixty = measure(pulse_train(rate_bpm=60)[0], sampling_rate_hz=102.4)
    assert at_sixty.qtc_bazett_ms == pytest.approx(at_sixty.qt_ms, rel=0.001)


@pytest.mark.parametrize("degrees", [-170, -90, -30, 0, 59, 90, 135, 179])
def test_a_heart_that_points_somewhere_has_that_axis(degrees):
    samples, _ = pulse_train(sampling_rate_hz=500)
    wave = samples[1] / GAINS[1]
    angle = np.radians(degrees)
    one, two = np.cos(angle) * wave, np.cos(angle - np.pi / 3) * wave
    twelve = derive_limb_leads(np.stack([one, two, *samples[6:]]))
    found = measure(twelve, sampling_rate_hz=500).qrs_axis_deg
    assert (found - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_the_axis_is_that_of_the_marked_complexes(ludb_records):
    some = ludb_records[::4]
    found = measure_all([samples for _, samples, _ in some], [500] * len(some))
    true = [axis_deg(samples, 500, marks) for _, samples, marks in some]
    away = [
        abs((one.qrs_axis_deg - axis + 180) % 360 - 180)
        for one, axis in zip(found, true, strict=True)
        if axis is not None
    ]
    assert np.median(away) < 4
    assert np.percentile(away, 90) < 18


def test_the_stated_errors_are_those_that_were_measured(result):
    for name, stated in ERRORS.items():
        row = result["errors"]["500"][name]
        assert stated == (round(row["median"], 1), round(row["p90"], 1)), name
