"""Each state shows its defining feature in the samples."""

import numpy as np
import pytest

from ecgtwin.signals.beats import measure
from ecgtwin.signals.beats import r_peaks as detected
from ecgtwin.sources.simulated import STATES
from ecgtwin.sources.simulation.course import RATES_BPM
from tests.sources.strips import (
    BEFORE,
    HZ,
    atrial_mv,
    bump_mv,
    draw,
    intervals_s,
    lead,
    median_beat,
    qrs_ms,
    r_peaks,
    speed,
    st_mv,
)

PERSONS = range(8)
IRREGULAR = ("atrial fibrillation", "atrial flutter", "second degree av block")


@pytest.mark.parametrize("state", STATES)
def test_the_rate_asked_for_is_the_rate_in_the_signal(state):
    low, high = RATES_BPM[state]
    for person, rate in enumerate(np.linspace(low, high, 4)):
        row = draw(state, float(rate), person=person)
        given = row.condition.heart_rate_bpm
        assert given == pytest.approx(rate, rel=0.12 if state in IRREGULAR else 0.015)
        true_s = np.array(row.truth["r_times_s"])
        assert given == pytest.approx(60 / np.diff(true_s).mean(), abs=0.05)
        peaks_s = detected(row.record.samples_mv, sampling_rate_hz=HZ) / HZ
        near = np.abs(peaks_s[:, None] - true_s).min(axis=1) < 0.08
        assert near.mean() > 0.9
        assert abs(len(peaks_s) - len(true_s)) <= max(1, 0.1 * len(true_s))


def test_fibrillation_is_irregular_and_has_no_p():
    for person in PERSONS:
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


@pytest.mark.parametrize("rate", [75, 100, 145])
def test_flutter_is_a_saw_tooth_down_in_the_inferior_leads_and_up_in_v1(rate):
    opposed = []
    for person in PERSONS:
        row = draw("atrial flutter", rate, person=person)
        samples, cycle_s = row.record.samples_mv, 60 / row.truth["flutter_bpm"]
        assert 0.17 < cycle_s < 0.25
        assert row.truth["p_times_s"] == []
        times = np.arange(samples.shape[1]) / HZ
        phase = ((times / cycle_s) % 1 * 12).astype(int)
        quiet = np.ones(len(times), dtype=bool)
        for peak in row.truth["r_times_s"]:
            quiet &= (times < peak - 0.06) | (times > peak + 0.07)
        traces = [lead(samples, name) for name in ("aVF", "V1")]
        traces = [trace - np.convolve(trace, np.ones(251) / 251, "same") for trace in traces]
        folded = [
            np.array([np.median(trace[quiet & (phase == p)]) for p in range(12)])
            for trace in traces
        ]
        down, up = (wave - np.median(wave) for wave in folded)
        assert np.ptp(down) > 0.08
        opposed.append(np.corrcoef(down, up)[0, 1] < 0 and -down.min() > 0.8 * down.max())
        spectrum = np.abs(np.fft.rfft(np.where(quiet, traces[0], 0) * np.hanning(len(times))))
        hz = np.fft.rfftfreq(len(times), 1 / HZ)
        flutter = spectrum[np.abs(hz - 1 / cycle_s) < 0.15].max()
        beside = spectrum[(hz > 3.4) & (hz < 7) & (np.abs(hz - 1 / cycle_s) > 0.3)]
        assert flutter > 2.5 * np.median(beside)
    assert np.mean(opposed) >= (0.7 if rate < 120 else 0.5)  # T waves hide much at 2:1


def test_flutter_conducts_two_three_four_to_one_and_variably():
    ways = {draw("atrial flutter", r, person=q).truth["conduction"] for r in (75, 100, 145)
            for q in PERSONS}  # fmt: skip
    assert {"flutter 2:1", "flutter 3:1", "flutter 4:1", "flutter, variable"} <= ways
    for person in PERSONS:
        row = draw("atrial flutter", 145, person=person)
        if row.truth["conduction"] == "flutter 2:1":
            assert np.std(np.diff(row.truth["r_times_s"])) < 0.01


