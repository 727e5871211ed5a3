"""Rhythm: when atria and ventricles of a simulated strip are activated, in s from its start.

Atrial and ventricular events are separate trains. Beats are named by the letters of the WFDB
annotations: N conducted, A atrial premature, V ventricular premature, j junctional escape,
E ventricular escape, / paced.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN_S = 3.0  # beats this far outside the strip still reach into it
_EDGE_S = 0.06  # no R peak stands nearer to an end than this, so that every beat can be counted
_NUM_PHASES = 24  # starts that are tried for that


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The two trains of a strip, from before it to after it.

    ``times_s`` are R peaks and ``kinds`` their letters; ``atrial_s`` are onsets of P waves,
    ``premature`` says which have another origin; ``pr_s`` is from the P onset to the QRS onset of
    each beat, NaN for one that no P wave led to. ``flutter`` is (cycle, a time of phase 0).
    """

    times_s: Array
    kinds: NDArray[np.str_]
    atrial_s: Array
    premature: NDArray[np.bool_]
    pr_s: Array
    conduction: str = ""
    flutter: tuple[float, float] | None = None
    fibrillation: bool = False

    def heart_rate_bpm(self, duration_s: float) -> float:
        """Return 60 / mean RR of the beats inside the strip."""
        return 60.0 / _mean_interval(self.times_s, duration_s)


class Conduction(NamedTuple):
    """What a rhythm must know of the beat: PR, and R peak after QRS onset, in s."""

    pr_s: float
    r_after_onset_s: float


class Sinus(NamedTuple):
    """The sinus node of a visit: rate and share by which its intervals vary."""

    rate_bpm: float
    arrhythmia: float


def _mean_interval(times_s: Array, duration_s: float) -> float:
    first, stop = np.searchsorted(times_s, (0.0, duration_s))
    return float((times_s[stop - 1] - times_s[first]) / (stop - 1 - first))


def pace_s(times_s: Array) -> Array:
    """Return the R-R interval to which each beat has adapted: mostly the mean, partly the last."""
    intervals = np.diff(times_s)
    mean = float(intervals.mean())
    return 0.7 * mean + 0.3 * np.concatenate([[mean], intervals])


def sinus_intervals(rng: np.random.Generator, sinus: Sinus, count: int) -> Array:
    """Return relative intervals: breathing, slow waves of the blood pressure, and chance.

    All of it weakens at faster rates (Task Force 1996, Circulation 93:1043).
    """
    share = min(max((165 - sinus.rate_bpm) / 95, 0.12), 1.15)
    depth = min(sinus.arrhythmia * share, 0.055)
    beats_s = 60.0 / sinus.rate_bpm * np.arange(count)
    breath_hz, slow_hz = rng.uniform(0.18, 0.32), rng.uniform(0.07, 0.12)
    breathing = np.sin(2 * np.pi * (breath_hz * beats_s + rng.random()))
    slow = np.sin(2 * np.pi * (slow_hz * beats_s + rng.random()))
    jitter = rng.standard_normal(count).clip(-2.5, 2.5)
    intervals: Array = 1 + depth * (breathing + 0.5 * slow + 0.35 * jitter) + 0.003 * jitter
    return intervals


def placed(
    rng: np.random.Generator, relative: Array, wanted_s: float, duration_s: float
) -> tuple[float, float]:
    """Return (start, interval): beats at start + interval * relative have ``wanted_s`` as mean RR.

    ``relative`` begins near 0 and is in units of about one mean interval; of some starts the
    first is taken that leaves the ends of the strip free, or the one that does best.
    """
    best, best_room = (0.0, wanted_s), -1.0
    for phase in rng.random(_NUM_PHASES):
        interval, start, times = wanted_s, 0.0, relative
        for _ in range(4):
            start = -MARGIN_S - phase * interval
            times = start + interval * relative
            interval *= wanted_s / _mean_interval(times, duration_s)
        times = start + interval * relative
        near = np.minimum(np.abs(times), np.abs(times - duration_s))
        room = float(near.min())
        if room > best_room:
            best, best_room = (start, interval), room
        if room >= _EDGE_S:
            break
    return best


def num_intervals(interval_s: float, duration_s: float) -> int:
    """Return how many intervals surely cover the strip and its margins."""
    return int(1.35 * (duration_s + 2 * MARGIN_S) / interval_s) + 8


def sinus_rhythm(
    rng: np.random.Generator, sinus: Sinus, conduction: Conduction, duration_s: float
) -> Rhythm:
    """Return a P wave before every beat; PR shortens a little when it is fast."""
    wanted = 60.0 / sinus.rate_bpm
    relative = np.cumsum(sinus_intervals(rng, sinus, num_intervals(wanted, duration_s)))
    start, interval = placed(rng, relative, wanted, duration_s)
    times = start + interval * relative
    pr = conduction.pr_s * pace_s(times) ** 0.2
    return Rhythm(
        times_s=times,
        kinds=np.full(len(times), "N"),
        atrial_s=times - conduction.r_after_onset_s - pr,
        premature=np.zeros(len(times), dtype=bool),
        pr_s=pr,
    )


