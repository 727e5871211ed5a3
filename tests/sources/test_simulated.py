"""Simulated rows: each depends on its own keys alone, persons are recognised, truth is kept."""

import json
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.quality import faults
from ecgtwin.sources.simulated import STATES, SimulatedSource, simulate, simulate_one
from ecgtwin.sources.simulation.noise import electrode_noise
from ecgtwin.sources.source import SourceRow, planned_rows
from tests.sources.strips import HZ, draw, median_beat, rate_of

SOURCE = SimulatedSource(seed=2, num_persons=9, visits_per_person=3, first_person=10)


def same(one, other):
    return (
        np.array_equal(one.record.samples_mv, other.record.samples_mv)
        and one.condition == other.condition
        and one.truth == other.truth
        and one.days_since_first == other.days_since_first
        and one.record.record_id == other.record.record_id
    )


@pytest.mark.parametrize(
    ("state", "rate"),
    [
        ("sinus bradycardia", 45),
        ("sinus bradycardia", 59),
        ("sinus rhythm", 60),
        ("sinus rhythm", 100),
        ("sinus tachycardia", 101),
        ("sinus tachycardia", 150),
    ],
)
def test_sinus_rates_at_the_model_rate_too(state, rate):
    for hz in (102.4, HZ):
        row = simulate_one(
            seed=3, person=5, visit=0, state=state, heart_rate_bpm=rate, sampling_rate_hz=hz
        )
        assert row.record.samples_mv.shape == (12, round(10 * hz))
        assert rate_of(row.record.samples_mv, hz) == pytest.approx(rate, abs=1.0)
        assert [statement.code for statement in row.condition.statements] == [state]


def test_limb_leads_agree_exactly_and_samples_are_plausible():
    for row in simulate(seed=1, persons=range(20), visits_per_person=3):
        samples = row.record.samples_mv
        assert samples.dtype == np.float32
        assert samples.shape == (12, 5000)
        assert limb_residual_mv(samples) == 0
        assert 0.2 < np.abs(samples).max() < 7
        assert faults(samples, sampling_rate_hz=HZ) == ()
        if row.truth["state"] != "paced rhythm":
            assert np.abs(np.diff(samples, axis=1)).max() < 0.6  # nothing jumps, nor at the ends


@pytest.mark.parametrize("hz", [500.0, 102.4])
def test_a_row_is_bit_equal_alone_and_in_any_batch(hz):
    together = simulate(seed=7, persons=range(12), visits_per_person=4, sampling_rate_hz=hz)
    assert len({row.truth["state"] for row in together}) > 8
    for place in range(0, 48, 5):
        source = SimulatedSource(7, 12, 4, sampling_rate_hz=hz)
        (alone,) = source.read(place, place + 1)
        assert same(together[place], alone)
    other = simulate(seed=8, persons=[9], visits_per_person=1, sampling_rate_hz=hz)[0]
    assert not np.array_equal(together[36].record.samples_mv, other.record.samples_mv)


def test_a_chosen_state_keeps_the_electrodes_and_the_noise_of_the_visit():
    one, other = (draw(state, 75, person=4) for state in ("sinus rhythm", "low qrs voltage"))
    sharp = [np.diff(row.record.samples_mv[0], n=2) for row in (one, other)]  # mostly noise
    assert one.condition.age_years == other.condition.age_years
    beats = np.array([round(t * HZ) for t in one.truth["r_times_s"]])
    far = np.min(np.abs(np.arange(4998)[:, None] - beats), axis=1) > 60
    assert np.corrcoef(sharp[0][far], sharp[1][far])[0, 1] > 0.9


def test_plan_and_reader_give_the_rows_of_the_source():
    source = pickle.loads(pickle.dumps(SOURCE))
    whole = source.read(0, 27)
    reader = pickle.loads(pickle.dumps(source.reader()))
    assert len(pickle.dumps(reader)) < 500
    first, read = 0, []
    for columns in source.plan(4):
        rows = planned_rows(columns, first=first)
        read += reader.read(rows)
        first += len(rows)
        for row, made in zip(rows, read[-len(rows) :], strict=True):
            assert row.record_id == made.record.record_id
            assert row.patient_id == made.record.patient_id
            assert (row.visit, row.days_since_first) == (made.visit, made.days_since_first)
    assert all(same(*pair) for pair in zip(read, whole, strict=True))
    assert source.describe()["seed"] == 2


def test_a_source_reads_any_span_of_the_same_rows():
    whole, part = SOURCE.read(0, 8), SOURCE.read(4, 7)
    assert [row.record.record_id for row in part] == [
        "sim-000011-01", "sim-000011-02", "sim-000012-00",
    ]  # fmt: skip
    assert all(same(*pair) for pair in zip(part, whole[4:7], strict=True))
    assert SOURCE.read(2, 2) == []
    with pytest.raises(IndexError):
        SOURCE.read(25, 28)


def test_visits_are_months_apart_and_persons_grow_older():
    rows = simulate(seed=5, persons=range(60), visits_per_person=3, sampling_rate_hz=100)
    days = np.array([row.days_since_first for row in rows]).reshape(60, 3)
    assert (days[:, 0] == 0).all()
    assert 60 < np.median(np.diff(days, axis=1)) < 400
    ages = np.array([row.condition.age_years for row in rows]).reshape(60, 3)
    assert (np.diff(ages, axis=1) >= 0).all()
    assert ages[:, 2].mean() > ages[:, 0].mean() + 0.3
    fewer = simulate(seed=5, persons=[7], visits_per_person=2, sampling_rate_hz=100)
    assert [row.days_since_first for row in fewer] == list(days[7, :2])


