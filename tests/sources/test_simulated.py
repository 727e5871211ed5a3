"""Simulated ECGs are measured as a reader of the strip would, not by what the simulator knows."""

import pickle

import numpy as np
import pytest
from scipy import signal

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import LEADS, limb_residual_mv
from ecgtwin.sources.simulated import STATES, SimulatedSource, simulate, simulate_one

HZ = 500.0
BEFORE, AFTER = 125, 225  # samples of a beat around its R peak


def lead(samples_mv, name):
    return samples_mv[LEADS.index(name)]


def draw(state, rate, *, person=0, visit=1, seed=0):
    return simulate_one(seed=seed, person=person, visit=visit, state=state, heart_rate_bpm=rate)


def speed(samples_mv, hz=HZ):
    """Length of the slope over the leads, below 35 Hz."""
    smooth = signal.butter(3, 35, fs=hz, output="sos")
    slope = np.gradient(signal.sosfiltfilt(smooth, samples_mv, axis=-1), axis=-1) * hz
    return np.sqrt((slope**2).sum(axis=0))


def r_peaks(samples_mv, hz=HZ):
    """Middles of the bouts of fast change."""
    bouts = signal.sosfiltfilt(signal.butter(2, 7, fs=hz, output="sos"), speed(samples_mv, hz))
    tops = signal.find_peaks(bouts)[0]
    floor = 0.35 * np.median(np.sort(bouts[tops])[-6:])
    return signal.find_peaks(bouts, height=floor, distance=round(0.22 * hz))[0]


def rate_of(samples_mv, hz=HZ):
    peaks = r_peaks(samples_mv, hz)
    return 60 * hz * (len(peaks) - 1) / (peaks[-1] - peaks[0])


def beats(samples_mv):
    peaks = r_peaks(samples_mv)
    whole = peaks[(peaks >= BEFORE) & (peaks < samples_mv.shape[1] - AFTER)]
    return np.stack([samples_mv[:, peak - BEFORE : peak + AFTER] for peak in whole])


def median_beat(samples_mv):
    beat = np.median(beats(samples_mv), axis=0)
    return beat - np.median(beat[:, 55:75], axis=1, keepdims=True)


def qrs_ms(samples_mv):
    """How long the median beat changes faster than 12 % of its fastest."""
    bout = speed(median_beat(samples_mv))[40:210]
    fast = np.flatnonzero(bout > 0.12 * bout.max())
    runs = np.split(fast, np.flatnonzero(np.diff(fast) > 10) + 1)
    longest = max(runs, key=len)
    return float((longest[-1] - longest[0]) * 1000 / HZ)


def intervals_s(samples_mv):
    return np.diff(r_peaks(samples_mv)) / HZ


def atrial_mv(samples_mv):
    """Height of whatever is locked to the QRS in the 200 ms before it, in lead II."""
    before = lead(median_beat(samples_mv), "II")[25:105]
    return float(np.quantile(before, 0.95) - np.quantile(before, 0.05))


