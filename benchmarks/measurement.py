"""The measurement stage against wfdb's XQRS detector, and against the annotators of LUDB.

OMP_NUM_THREADS=1 python -m benchmarks.measurement DATA

DATA holds ``ludb``, ``ptbxl`` (500 and 100 Hz), ``ptb_diagnostic`` (1000 Hz) and ``cinc2011``.
Time: blocks of recordings, ours and XQRS in turns; ours reads rate, intervals, axis and amplitude
from all twelve leads, XQRS the beats of one lead (or of twelve, one after the other). Beats count
as found within 150 ms, between the first and the last marked one. Exchanged electrodes: the limb
leads of recordings are exchanged by arithmetic.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import write_result
from ecgtwin.signals.beats import r_peaks
from ecgtwin.signals.lead_swap import FLAGGED
from ecgtwin.signals.leads import INDEPENDENT_LEADS, LEADS, derive_limb_leads, lead_positions
from ecgtwin.signals.measurement import measure_all, waves_of
from ecgtwin.signals.preprocess import resample
from tests.signals.ludb import HZ, axis_deg, beat_times_s, intervals_ms, read_marks
from tests.signals.pulses import matched

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas 3 deprecates
    import wfdb
    from wfdb.processing import XQRS

Samples = NDArray[np.floating]
Annotations = dict[str, tuple[NDArray[np.int64], list[str]]]

TOLERANCE_S = 0.15
BLOCK = 64
CINC_HZ = 500
EXCHANGED = {  # what (I, II) become
    "LA/RA": ((-1, 0), (-1, 1)),
    "RA/LL": ((1, -1), (0, -1)),
    "LA/LL": ((0, 1), (1, 0)),
}


def main() -> None:
    """Measure speed, beats, intervals and exchanged leads; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    ludb = read_records(data / "ludb" / "data")
    annotations = [read_annotations(data / "ludb" / "data" / str(name)) for name, _ in ludb]
    marked = [samples for _, samples in ludb]
    ptbxl = [samples for _, samples in read_records(data / "ptbxl" / "records500")]
    slow = [samples for _, samples in read_records(data / "ptbxl" / "records100")]
    fast = [samples for _, samples in read_records(data / "ptb_diagnostic")]
    speed = {
        "ludb": speed_of(marked, HZ),
        "ptbxl_500_hz": speed_of(ptbxl, 500),
        "ptbxl_100_hz": speed_of(slow, 100),
        "ptb_1000_hz": speed_of([samples[:, :10_000] for samples in fast], 1000),
    }
    write_result(
        "measurement",
        {
            "speed": speed,
            "beats": beats(marked, annotations),
            "errors": {
                f"{rate_hz:g}": errors(at_rate(marked, rate_hz), rate_hz, annotations)
                for rate_hz in (500, 1000, 250, 100)
            },
            "exchanged": exchanged(marked, ptbxl, read_cinc(data)),
            "limb_from_chest": limb_from_chest(ptbxl),
        },
    )


def read_records(folder: Path) -> list[tuple[str, Samples]]:
    """Return (name, (12, time) in mV) of the WFDB records below a folder, in order of name."""
    headers = sorted(folder.rglob("*.hea"), key=lambda path: (len(path.stem), path.stem))
    found = []
    for header in headers:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        samples = record.p_signal.T[lead_positions(record.sig_name)]
        found.append((header.stem, samples.astype(np.float32)))
    return found


def read_annotations(path: Path) -> Annotations:
    """Return the marks of each lead of a LUDB record."""
    return {lead: read_marks(path.with_suffix(f".{lead.lower()}")) for lead in LEADS}


def read_cinc(data: Path) -> list[Samples]:
    """Return the recordings of the Challenge of 2011, (12, 5000) in mV."""
    with np.load(data / "cinc2011" / "cinc2011_groupI_500hz_delta_int16.npz") as packed:
        steps = np.cumsum(packed["dx_adc"], axis=1, dtype=np.int16)
    return list(np.ascontiguousarray(steps.transpose(0, 2, 1)) * np.float32(0.005))


def at_rate(recordings: Sequence[Samples], rate_hz: float) -> list[Samples]:
    """Return LUDB's recordings at another rate."""
    if rate_hz == HZ:
        return list(recordings)
    return [resample(samples, from_hz=HZ, to_hz=rate_hz) for samples in recordings]


