"""Rhythms in which not every P wave leads to a beat, or none does."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.simulation.rhythm import (
    MARGIN_S,
    Conduction,
    Rhythm,
    Sinus,
    num_intervals,
    placed,
    sinus_intervals,
)

Array = NDArray[np.float64]


def second_degree(
    rng: np.random.Generator, sinus: Sinus, conduction: Conduction, duration_s: float
) -> Rhythm:
    """Return dropped beats; ``sinus.rate_bpm`` is the rate of the ventricles.

    Mostly Wenckebach 1899 (Mobitz I): PR grows by ever less until a beat is dropped, so R-R
    shortens within each group; sometimes Mobitz II (PR fixed) or 2:1.
    """
    ventricular_s = 60.0 / sinus.rate_bpm
    kind = rng.random()
    longest = [size for size in (3, 4, 5, 6) if ventricular_s * (size - 1) <= 4.6] or [3]
    size = 2 if kind < 0.12 and sinus.rate_bpm < 56 else int(rng.choice(longest))
    wenckebach = size > 2 and kind < 0.80
    cycle_s = ventricular_s * (size - 1) / size
    pr = np.full(size, min(max(conduction.pr_s, 0.15), 0.5 * cycle_s))
    if wenckebach:
        growth = min(rng.uniform(0.09, 0.15), 0.16 * cycle_s + 0.02)
        pr[1:] += growth * np.cumsum(0.55 ** np.arange(size - 1))
        pr *= min(1.0, 0.62 * cycle_s / pr[-2])
    quiet = sinus._replace(rate_bpm=60.0 / cycle_s, arrhythmia=0.4 * sinus.arrhythmia)
    count = num_intervals(cycle_s, duration_s)
    atrial = np.cumsum(sinus_intervals(rng, quiet, count))
    place = (np.arange(count) + int(rng.integers(size))) % size
    conducted = place < size - 1
    pr_of = pr[place]
    relative = (atrial + pr_of / cycle_s)[conducted] * (size - 1) / size
    start, interval = placed(rng, relative, ventricular_s, duration_s)
    interval *= (size - 1) / size
    times = start + interval * atrial + pr_of * interval / cycle_s
    onset = conduction.r_after_onset_s
    words = "wenckebach" if wenckebach else ("2:1" if size == 2 else "mobitz II")
    return Rhythm(
        times_s=times[conducted],
        kinds=np.full(int(conducted.sum()), "N"),
        atrial_s=start + interval * atrial - onset,
        premature=np.zeros(count, dtype=bool),
        pr_s=pr_of[conducted] * interval / cycle_s,
        conduction=words if size == 2 else f"{words} {size}:{size - 1}",
    )


def third_degree(
    rng: np.random.Generator, sinus: Sinus, *, wide: bool, duration_s: float
) -> Rhythm:
    """Return P waves that march through an escape rhythm; ``sinus.rate_bpm`` is that of the beats.

    The escape is ventricular (``wide``) or junctional.
    """
    wanted = 60.0 / sinus.rate_bpm
    relative = np.cumsum(1 + 0.008 * rng.standard_normal(num_intervals(wanted, duration_s)))
    start, interval = placed(rng, relative, wanted, duration_s)
    times = start + interval * relative
    return replace(
        dissociated(rng, sinus, times, "E" if wide else "j", duration_s),
        conduction="complete block, " + ("ventricular" if wide else "junctional") + " escape",
    )


def dissociated(
    rng: np.random.Generator, sinus: Sinus, times_s: Array, kind: str, duration_s: float
) -> Rhythm:
    """Return the beats with P waves of a sinus node that they know nothing of."""
    atrial_bpm = max(rng.uniform(64, 104), 1.25 * sinus.rate_bpm)
    ratio = atrial_bpm / sinus.rate_bpm
    if abs(ratio - round(ratio)) < 0.12:  # then it would seem to conduct every second or third
        atrial_bpm = (round(ratio) + 0.2) * sinus.rate_bpm
    own = sinus._replace(rate_bpm=atrial_bpm, arrhythmia=0.5 * sinus.arrhythmia)
    cycle_s = 60.0 / atrial_bpm
    steps = np.cumsum(sinus_intervals(rng, own, num_intervals(cycle_s, duration_s)))
    atrial = -MARGIN_S + cycle_s * (steps - rng.random())
    return Rhythm(
        times_s=times_s,
        kinds=np.full(len(times_s), kind),
        atrial_s=atrial,
        premature=np.zeros(len(atrial), dtype=bool),
        pr_s=np.full(len(times_s), np.nan),
    )