@pytest.mark.parametrize("rate", [45, 62, 80, 100, 125, 150])
@pytest.mark.parametrize("state", STATES[3:])
def test_rate_is_the_rate_in_the_signal(state, rate):
    for person in range(2):
        row = draw(state, rate, person=person)
        asked = 0.12 * rate if state == "atrial fibrillation" else 0.5
        assert row.condition.heart_rate_bpm == pytest.approx(rate, abs=asked)
        assert rate_of(row.record.samples_mv) == pytest.approx(
            row.condition.heart_rate_bpm, abs=1.0
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


def test_fibrillation_is_irregular_and_has_no_p():
    for person in range(6):
        sinus = draw("sinus rhythm", 80, person=person).record.samples_mv
        fibrillation = draw("atrial fibrillation", 80, person=person).record.samples_mv
        regular, irregular = intervals_s(sinus), intervals_s(fibrillation)
        assert np.std(regular) / np.mean(regular) < 0.06
        assert np.std(irregular) / np.mean(irregular) > 0.12
    p = [atrial_mv(draw("sinus rhythm", 80, person=q).record.samples_mv) for q in range(12)]
    no_p = [
        atrial_mv(draw("atrial fibrillation", 80, person=q).record.samples_mv) for q in range(12)
    ]
    assert np.median(p) > 2 * np.median(no_p)


def test_left_bundle_branch_block_is_broad_and_negative_in_v1():
    for person in range(10):
        beat = median_beat(draw("left bundle branch block", 75, person=person).record.samples_mv)
        usual = draw("sinus rhythm", 75, person=person).record.samples_mv
        blocked = draw("left bundle branch block", 75, person=person).record.samples_mv
        assert qrs_ms(usual) < 125 <= qrs_ms(blocked)
        v1, v6 = lead(beat, "V1")[70:185], lead(beat, "V6")[70:185]
        assert v1.min() < -0.6
        assert v1.max() < 0.35
        assert v6.max() > 0.3
        assert v6.min() > -0.3
        recovery = slice(BEFORE + 120, BEFORE + 190)
        assert lead(beat, "V1")[recovery].max() > 0.1  # T against the QRS
        assert lead(beat, "V6")[recovery].min() < 0


def test_right_bundle_branch_block_has_r_prime_in_v1_and_a_wide_s_in_v6():
    for person in range(10):
        samples = draw("right bundle branch block", 75, person=person).record.samples_mv
        beat = median_beat(samples)
        assert qrs_ms(samples) >= 120
        v1, v6, one = (lead(beat, name)[80:190] for name in ("V1", "V6", "I"))
        late = slice(int(np.argmin(v1)), None)
        assert v1.max() == v1[late].max() > 0.2
        usual = median_beat(draw("sinus rhythm", 75, person=person).record.samples_mv)
        assert v6.min() < lead(usual, "V6")[80:190].min() - 0.1
        assert one.min() < -0.1


def test_ventricular_premature_beats_are_early_wide_and_followed_by_a_pause():
    for person in range(6):
        samples = draw("ventricular premature complex", 70, person=person).record.samples_mv
        peaks = r_peaks(samples)
        gaps = np.diff(peaks) / HZ
        usual = np.median(gaps)
        early = np.flatnonzero(gaps < 0.85 * usual)
        assert 1 <= len(early) <= 4
        assert gaps[early + 1] == pytest.approx(2 * usual - gaps[early], abs=0.12)
        premature, before = peaks[early[0] + 1], peaks[early[0]]
        complexes = [speed(samples)[at - 60 : at + 60] for at in (premature, before)]
        wide, narrow = (np.ptp(np.flatnonzero(bout > 0.25 * bout.max())) for bout in complexes)
        assert wide > 1.25 * narrow


def sokolow_lyon_mv(samples_mv):
    beat = median_beat(samples_mv)[:, 80:190]
    return max(lead(beat, "V5").max(), lead(beat, "V6").max()) - lead(beat, "V1").min()


def test_hypertrophy_is_tall_with_lateral_strain_and_health_is_not():
    for person in range(10):
        tall = draw("left ventricular hypertrophy", 75, person=person).record.samples_mv
        usual = draw("sinus rhythm", 75, person=person).record.samples_mv
        assert sokolow_lyon_mv(tall) > 3.5 > sokolow_lyon_mv(usual)
        assert lead(median_beat(tall), "V6")[BEFORE + 100 : BEFORE + 190].min() < -0.08


def test_limb_leads_agree_exactly_and_samples_are_plausible():
    for row in simulate(seed=1, persons=range(6), visits_per_person=3):
        samples = row.record.samples_mv
        assert samples.dtype == np.float32
        assert samples.shape == (12, 5000)
        assert limb_residual_mv(samples) == 0
        assert 0.3 < np.abs(samples).max() < 6
        assert np.abs(np.diff(samples, axis=1)).max() < 0.6  # nothing jumps, at the ends neither


def test_a_row_depends_on_its_own_keys_alone():
    together = simulate(seed=7, persons=[4, 9], visits_per_person=3)
    alone = simulate(seed=7, persons=[9], visits_per_person=1)[0]
    assert np.array_equal(together[3].record.samples_mv, alone.record.samples_mv)
    assert together[3].condition == alone.condition
    assert [row.record.record_id for row in together] == [
        *(f"sim-000004-{visit:02d}" for visit in range(3)),
        *(f"sim-000009-{visit:02d}" for visit in range(3)),
    ]
    other = simulate(seed=8, persons=[9], visits_per_person=1)[0]
    assert not np.array_equal(alone.record.samples_mv, other.record.samples_mv)


def test_a_source_reads_any_span_of_the_same_rows():
    source = pickle.loads(
        pickle.dumps(SimulatedSource(seed=2, num_persons=3, visits_per_person=2, first_person=10))
    )
    whole, part = source.read(0, 6), source.read(3, 5)
    assert len(source) == 6
    assert [row.record.record_id for row in part] == ["sim-000011-01", "sim-000012-00"]
    for one, same in zip(part, whole[3:5], strict=True):
        assert np.array_equal(one.record.samples_mv, same.record.samples_mv)
    assert source.describe()["seed"] == 2
    assert source.read(2, 2) == []
    with pytest.raises(IndexError):
        source.read(5, 7)


def test_a_person_is_recognised_at_another_visit():
    """The usual beat at another rate is nearer to the person's own than to most others'."""
    persons = range(16)
    beats_by_visit = []
    for visit, (state, rate) in enumerate([("sinus rhythm", 65), ("sinus rhythm", 95)]):
        drawn = [draw(state, rate, person=q, visit=visit).record.samples_mv for q in persons]
        beats_by_visit.append([median_beat(samples)[:, 90:165].ravel() for samples in drawn])
    alike = np.corrcoef(*map(np.array, beats_by_visit))[: len(persons), len(persons) :]
    own = np.diag(alike)
    assert own.min() > 0.9
    assert (alike.argmax(axis=1) == np.arange(len(persons))).mean() > 0.9
    assert np.median(alike[~np.eye(len(persons), dtype=bool)]) < np.median(own) - 0.05


def test_rates_are_spread_evenly_whatever_the_person():
    rows = simulate(
        seed=0, persons=range(150), visits_per_person=4, sampling_rate_hz=50, duration_s=10
    )
    rates = np.array([row.condition.heart_rate_bpm for row in rows])
    share, _ = np.histogram(rates, bins=[44, 71.25, 97.5, 123.75, 151])
    assert share.sum() > 0.98 * len(rates)
    assert share.min() > 0.19 * len(rates)
    codes = [row.condition.statements[-1].code for row in rows]
    assert set(codes) == set(STATES)
    first = [row.condition.statements[-1].code in STATES[:3] for row in rows if row.visit == 0]
    assert np.mean(first) > 0.75
    plain = np.mean([code in STATES[:3] for code in codes])
    assert 0.4 < plain < 0.65


def test_women_have_smaller_voltages():
    rows = simulate(seed=0, persons=range(60), visits_per_person=1, sampling_rate_hz=100)
    height = {
        sex: np.median([np.ptp(row.record.samples_mv) for row in rows if row.condition.sex == sex])
        for sex in ("female", "male")
    }
    assert height["female"] < height["male"]


def test_an_impossible_wish_is_refused():
    with pytest.raises(SpecificationError, match="allowed: sinus bradycardia"):
        draw("asystole", 60)
    with pytest.raises(SpecificationError, match="from 60 to 100 bpm"):
        draw("sinus rhythm", 140)