def test_atrial_premature_beats_are_early_narrow_and_reset_the_sinus_node():
    for person in PERSONS:
        row = draw("atrial premature complex", 70, person=person)
        samples = row.record.samples_mv
        peaks = r_peaks(samples)
        true = np.array(row.truth["r_times_s"]) * HZ
        kinds = [row.truth["beat_types"][int(np.argmin(np.abs(true - p)))] for p in peaks]
        early = [i for i, kind in enumerate(kinds) if kind == "A" and 0 < i < len(kinds) - 1]
        gaps = np.diff(peaks) / HZ
        usual = np.median(gaps)
        assert 1 <= kinds.count("A") <= 3
        for at in early:
            assert gaps[at - 1] < 0.85 * usual
            assert gaps[at - 1] + gaps[at] < 1.93 * usual  # less than a compensatory pause
            bouts = [speed(samples)[p - 60 : p + 60] for p in (peaks[at], peaks[at - 1])]
            sizes = [np.ptp(np.flatnonzero(bout > 0.25 * bout.max())) for bout in bouts]
            assert sizes[0] < 1.3 * sizes[1] + 5


def test_ventricular_premature_beats_are_early_wide_and_followed_by_a_pause():
    for person in PERSONS:
        row = draw("ventricular premature complex", 70, person=person)
        samples, kinds = row.record.samples_mv, row.truth["beat_types"]
        peaks = r_peaks(samples)
        gaps = np.diff(peaks) / HZ
        usual = np.median(gaps)
        early = np.flatnonzero(gaps < 0.85 * usual)
        assert len(early) == kinds.count("V") >= 1
        assert gaps[early + 1] == pytest.approx(2 * usual - gaps[early], abs=0.2)
        premature, before = peaks[early[0] + 1], peaks[early[0]]
        complexes = [speed(samples)[at - 60 : at + 60] for at in (premature, before)]
        wide, narrow = (np.ptp(np.flatnonzero(bout > 0.25 * bout.max())) for bout in complexes)
        assert wide > 1.25 * narrow


def test_first_degree_block_has_a_long_pr_before_every_beat():
    measured = []
    for person in PERSONS:
        row = draw("first degree av block", 70, person=person)
        samples, truth = row.record.samples_mv, row.truth
        assert 205 < truth["pr_ms"] < 345
        assert all(pr is not None for pr in truth["pr_ms_by_beat"])
        assert bump_mv(lead(samples, "II"), truth["p_times_s"]) > 0.02
        measured.append((measure(samples, sampling_rate_hz=HZ).pr_ms or np.nan) - truth["pr_ms"])
    assert np.nanmedian(np.abs(measured)) < 25
    assert np.isfinite(measured).mean() > 0.6


def second_degree_rows():
    rows = [draw("second degree av block", 55, person=person) for person in range(24)]
    return {way: [row for row in rows if row.truth["conduction"].startswith(way)]
            for way in ("wenckebach", "mobitz II", "2:1")}  # fmt: skip


def test_second_degree_block_is_mostly_wenckebach_and_drops_beats():
    by_way = second_degree_rows()
    assert len(by_way["wenckebach"]) > 12
    assert by_way["mobitz II"]
    for row in by_way["wenckebach"]:
        samples, truth = row.record.samples_mv, row.truth
        p_times, r_times = np.array(truth["p_times_s"]), np.array(truth["r_times_s"])
        pr = truth["pr_ms_by_beat"]
        gaps = np.diff(r_peaks(samples)) / HZ
        pauses = np.diff(r_times) > 1.4 * np.median(np.diff(p_times))
        assert gaps.max() < 2 * gaps.min() - 0.02  # the pause is less than two short cycles
        for at, pause in enumerate(pauses):  # PR grows within a group and falls after the pause
            assert (pr[at + 1] < pr[at]) if pause else (pr[at + 1] > pr[at])
        follows = [np.any((r_times > p) & (r_times < p + 0.48)) for p in p_times]
        dropped = p_times[~np.array(follows)]
        dropped = dropped[dropped < 9.4]
        assert len(dropped) >= 1
    heights = [
        bump_mv(lead(row.record.samples_mv, "II"), dropped_p(row)) for row in by_way["wenckebach"]
    ]
    assert np.median(heights) > 0.03  # P waves that no beat follows are there


