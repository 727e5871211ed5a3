"""What is read from many ECGs at once: rates, intervals, and the shape of the median beat."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.beats import Measurement, measure, median_beat, r_peaks
from ecgtwin.signals.preprocess import remove_baseline

Floats = NDArray[np.float64]

MIN_BEATS = 3  # fewer R peaks than this count as none found
QRS_S = (-0.07, 0.09)  # around the R peak: does not change with the rate
T_END_S = 0.36  # after the R peak at 60 bpm; scales with the root of the R-R interval (Bazett 1920)
QRS_POINTS, T_POINTS = 21, 24


@dataclass(frozen=True, slots=True)
class Readings:
    """One entry per ECG; NaN where it could not be read."""

    heart_rate_bpm: Floats  # (ecg,)
    rr_sd_ms: Floats
    qrs_ms: Floats
    qt_ms: Floats
    shapes_mv: Floats  # (ecg, 12, QRS_POINTS + T_POINTS): the median beat from QRS to end of T

    def __len__(self) -> int:
        return len(self.heart_rate_bpm)

    @property
    def has_shape(self) -> NDArray[np.bool_]:
        """Say for which ECGs the median beat is there."""
        there: NDArray[np.bool_] = np.asarray(np.isfinite(self.shapes_mv).all(axis=(1, 2)))
        return there


def read_ecgs(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> Readings:
    """Return the readings of ECGs (ecg, 12, time) in mV."""
    found, shapes = [], []
    for one in samples_mv:
        usable = bool(np.isfinite(one).all())
        measured = measure(one, sampling_rate_hz=sampling_rate_hz) if usable else Measurement(0)
        measured = measured if measured.num_beats >= MIN_BEATS else Measurement(0)
        found.append(measured)
        shapes.append(_shape(one, measured.heart_rate_bpm, sampling_rate_hz))
    return Readings(
        heart_rate_bpm=_column(one.heart_rate_bpm for one in found),
        rr_sd_ms=_column(one.rr_sd_ms for one in found),
        qrs_ms=_column(one.qrs_ms for one in found),
        qt_ms=_column(one.qt_ms for one in found),
        shapes_mv=np.array(shapes).reshape(-1, 12, QRS_POINTS + T_POINTS),
    )


def _column(values: Iterable[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _shape(one: NDArray[np.floating], rate_bpm: float | None, sampling_rate_hz: float) -> Floats:
    """Return (12, points) of the median beat, the T wave in units of the root of R-R."""
    absent = np.full((12, QRS_POINTS + T_POINTS), np.nan)
    if rate_bpm is None:
        return absent
    level = remove_baseline(one, sampling_rate_hz=sampling_rate_hz)
    peaks = r_peaks(one, sampling_rate_hz=sampling_rate_hz)
    t_end_s = max(0.17, T_END_S * (60 / rate_bpm) ** 0.5)
    before_s = 0.1
    beat = median_beat(
        level,
        peaks,
        sampling_rate_hz=sampling_rate_hz,
        before_s=before_s,
        after_s=t_end_s + 2 / sampling_rate_hz,
    )
    if beat is None:
        return absent
    qrs_s = np.linspace(*QRS_S, QRS_POINTS)
    t_wave_s = np.linspace(QRS_S[1], t_end_s, T_POINTS + 1)[1:]
    r_index = round(before_s * sampling_rate_hz)
    place = r_index + np.concatenate([qrs_s, t_wave_s]) * sampling_rate_hz
    left = np.floor(place).astype(int)
    share = place - left
    shape: Floats = beat[:, left] * (1 - share) + beat[:, left + 1] * share
    shape -= shape[:, :3].mean(axis=1, keepdims=True)
    return shape