def test_truth_is_json_and_agrees_with_itself():
    for row in simulate(seed=6, persons=range(25), visits_per_person=2, sampling_rate_hz=100):
        assert isinstance(row, SourceRow)
        truth = json.loads(json.dumps(row.truth))
        assert truth == row.truth
        assert truth["state"] in STATES
        assert len(truth["r_times_s"]) == len(truth["beat_types"]) == len(truth["pr_ms_by_beat"])
        assert np.all(np.diff(truth["r_times_s"]) > 0.2)
        assert set(truth["beat_types"]) <= set("NAVEj/")
        assert 60 / np.diff(truth["r_times_s"]).mean() == pytest.approx(
            row.condition.heart_rate_bpm, abs=0.05
        )
        onsets = np.array(truth["p_times_s"])
        for r_s, pr_ms in zip(truth["r_times_s"], truth["pr_ms_by_beat"], strict=True):
            if pr_ms is not None and r_s > 0.6:  # a P wave stands where the interval says
                assert np.min(np.abs(onsets - (r_s - pr_ms / 1000 - 0.045))) < 0.06


def test_a_person_is_recognised_at_another_visit():
    """The usual beat at another rate is nearer to the person's own than to most others'."""
    persons = range(16)
    beats_by_visit = []
    for visit, (state, rate) in enumerate([("sinus rhythm", 65), ("sinus rhythm", 95)]):
        drawn = [draw(state, rate, person=q, visit=visit).record.samples_mv for q in persons]
        beats_by_visit.append([median_beat(samples)[:, 90:165].ravel() for samples in drawn])
    alike = np.corrcoef(*map(np.array, beats_by_visit))[: len(persons), len(persons) :]
    own = np.diag(alike)
    assert own.min() > 0.75  # visits differ, as real ones do
    assert np.median(own) < 0.998
    assert (alike.argmax(axis=1) == np.arange(len(persons))).mean() > 0.8
    assert np.median(alike[~np.eye(len(persons), dtype=bool)]) < np.median(own) - 0.05


def test_states_and_rates_are_mixed_for_training():
    rows = simulate(
        seed=0, persons=range(200), visits_per_person=4, sampling_rate_hz=50, duration_s=10
    )
    codes = Counter(row.truth["state"] for row in rows)
    assert set(codes) == set(STATES)
    plain = [row.truth["state"] in STATES[:3] for row in rows]
    first = [one for one, row in zip(plain, rows, strict=True) if row.visit == 0]
    assert np.mean(first) > 0.65
    assert 0.35 < np.mean(plain) < 0.65
    rates = np.array([row.condition.heart_rate_bpm for row in rows])
    share, _ = np.histogram(rates, bins=[27, 60, 85, 110, 135, 166])
    assert share.sum() == len(rates)
    assert share.min() > 0.05 * len(rates)
    at_rest = [row.condition.heart_rate_bpm for row in rows if row.truth["at_rest"]]
    assert 62 < np.median(at_rest) < 76
    assert 0.4 < len(at_rest) / len(rows) < 0.6


def test_what_lasts_in_a_person_lasts():
    rows = simulate(seed=3, persons=range(80), visits_per_person=4, sampling_rate_hz=50)
    blocked = Counter(
        row.record.patient_id
        for row in rows
        if row.truth["state"] in ("left bundle branch block", "paced rhythm", "low qrs voltage")
    )
    assert max(blocked.values()) >= 2


def test_women_have_smaller_voltages_and_a_longer_qt():
    rows = simulate(seed=0, persons=range(90), visits_per_person=1, sampling_rate_hz=100)
    plain = [row for row in rows if row.truth["state"] in STATES[:3]]
    height, qtc = (
        {
            sex: np.median([value(row) for row in plain if row.condition.sex == sex])
            for sex in ("female", "male")
        }
        for value in (
            lambda row: np.ptp(row.record.samples_mv[10]),
            lambda row: row.truth["qtc_ms"],
        )
    )
    assert height["female"] < 0.92 * height["male"]
    assert qtc["female"] > qtc["male"] + 4


def test_noise_falls_with_frequency_and_is_shared_as_electrodes_share_it():
    noise = np.stack([
        electrode_noise(np.random.default_rng(seed), rate_hz=500.0, num_samples=5000)
        for seed in range(40)
    ])  # fmt: skip
    density = np.median(np.abs(np.fft.rfft(noise)), axis=0)
    hz = np.fft.rfftfreq(5000, 1 / 500)
    bands = [density[:, (hz > low) & (hz < high)].mean(axis=1)
             for low, high in ((0.05, 0.6), (5, 15), (30, 45), (80, 120), (200, 240))]  # fmt: skip
    for strong, weak in pairwise(bands):
        assert (strong > 1.15 * weak).all()
    fast = noise - np.apply_along_axis(np.convolve, 2, noise, np.ones(9) / 9, "same")
    shared = [np.corrcoef(one[0], one[1])[0, 1] for one in fast]  # I and II share the right arm
    assert np.median(shared) > 0.1
    rms_uv = 1000 * np.median(fast.std(axis=2), axis=0)
    assert (rms_uv > 1).all()
    assert (rms_uv < 8).all()


def test_an_impossible_wish_is_refused():
    with pytest.raises(SpecificationError, match="allowed: sinus bradycardia"):
        draw("asystole", 60)
    with pytest.raises(SpecificationError, match="from 60 to 100 bpm"):
        draw("sinus rhythm", 140)
    with pytest.raises(SpecificationError, match="from 28 to 56 bpm"):
        draw("third degree av block", 80)
