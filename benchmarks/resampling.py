"""Resampling to 102.4 Hz: ours, the published FFT resample, and scipy's polyphase as it comes.

python -m benchmarks.resampling DATA [--records 500]

DATA holds ``ptbxl`` (500 and 100 Hz) and ``ptb_diagnostic`` (1000 Hz). Per rate: the error of tones
up to 40 Hz, what is left of tones above 60 Hz, how much a cut changes the samples beside it (those
of the whole recording are known), how much lower the R peaks are, and the time.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal

from benchmarks.facts import write_result
from ecgtwin.signals.preprocess import resample
from ecgtwin.signals.resampling import STOP_BAND_DB, TRANSITION_SHARE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas 3 deprecates
    import wfdb

Samples = NDArray[np.floating]
Method = Callable[[Samples, float], Samples]

TO_HZ = 102.4
SECONDS = 10
PASSED_HZ = np.arange(0.53, 40, 0.5)  # no whole number of periods in ten seconds
STOPPED_FROM_HZ = 60.0
EDGE_S = 0.1  # either side of a recording
INSIDE_S = 1.0  # from here on an edge has no influence
TOLERANCE_UV = 5.0  # against the filter that the shipped weights were trained with
FOLDERS = {
    500: "ptbxl/records500",
    100: "ptbxl/records100",
    1000: "ptb_diagnostic",
}


def main() -> None:
    """Measure every method at every rate; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--records", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[str, dict[str, Any]] = {}
    for rate_hz, folder in FOLDERS.items():
        records = read_records(arguments.data / folder, rate_hz, arguments.records)
        rates[str(rate_hz)] = {
            "records": len(records),
            "methods": {
                name: tones(method, rate_hz) | on_records(method, records, rate_hz)
                for name, method in METHODS.items()
            },
            "milliseconds": paces(records, rate_hz),
            "difference_to_former_rms_uv": differences(records, rate_hz),
        }
        print(rate_hz, rates[str(rate_hz)])
    largest = max(rate["difference_to_former_rms_uv"]["largest"] for rate in rates.values())
    result = {
        "to_hz": TO_HZ,
        "design": {
            "window": "Kaiser",
            "stop_band_db": STOP_BAND_DB,
            "passes_up_to_hz": round((1 - TRANSITION_SHARE) * TO_HZ / 2, 1),
            "stops_from_hz": round((1 + TRANSITION_SHARE) * TO_HZ / 2, 1),
        },
        "rates": rates,
        "bars": {
            "rms_difference_to_the_former_filter_uv": {
                "at_most": TOLERANCE_UV,
                "found": largest,
                "met": largest <= TOLERANCE_UV,
            }
        },
    }
    print(write_result("resampling", result))


def ours(samples: Samples, rate_hz: float) -> Samples:
    """Resample as an ingest does."""
    return resample(samples, from_hz=rate_hz, to_hz=TO_HZ)


def published(samples: Samples, rate_hz: float) -> Samples:
    """Resample as the published code: the spectrum of the whole recording is cut."""
    return resample(samples, from_hz=rate_hz, to_hz=TO_HZ, method="fft")


def former(samples: Samples, rate_hz: float) -> Samples:
    """Resample by scipy's own polyphase filter, as the shipped weights were trained."""
    ratio = Fraction(TO_HZ).limit_denominator(10_000) / Fraction(rate_hz)
    whole: Samples = signal.resample_poly(
        samples.astype(np.float64),
        ratio.numerator,
        ratio.denominator,
        axis=-1,
        padtype="antireflect",
    )
    return whole[..., : round(samples.shape[-1] * TO_HZ / rate_hz)]


METHODS: dict[str, Method] = {"ours": ours, "fft": published, "scipy_polyphase": former}


def read_records(folder: Path, rate_hz: int, limit: int) -> list[Samples]:
    """Return the first ten seconds, (12, time) in mV, of recordings below ``folder``."""
    records = []
    for header in islice(sorted(folder.rglob("*.hea")), limit):
        record = wfdb.rdrecord(str(header.with_suffix("")), sampto=SECONDS * rate_hz)
        if record.fs == rate_hz and np.isfinite(record.p_signal).all():
            samples_mv = record.p_signal.T[:12].astype(np.float32)
            records.append(np.ascontiguousarray(samples_mv))
    return records