def speed_of(recordings: Sequence[Samples], rate_hz: float) -> dict[str, Any]:
    """Return ms per recording, the medians over blocks that ours and XQRS measure in turns."""
    ours, alone, one_lead, all_leads = [], [], [], []
    measure_all(recordings[:BLOCK], [rate_hz] * len(recordings[:BLOCK]))
    for start in range(0, len(recordings), BLOCK):
        block = recordings[start : start + BLOCK]
        rates = [rate_hz] * len(block)
        ours.append(_ms(lambda block=block, rates=rates: measure_all(block, rates)) / len(block))
        alone.append(_ms(lambda block=block: measure_all(block[:1], [rate_hz])))
        leads = [[xqrs_ms(lead, rate_hz) for lead in samples] for samples in block[:1]]
        all_leads.append(sum(leads[0]))
        one_lead.append(median(xqrs_ms(samples[1], rate_hz) for samples in block))
    found = {
        "recordings": len(recordings),
        "seconds": recordings[0].shape[1] / rate_hz,
        "ours_ms": median(ours),
        "ours_one_at_a_time_ms": median(alone),
        "xqrs_lead_ii_ms": median(one_lead),
        "xqrs_twelve_leads_ms": median(all_leads),
    }
    ratios = [theirs / mine for theirs, mine in zip(one_lead, ours, strict=True)]
    found["ratio_lead_ii"] = median(ratios)
    found["ratio_twelve_leads"] = median(
        theirs / mine for theirs, mine in zip(all_leads, ours, strict=True)
    )
    return found


def xqrs_ms(lead: Samples, rate_hz: float) -> float:
    """Return how long XQRS takes for one lead."""
    samples = lead.astype(np.float64)
    return _ms(lambda: XQRS(samples, rate_hz).detect(verbose=False))


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def beats(recordings: Sequence[Samples], annotations: Sequence[Annotations]) -> dict[str, Any]:
    """Return how many of the marked beats are found, by us and by XQRS on each lead."""
    ours = [r_peaks(samples, sampling_rate_hz=HZ) for samples in recordings]
    found = {"ours": found_of(ours, annotations)}
    by_lead = {
        lead: found_of([xqrs(samples[place]) for samples in recordings], annotations)
        for place, lead in enumerate(LEADS)
    }
    found["xqrs_lead_ii"] = by_lead["II"]
    best = max(LEADS, key=lambda lead: by_lead[lead]["f1"])
    return {**found, "xqrs_best_lead": {"lead": best, **by_lead[best]}}


def xqrs(lead: Samples) -> NDArray[np.int64]:
    """Return the beats that XQRS finds in one lead."""
    detector = XQRS(lead.astype(np.float64), HZ)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, dtype=np.int64)


def found_of(
    peaks: Sequence[NDArray[np.int64]], annotations: Sequence[Annotations]
) -> dict[str, Any]:
    """Return hits, misses, false beats and F1 over all recordings."""
    hits = misses = false = 0
    for found, marks in zip(peaks, annotations, strict=True):
        true_s = beat_times_s(marks)
        found_s = found / HZ
        inside = found_s[(found_s > true_s[0] - 0.1) & (found_s < true_s[-1] + 0.1)]
        hit, wrong = matched(inside, true_s, within_s=TOLERANCE_S)
        hits, misses, false = hits + hit, misses + len(true_s) - hit, false + wrong
    f1 = 2 * hits / (2 * hits + misses + false)
    return {"found": hits, "missed": misses, "false": false, "f1": f1}


def errors(
    recordings: Sequence[Samples], rate_hz: float, annotations: Sequence[Annotations]
) -> dict[str, Any]:
    """Return the absolute errors of what is measured: median, 90th percentile, recordings."""
    away: dict[str, list[float]] = {}
    measured = measure_all(recordings, [rate_hz] * len(recordings))
    unseen = dict.fromkeys(("qrs_ms", "pr_ms", "qt_ms"), 0)
    for samples, found, marks in zip(recordings, measured, annotations, strict=True):
        for name, true in truths(samples, rate_hz, marks).items():
            value = getattr(found, name)
            if true is not None and value is not None:
                apart = value - true
                apart = (apart + 180) % 360 - 180 if name == "qrs_axis_deg" else apart
                away.setdefault(name, []).append(abs(apart))
            elif true is not None and name in unseen:
                unseen[name] += 1
    return {
        name: {
            "median": float(np.median(values)),
            "p90": float(np.percentile(values, 90)),
            "recordings": len(values),
            "not_measured": unseen.get(name, 0),
        }
        for name, values in away.items()
    }