def dropped_p(row):
    p_times, r_times = np.array(row.truth["p_times_s"]), np.array(row.truth["r_times_s"])
    led = {
        round(r - pr / 1000, 1) for r, pr in zip(r_times, row.truth["pr_ms_by_beat"], strict=True)
    }
    near = [any(abs(p + 0.05 - one) < 0.12 for one in led) for p in p_times]
    left = p_times[~np.array(near)]
    return left[left < 9.6] if len(left) else p_times


def test_third_degree_block_dissociates_atria_and_ventricles():
    heights = []
    for person in PERSONS:
        for rate in (34, 48):
            row = draw("third degree av block", rate, person=person)
            samples, truth = row.record.samples_mv, row.truth
            gaps = intervals_s(samples)
            assert np.std(gaps) / np.mean(gaps) < 0.04
            assert len(truth["p_times_s"]) > 1.2 * len(truth["r_times_s"])
            assert set(truth["beat_types"]) == ({"E"} if rate < 40 else {"j"})
            assert all(pr is None for pr in truth["pr_ms_by_beat"])
            phase = [min(r - p for p in truth["p_times_s"] if p < r)
                     for r in truth["r_times_s"] if r > truth["p_times_s"][0]]  # fmt: skip
            assert np.ptp(phase) > 0.15  # P at ever other places before the beats
            heights.append(bump_mv(lead(samples, "II"), truth["p_times_s"]))
            assert (qrs_ms(samples) > 125) == (rate < 40)
    assert np.median(heights) > 0.04


def test_left_bundle_branch_block_is_broad_and_negative_in_v1():
    for person in PERSONS:
        beat = median_beat(draw("left bundle branch block", 75, person=person).record.samples_mv)
        usual = draw("sinus rhythm", 75, person=person).record.samples_mv
        blocked = draw("left bundle branch block", 75, person=person).record.samples_mv
        assert qrs_ms(usual) < 120 <= qrs_ms(blocked)
        v1, v6 = lead(beat, "V1")[70:165], lead(beat, "V6")[70:165]
        assert v1.min() < -0.6
        assert v1.max() < 0.35
        assert v6.max() > 0.3
        assert v6.min() > -0.35
        recovery = slice(BEFORE + 110, BEFORE + 190)
        assert lead(beat, "V1")[recovery].max() > 0.1  # T against the QRS
        assert lead(beat, "V6")[recovery].min() < 0


def test_right_bundle_branch_block_has_r_prime_in_v1_and_a_wide_s_in_v6():
    for person in PERSONS:
        samples = draw("right bundle branch block", 75, person=person).record.samples_mv
        beat = median_beat(samples)
        assert qrs_ms(samples) >= 115
        v1, v6, one = (lead(beat, name)[80:190] for name in ("V1", "V6", "I"))
        late = slice(int(np.argmin(v1[:60])), None)
        assert v1[late].max() > 0.2
        usual = median_beat(draw("sinus rhythm", 75, person=person).record.samples_mv)
        assert v6.min() < lead(usual, "V6")[80:190].min() - 0.1
        assert one.min() < -0.1


def sokolow_lyon_mv(samples_mv):
    beat = median_beat(samples_mv)[:, 80:190]
    return max(lead(beat, "V5").max(), lead(beat, "V6").max()) - lead(beat, "V1").min()


def test_hypertrophy_is_tall_with_lateral_strain_and_health_is_not():
    for person in PERSONS:
        tall = draw("left ventricular hypertrophy", 75, person=person).record.samples_mv
        usual = draw("sinus rhythm", 75, person=person).record.samples_mv
        assert sokolow_lyon_mv(tall) > 3.5 > sokolow_lyon_mv(usual)
        assert lead(median_beat(tall), "V6")[BEFORE + 100 : BEFORE + 190].min() < -0.08


