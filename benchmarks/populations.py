"""Populations of ECGs, real and simulated, measured by the same code."""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgtwin.signals.beats import measure, median_beat, r_peaks
from ecgtwin.signals.leads import LEADS, independent_leads, lead_positions
from ecgtwin.signals.preprocess import remove_baseline
from ecgtwin.sources.simulated import simulate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas 3 deprecates
    import wfdb

Array = NDArray[np.float64]

RATE_HZ = 500.0
DURATION_S = 10.0
FRAME = 128  # samples of a frame of the noise spectrum: 0.26 s, so that many hold no QRS complex
QUIET_SHARE = 0.2
SHARE_OF_MEAN = -np.log(1 - QUIET_SHARE)  # that quantile of white noise's power, in means
SCALARS = ("heart_rate_bpm", "rr_sd_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg")
PER_LEAD = ("r_mv", "s_mv", "t_mv", "p_mv", "st_mv", "fast_noise_uv", "wander_uv")


@dataclass(frozen=True, slots=True)
class Person:
    """Of whom a recording is, and what is said of it."""

    patient_id: str
    female: bool | None
    age_years: float | None
    labels: frozenset[str]
    at_rest: bool = True


@dataclass(frozen=True, slots=True)
class Population:
    """Recordings as measured: one dict each, see ``measured``."""

    name: str
    persons: list[Person]
    found: list[dict[str, Any]]


def ptbxl(folder: Path) -> Population:
    """Return the records of PTB-XL at 500 Hz that lie in ``folder``."""
    persons, found = [], []
    for row in csv.DictReader((folder / "ptbxl_database.csv").open()):
        path = folder / row["filename_hr"]
        if path.with_suffix(".dat").is_file():
            codes = frozenset(eval_codes(row["scp_codes"]))
            age = float(row["age"]) if row["age"] else None
            persons.append(Person(row["patient_id"], row["sex"] == "1", age, codes))
            found.append(measured(_samples(path)))
    return Population("PTB-XL", persons, found)


def eval_codes(written: str) -> list[str]:
    """Return the codes of a dict written as Python."""
    return [part.split("'")[1] for part in written.split(",") if "'" in part]


def ludb(folder: Path) -> Population:
    """Return the records of LUDB."""
    persons, found = [], []
    for path in sorted((folder / "data").glob("*.hea"), key=lambda path: int(path.stem)):
        words = path.read_text()
        sex = words.partition("<sex>:")[2].strip()[:1]
        age = words.partition("<age>:")[2].split()[0].strip(">\\n")
        years = float(age) if age.replace(".", "").isdigit() else None
        persons.append(Person(path.stem, sex == "F", years, frozenset()))
        found.append(measured(_samples(path.with_suffix(""))))
    return Population("LUDB", persons, found)


def simulated(*, seed: int, num_persons: int, visits_per_person: int) -> Population:
    """Return a simulated population, states and rates mixed as for training."""
    persons, found = [], []
    for first in range(0, num_persons, 20):
        rows = simulate(
            seed=seed,
            persons=range(first, min(first + 20, num_persons)),
            visits_per_person=visits_per_person,
        )
        for row in rows:
            truth = row.truth or {}
            codes = frozenset(statement.code for statement in row.condition.statements)
            persons.append(
                Person(
                    row.record.patient_id,
                    row.condition.sex == "female",
                    row.condition.age_years,
                    codes,
                    at_rest=bool(truth["at_rest"]),
                )
            )
            found.append(measured(row.record.samples_mv))
    return Population("simulated", persons, found)


def _samples(path: Path) -> NDArray[np.float32]:
    record = wfdb.rdrecord(str(path))
    num_samples = round(DURATION_S * RATE_HZ)
    leads: NDArray[np.float32] = record.p_signal.T[lead_positions(record.sig_name), :num_samples]
    return np.nan_to_num(leads).astype(np.float32)


