"""Rhythm: when the beats of a simulated strip fall, in seconds from its start."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN_S = 2.0  # beats this far outside the strip still reach into it
_EDGE_S = 0.06  # no R peak stands nearer to an end than this, so that every beat can be counted


@dataclass(frozen=True, slots=True)
class Beats:
    """Times of the R peaks, from before the strip to after it, and which of them are ectopic."""

    times_s: Array
    ectopic: NDArray[np.bool_]

    def heart_rate_bpm(self, duration_s: float) -> float:
        """Return 60 / mean RR of the beats inside the strip."""
        return 60.0 / _mean_interval(self.times_s, duration_s)


def _mean_interval(times_s: Array, duration_s: float) -> float:
    inside = times_s[(times_s >= 0) & (times_s < duration_s)]
    return float((inside[-1] - inside[0]) / (len(inside) - 1))


def _sinus_intervals(rng: np.random.Generator, rate: float, count: int) -> Array:
    """Return relative RR intervals with respiratory arrhythmia, weaker at faster rates."""
    depth = rng.uniform(0.005, 0.05) * np.clip((150 - rate) / 80, 0.08, 1.0)
    breaths_per_beat = rng.uniform(0.18, 0.32) * 60 / rate
    breathing = np.sin(2 * np.pi * (breaths_per_beat * np.arange(count) + rng.random()))
    jitter = 0.006 * rng.standard_normal(count)
    intervals: Array = 1 + depth * breathing + jitter
    return intervals


def _fibrillation_intervals(rng: np.random.Generator, rate: float, count: int) -> Array:
    """Return relative RR intervals without any order, none shorter than the node recovers."""
    spread = rng.uniform(0.20, 0.28)
    intervals = rng.gamma(1 / spread**2, spread**2, count)
    return np.clip(intervals, max(0.5, 0.27 * rate / 60), 1.9)


def draw_beats(
    rng: np.random.Generator, *, rate: float, duration_s: float, fibrillation: bool = False
) -> Beats:
    """Draw the beats of a strip whose mean RR is that of ``rate`` (nearly, in fibrillation)."""
    wanted = 60.0 / rate
    count = int(1.6 * (duration_s + 2 * MARGIN_S) / wanted) + 8
    draw = _fibrillation_intervals if fibrillation else _sinus_intervals
    beats_before = np.cumsum(draw(rng, rate, count))
    best, best_room = beats_before, -1.0
    for phase in rng.random(32):
        interval, times = wanted, beats_before
        for _ in range(4):
            times = -MARGIN_S + (beats_before - phase - 1) * interval
            interval *= wanted / _mean_interval(times, duration_s)
        room = float(np.minimum(np.abs(times), np.abs(times - duration_s)).min())
        if room > best_room:
            best, best_room = times, room
        if room >= _EDGE_S:
            break
    return Beats(best, np.zeros(len(best), dtype=bool))


def with_ectopic_beats(rng: np.random.Generator, beats: Beats, *, duration_s: float) -> Beats:
    """Replace 1 to 4 beats by early ones; the sinus node keeps its time, so a pause follows."""
    times = beats.times_s.copy()
    interval = _mean_interval(times, duration_s)
    inner = np.flatnonzero((times > 1.1 * interval) & (times < duration_s - 1.1 * interval))
    ectopic = np.zeros(len(times), dtype=bool)
    wanted = rng.integers(1, 5)
    for beat in rng.permutation(inner):
        if ectopic.sum() < wanted and not ectopic[beat - 2 : beat + 3].any():
            ectopic[beat] = True
    share = rng.uniform(0.56, 0.72)
    before = times[np.flatnonzero(ectopic) - 1]
    coupling = np.minimum(max(share * interval, 0.35), 0.86 * interval)
    times[ectopic] = before + coupling
    return Beats(times, ectopic)