def test_inferior_infarction_lifts_st_in_iii_above_ii_and_lowers_it_in_avl():
    for person in PERSONS:
        level = st_mv(draw("inferior myocardial infarction", 75, person=person).record.samples_mv)
        usual = st_mv(draw("sinus rhythm", 75, person=person).record.samples_mv)
        assert min(level["II"], level["III"], level["aVF"]) > 0.06
        assert level["III"] > level["II"]
        assert level["aVL"] < -0.06
        assert level["III"] > usual["III"] + 0.1


def test_anterior_infarction_lifts_st_in_v1_to_v4_and_lowers_it_below():
    for person in PERSONS:
        level = st_mv(draw("anterior myocardial infarction", 75, person=person).record.samples_mv)
        assert min(level["V2"], level["V3"]) > 0.15
        assert level["V4"] > 0.02
        assert level["V1"] > 0.03
        assert (
            level["III"] < st_mv(draw("sinus rhythm", 75, person=person).record.samples_mv)["III"]
        )


def test_ischaemia_lowers_a_level_st_in_v4_to_v6():
    for person in PERSONS:
        row = draw("ischemia in lateral leads", 75, person=person)
        level = st_mv(row.record.samples_mv)
        assert max(level["V4"], level["V5"]) < -0.05
        assert level["V6"] < -0.02
        assert level["II"] < -0.02
        assert level["aVR"] > 0.02
        v5 = lead(median_beat(row.record.samples_mv), "V5")
        start, end = (np.median(v5[BEFORE + at : BEFORE + at + 5]) for at in (42, 62))
        assert abs(end - start) < 0.5 * abs(start) + 0.03


def test_a_long_qt_is_measured_long():
    longer = []
    for person in PERSONS:
        row = draw("prolonged qt interval", 65, person=person)
        usual = draw("sinus rhythm", 65, person=person)
        assert 480 <= row.truth["qtc_ms"] <= 560
        assert usual.truth["qtc_ms"] < 460
        qt = [measure(one.record.samples_mv, sampling_rate_hz=HZ).qt_ms for one in (row, usual)]
        if None not in qt:
            longer.append(qt[0] - qt[1])
    assert np.median(longer) > 60


def test_low_voltage_is_below_half_a_millivolt_in_the_limbs_and_one_in_the_chest():
    for person in PERSONS:
        row = draw("low qrs voltage", 70, person=person)
        peaks = np.array(row.truth["r_times_s"][1:-1]) * HZ
        cut = np.stack([row.record.samples_mv[:, round(p) - 30 : round(p) + 30] for p in peaks])
        heights = np.ptp(np.median(cut, axis=0), axis=1)
        assert heights[:6].max() < 0.5
        assert heights[6:].max() < 1.0
        assert heights.max() > 0.15


def test_a_pacemaker_leaves_spikes_before_wide_beats_that_point_up_and_left():
    modes = set()
    for person in range(12):
        row = draw("paced rhythm", 65, person=person)
        samples, truth = row.record.samples_mv, row.truth
        modes.add(truth["conduction"])
        assert np.std(np.diff(truth["r_times_s"])) < 0.03
        sharp = np.abs(np.diff(samples, n=2, axis=1)).max(axis=0)
        floor = np.quantile(sharp, 0.9)
        onset_s = [r - 0.004 - truth["qrs_ms"] / 2000 for r in truth["r_times_s"]]
        near = [sharp[max(0, round((t - 0.05) * HZ)) : round((t + 0.05) * HZ)].max()
                for t in onset_s if t > 0.1]  # fmt: skip
        assert np.median(near) > 3 * floor
        assert qrs_ms(samples) > 125
        beat = median_beat(samples)[:, 85:185]
        assert lead(beat, "III").sum() < 0
        assert lead(beat, "aVF").sum() < 0
        assert lead(beat, "V1").sum() < 0
    assert modes == {"paced VVI", "paced DDD", "paced VAT"}