def truths(samples: Samples, rate_hz: float, marks: Annotations) -> dict[str, float | None]:
    """Return what the annotators' marks make of each measured value."""
    found: dict[str, float | None] = dict(intervals_ms(marks))
    times_s = beat_times_s(marks)
    rr_s = float(times_s[-1] - times_s[0]) / (len(times_s) - 1)
    found["heart_rate_bpm"] = 60 / rr_s
    qt_ms = found["qt_ms"]
    found["qtc_fridericia_ms"] = None if qt_ms is None else qt_ms / rr_s ** (1 / 3)
    found["qtc_bazett_ms"] = None if qt_ms is None else qt_ms / rr_s**0.5
    found["qrs_axis_deg"] = axis_deg(samples, rate_hz, marks)
    return found


def exchanged(*corpora: Sequence[Samples]) -> dict[str, Any]:
    """Return how many recordings are flagged, as they are and with each exchange."""
    found: dict[str, Any] = {}
    for name, recordings in zip(("ludb", "ptbxl", "cinc2011"), corpora, strict=True):
        row: dict[str, Any] = {"recordings": len(recordings), "as_recorded": flags(recordings)}
        row["p_waves_as_recorded"] = p_waves(recordings)
        for exchange, how in EXCHANGED.items():
            row[exchange] = flags([with_limbs(samples, how) for samples in recordings])
        found[name] = row
    return found


def with_limbs(samples: Samples, how: tuple[tuple[int, int], tuple[int, int]]) -> Samples:
    """Return (12, time) with the limb leads that an exchange of electrodes gives."""
    independent = samples[[LEADS.index(lead) for lead in INDEPENDENT_LEADS]]
    limbs = np.array(how, dtype=np.float32) @ independent[:2]
    return derive_limb_leads(np.concatenate([limbs, independent[2:]]))


def flags(recordings: Sequence[Samples]) -> dict[str, int]:
    """Return how many recordings (12, time) at 500 Hz are flagged as each exchange."""
    found = [one.swapped_limb_leads for one in measure_all(recordings, [CINC_HZ] * len(recordings))]
    return {name: found.count(name) for name in FLAGGED}


def p_waves(recordings: Sequence[Samples]) -> dict[str, dict[str, int]]:
    """Return, of those flagged as LA/RA or not at all, how many have a P wave, inverted in I."""
    found = {name: {"with_p": 0, "inverted_in_i": 0} for name in ("LA/RA", "none")}
    for start in range(0, len(recordings), BLOCK):
        block = recordings[start : start + BLOCK]
        _, waves = waves_of(block, CINC_HZ)
        for place, one in enumerate(measure_all(block, [CINC_HZ] * len(block))):
            name = one.swapped_limb_leads or "none"
            if one.pr_ms is not None and name in found:
                begin = int(waves.start[place])
                p_wave = waves.above_mv[0, place, begin : begin + round(0.15 * CINC_HZ)]
                found[name]["with_p"] += 1
                found[name]["inverted_in_i"] += int(p_wave.sum() < 0)
    return found


def limb_from_chest(recordings: Sequence[Samples]) -> list[list[float]]:
    """Return what signals/lead_swap.py holds: leads I and II from V1..V6, least squares."""
    square, product = np.zeros((6, 6)), np.zeros((2, 6))
    for start in range(0, len(recordings), BLOCK):
        _, waves = waves_of(recordings[start : start + BLOCK], 500)
        for place, (begin, end) in enumerate(zip(waves.start, waves.stop, strict=True)):
            beat = waves.above_mv[:, place, begin:end].astype(np.float64)
            if beat.size:
                beat /= np.sqrt((beat**2).mean())
                square += beat[2:] @ beat[2:].T
                product += beat[:2] @ beat[2:].T
    return [[round(float(value), 3) for value in row] for row in product @ np.linalg.inv(square)]


if __name__ == "__main__":
    main()