def tones(method: Method, rate_hz: int) -> dict[str, float | None]:
    """Return the largest errors of tones of unit height, in dB, far from the edges."""
    times_s = np.arange(SECONDS * rate_hz) / rate_hz
    at_s = np.arange(round(SECONDS * TO_HZ)) / TO_HZ
    inside = slice(round(INSIDE_S * TO_HZ), -round(INSIDE_S * TO_HZ))

    def tone(hz: NDArray[np.float64], when_s: NDArray[np.float64]) -> Samples:
        return np.sin(2 * np.pi * hz[:, None] * when_s + 0.3)

    passed = method(tone(PASSED_HZ, times_s), rate_hz) - tone(PASSED_HZ, at_s)
    high_hz = np.arange(STOPPED_FROM_HZ + 0.03, rate_hz / 2, 0.5)
    stopped = method(tone(high_hz, times_s), rate_hz) if len(high_hz) else None
    return {
        "pass_band_error_db": _db(np.abs(passed[:, inside]).max()),
        "alias_rejection_db": None if stopped is None else _db(np.abs(stopped[:, inside]).max()),
    }


def on_records(method: Method, records: Sequence[Samples], rate_hz: int) -> dict[str, object]:
    """Return errors at a cut and losses of height over ``records``, in uV and shares."""
    ratio = Fraction(TO_HZ).limit_denominator(10_000) / rate_hz
    once = ratio.denominator * -(-rate_hz // ratio.denominator)  # where both rates have a sample
    num_once = once * ratio
    at_edge, inside, losses = [], [], []
    edge, far = round(EDGE_S * TO_HZ), round(INSIDE_S * TO_HZ)
    for samples_mv in records:
        whole = method(samples_mv, rate_hz)
        cut = method(samples_mv[:, once:-once], rate_hz)
        errors = 1000 * np.abs(cut - whole[:, int(num_once) : int(num_once) + cut.shape[1]])
        at_edge.append(max(errors[:, :edge].max(), errors[:, -edge:].max()))
        inside.append(errors[:, far:-far].max())
        losses.append(1 - np.ptp(whole[:, far:-far], axis=1) / _spans(samples_mv, rate_hz))
    return {
        "largest_error_at_a_cut_uv": _summary(at_edge),
        "largest_error_inside_uv": _summary(inside),
        "loss_of_height": _summary(np.concatenate(losses)),
    }


def paces(records: Sequence[Samples], rate_hz: int) -> dict[str, float]:
    """Return the median milliseconds per recording, the methods in turn on each."""
    spent: dict[str, list[float]] = {name: [] for name in METHODS}
    for samples_mv in [*records[:3], *records[:200]]:
        for name, method in METHODS.items():
            started = time.perf_counter()
            method(samples_mv, rate_hz)
            spent[name].append(1000 * (time.perf_counter() - started))
    return {name: median(found[3:]) for name, found in spent.items()}


def differences(records: Sequence[Samples], rate_hz: int) -> dict[str, float]:
    """Return how far ours is from the former filter: RMS per recording, in uV."""
    return _summary(
        [
            1000 * np.sqrt(np.mean((ours(one, rate_hz) - former(one, rate_hz)) ** 2))
            for one in records
        ]
    )


def _spans(samples_mv: Samples, rate_hz: int) -> NDArray[np.floating]:
    """Return the spans of the leads at their own rate, edges aside."""
    edge = round(INSIDE_S * rate_hz)
    spans: NDArray[np.floating] = np.ptp(samples_mv[:, edge:-edge], axis=1)
    floored: NDArray[np.floating] = np.maximum(spans, 1e-6)
    return floored


def _db(height: float) -> float:
    return float(20 * np.log10(height))


def _summary(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "p95": float(np.quantile(values, 0.95)),
        "largest": float(np.max(values)),
    }


if __name__ == "__main__":
    main()