def measured(samples_mv: NDArray[np.float32]) -> dict[str, Any]:
    """Return ``SCALARS`` (None where not measurable), ``PER_LEAD`` (12,), spectrum and shape."""
    reading = measure(samples_mv, sampling_rate_hz=RATE_HZ)
    peaks = r_peaks(samples_mv, sampling_rate_hz=RATE_HZ)
    found: dict[str, Any] = {
        name: getattr(reading, name)
        for name in ("heart_rate_bpm", "rr_sd_ms", "pr_ms", "qrs_ms", "qt_ms")
    }
    found |= {"qtc_ms": None, "axis_deg": None, "shape": None, **_noise(samples_mv)}
    rr_s = 60.0 / (reading.heart_rate_bpm or 60.0)
    if reading.qt_ms:
        found["qtc_ms"] = reading.qt_ms / np.cbrt(rr_s)
    flat = remove_baseline(samples_mv, sampling_rate_hz=RATE_HZ)
    if len(peaks) > 2:
        found |= _amplitudes(flat, peaks, rr_s)
        found["shape"] = _shape(flat, peaks, rr_s)
    return found


def _amplitudes(flat_mv: Array, peaks: NDArray[np.int64], rr_s: float) -> dict[str, Any]:
    after_s = min(0.5, 0.8 * rr_s)
    beat = median_beat(flat_mv, peaks, sampling_rate_hz=RATE_HZ, before_s=0.3, after_s=after_s)
    if beat is None:
        return {}
    peak = round(0.3 * RATE_HZ)
    beat = beat - np.median(beat[:, peak - 38 : peak - 28], axis=1, keepdims=True)
    qrs = beat[:, peak - 30 : peak + 40]
    recovery = beat[:, peak + 70 : peak + 70 + round(0.30 * RATE_HZ * max(rr_s**0.5, 0.6))]
    tallest = np.abs(recovery).argmax(axis=1)
    before = beat[:, : peak - 35]
    net = qrs.sum(axis=1)
    return {
        "axis_deg": float(np.degrees(np.arctan2(net[5] * 2 / np.sqrt(3), net[0]))),
        "r_mv": qrs.max(axis=1),
        "s_mv": qrs.min(axis=1),
        "t_mv": recovery[np.arange(12), tallest],
        "p_mv": before.max(axis=1) - np.median(before, axis=1),
        "st_mv": beat[:, peak + 50],
    }


def _noise(samples_mv: NDArray[np.float32]) -> dict[str, Any]:
    samples = np.asarray(samples_mv, dtype=np.float64)
    fast = signal.butter(3, [35, 140], "bandpass", fs=RATE_HZ, output="sos")
    slow = signal.butter(2, 0.6, fs=RATE_HZ, output="sos")
    quick = signal.sosfiltfilt(fast, samples)
    drift = signal.sosfiltfilt(slow, samples, padlen=500)
    starts = range(0, samples.shape[1] - FRAME + 1, FRAME // 2)
    frames = np.stack([samples[:, start : start + FRAME] for start in starts])
    window = np.hanning(FRAME)
    power = np.abs(np.fft.rfft((frames - frames.mean(axis=-1, keepdims=True)) * window)) ** 2
    quiet = np.quantile(power, QUIET_SHARE, axis=0) / SHARE_OF_MEAN
    return {
        "fast_noise_uv": 1482.6 * np.median(np.abs(quick), axis=1),
        "wander_uv": 1000 * drift.std(axis=1),
        "density_uv": 1000 * np.sqrt(2 * quiet / (RATE_HZ * (window**2).sum())),
    }


def _shape(flat_mv: Array, peaks: NDArray[np.int64], rr_s: float) -> Array | None:
    """Return the usual beat of eight leads on a grid whose second half follows the rate."""
    beat = median_beat(flat_mv, peaks, sampling_rate_hz=RATE_HZ)
    if beat is None:
        return None
    times = np.arange(beat.shape[1]) / RATE_HZ - 0.3
    stretch = min(np.sqrt(rr_s), 1.16)
    grid = np.concatenate(
        [np.arange(-0.22, 0.08, 0.005), 0.08 + stretch * np.arange(0, 0.36, 0.01)]
    )
    leads = independent_leads(beat)
    return np.stack([np.interp(grid, times, one) for one in leads])


def values(population: Population, quantity: str, chosen: Sequence[int] | None = None) -> Array:
    """Return a quantity ("pr_ms", or "r_mv V5" of a lead) of the chosen recordings; known ones."""
    name, _, lead = quantity.partition(" ")
    rows = range(len(population.found)) if chosen is None else chosen
    found = [population.found[row].get(name) for row in rows]
    place = LEADS.index(lead) if lead else 0
    known = [one[place] if lead else one for one in found if one is not None]
    numbers = np.array(known, dtype=float)
    return numbers[np.isfinite(numbers)]
