import csv

import numpy as np
import pytest

from ecgtwin.signals.beats import measure
from ecgtwin.signals.preprocess import prepare
from tests.signals.ludb import intervals_ms
from tests.signals.pulses import pulse_train

# Median and 90th percentile of the absolute error in ms; docs/measurements.md has them for all 200
# records. Thresholds were chosen on the same records.
LIMITS_MS = {"qrs_ms": (8, 21), "pr_ms": (6, 17), "qt_ms": (8, 26)}


@pytest.mark.parametrize("hz", [102.4, 500.0])
def test_a_wider_qrs_and_an_earlier_p_measure_so(hz):
    narrow = measure(pulse_train(sampling_rate_hz=hz)[0], sampling_rate_hz=hz)
    wide = measure(pulse_train(sampling_rate_hz=hz, qrs_width_s=0.026)[0], sampling_rate_hz=hz)
    # A Gaussian wave has come to rest about three widths from its centre.
    assert narrow.qrs_ms == pytest.approx(6 * 12, abs=20)
    assert wide.qrs_ms == pytest.approx(6 * 26, abs=30)
    # P begins about two widths before its centre, QRS three before its own.
    assert narrow.pr_ms == pytest.approx(160 + 2 * 20 - 3 * 12, abs=20)
    # T ends about two widths after its centre; annotators end it 16 ms later and
    # begin QRS 8 ms sooner.
    assert narrow.qt_ms == pytest.approx(280 + 2 * 40 + 3 * 12 + 16 + 8, abs=15)
    assert narrow.r_amplitude_mv > 5 * narrow.p_wave_mv > 0


def test_no_p_wave_means_no_pr():
    measured = measure(pulse_train(p_height=0.0)[0], sampling_rate_hz=102.4)
    assert measured.pr_ms is None
    assert measured.p_wave_mv is None
    assert measured.qrs_ms is not None


def test_p_waves_that_do_not_keep_their_place_are_not_measured(rng):
    samples, _ = pulse_train(p_height=0.0)
    times_s = np.arange(samples.shape[1]) / 102.4
    fibrillation = np.sin(
        2 * np.pi * (5.7 * times_s + 0.3 * rng.standard_normal(1024).cumsum() / 9)
    )
    assert measure(samples + 0.05 * fibrillation, sampling_rate_hz=102.4).pr_ms is None


@pytest.mark.parametrize("hz", [500, 102.4])
def test_intervals_agree_with_the_annotators(ludb_records, hz):
    errors = {name: [] for name in LIMITS_MS}
    some = ludb_records[::3]
    for _, samples, annotations in some:
        if hz != 500:
            samples = prepare(samples, sampling_rate_hz=500, to_hz=hz, num_samples=1024)
        measured = measure(samples, sampling_rate_hz=hz)
        for name, true in intervals_ms(annotations).items():
            if true is not None and getattr(measured, name) is not None:
                errors[name].append(abs(getattr(measured, name) - true))
    for name, (median, most) in LIMITS_MS.items():
        assert len(errors[name]) >= 0.8 * len(some)
        assert np.median(errors[name]) <= median, name
        assert np.percentile(errors[name], 90) <= most, name


def test_atrial_fibrillation_has_no_p_wave(ludb_records, real_data):
    """Of all 200: 2 of 15 records with atrial fibrillation get a PR, and 3 of 176 with P none."""
    with (real_data / "ludb" / "ludb.csv").open(newline="") as table:
        rhythm = {int(row["ID"]): row["Rhythms"] for row in csv.DictReader(table)}
    fibrillating = [r for r in ludb_records if "Atrial fibrillation" in rhythm[r[0]]]
    with_p = [n for n, x, _ in fibrillating if measure(x, sampling_rate_hz=500).pr_ms is not None]
    assert len(fibrillating) >= 7
    assert len(with_p) <= 2