def fibrillation(rng: np.random.Generator, rate_bpm: float, duration_s: float) -> Rhythm:
    """Return beats without any order, none sooner than the node recovers, and no P wave."""
    wanted = 60.0 / rate_bpm
    spread = rng.uniform(0.20, 0.28)
    count = int(1.3 * num_intervals(wanted, duration_s)) + 4
    least, shown = max(0.5, 0.27 / wanted), int(duration_s / wanted)
    first = int(MARGIN_S / wanted)
    intervals = np.ones(count)
    for _ in range(8):  # so few beats can be even by chance; then nobody would see it
        intervals = np.clip(rng.gamma(1 / spread**2, spread**2, count), least, 1.9)
        if intervals[first : first + shown].std() > 0.165:
            break
    relative = np.cumsum(intervals)
    start, interval = placed(rng, relative, wanted, duration_s)
    return _without_atria(start + interval * relative, "N", fibrillation=True)


def _without_atria(times_s: Array, kind: str, *, fibrillation: bool = False) -> Rhythm:
    return Rhythm(
        times_s=times_s,
        kinds=np.full(len(times_s), kind),
        atrial_s=np.zeros(0),
        premature=np.zeros(0, dtype=bool),
        pr_s=np.full(len(times_s), np.nan),
        fibrillation=fibrillation,
    )


def flutter(rng: np.random.Generator, rate_bpm: float, duration_s: float) -> Rhythm:
    """Return beats that follow every second to fifth of the flutter waves (250 to 330 a minute).

    Where no fixed ratio gives the rate, the ratio varies from beat to beat.
    """
    fixed = [ratio for ratio in (2, 3, 4, 5) if 250 <= ratio * rate_bpm <= 330]
    count = num_intervals(60.0 / rate_bpm, duration_s)
    if fixed and rng.random() < (0.8 if rate_bpm > 110 else 0.5):
        ratio = fixed[int(rng.integers(len(fixed)))]
        ratios, words = np.full(count, ratio), f"flutter {ratio}:1"
    else:
        mean = rng.uniform(275, 310) / rate_bpm
        low = max(2, int(mean))
        pair = (2, 4) if 2.2 < mean < 3.8 and rng.random() < 0.6 else (low, low + 1)
        often = min(max((mean - pair[0]) / (pair[1] - pair[0]), 0.15), 0.85)
        ratios = np.where(rng.random(count) < often, pair[1], pair[0])
        words = "flutter, variable"
    mean = float(ratios.mean())
    relative = np.cumsum(ratios) / mean
    start, interval = placed(rng, relative, 60.0 / rate_bpm, duration_s)
    times = start + interval * relative
    rhythm = _without_atria(times + 0.002 * rng.standard_normal(count), "N")
    return replace(rhythm, conduction=words, flutter=(interval / mean, float(times[0])))


def with_ventricular_beats(
    rng: np.random.Generator, rhythm: Rhythm, *, duration_s: float
) -> Rhythm:
    """Replace 1 to 4 beats, or every third or fourth, by early wide ones.

    The sinus node keeps its time, so its P wave is lost in the early beat and a pause follows.
    """
    times = rhythm.times_s.copy()
    interval = _mean_interval(times, duration_s)
    inner = np.flatnonzero((times > 1.1 * interval) & (times < duration_s - 1.1 * interval))
    ectopic = np.zeros(len(times), dtype=bool)
    wanted, regular = int(rng.integers(1, 5)), rng.random() < 0.12
    order = rng.permutation(inner)
    if regular:
        order = inner[int(rng.integers(3)) :: int(rng.integers(3, 5))]
        wanted = min(len(order), 4)
    for beat in order:
        if ectopic.sum() < wanted and not ectopic[beat - 2 : beat + 3].any():
            ectopic[beat] = True
    before = times[np.flatnonzero(ectopic) - 1]
    share = rng.uniform(0.56, 0.72)
    times[ectopic] = before + min(max(share * interval, 0.35), 0.86 * interval)
    return replace(
        rhythm,
        times_s=times,
        kinds=np.where(ectopic, "V", rhythm.kinds),
        pr_s=np.where(ectopic, np.nan, rhythm.pr_s),
        conduction="ventricular premature beats",
    )


def with_atrial_beats(
    rng: np.random.Generator, rhythm: Rhythm, conduction: Conduction, *, duration_s: float
) -> Rhythm:
    """Advance 1 to 3 beats; each resets the sinus node, so the pause does not compensate."""
    intervals = np.diff(rhythm.times_s)
    mean, wanted_s = float(intervals.mean()), _mean_interval(rhythm.times_s, duration_s)
    times = rhythm.times_s
    inner = np.flatnonzero((times > 1.2 * mean) & (times < duration_s - 0.3 * mean))
    early = np.zeros(len(times), dtype=bool)
    wanted = int(rng.integers(1, 4))
    for beat in rng.permutation(inner):
        if early.sum() < wanted and not early[beat - 2 : beat + 3].any():
            early[beat] = True
    share, rest = rng.uniform(0.58, 0.76), rng.uniform(1.02, 1.14)
    intervals = np.where(early[1:], max(share * mean, 0.36), intervals)
    intervals = np.where(early[:-1], rest * mean, intervals)
    steps = np.concatenate([[0.0], np.cumsum(intervals)])
    for _ in range(4):  # as many beats a minute as before
        times = rhythm.times_s[0] + steps
        steps = steps * (wanted_s / _mean_interval(times, duration_s))
    pr = rhythm.pr_s + np.where(early, rng.uniform(-0.01, 0.03), 0.0)
    return replace(
        rhythm,
        times_s=times,
        kinds=np.where(early, "A", "N"),
        atrial_s=times - conduction.r_after_onset_s - pr,
        premature=early,
        pr_s=pr,
        conduction="atrial premature beats",
    )
