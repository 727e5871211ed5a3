"""A pacemaker: when it stimulates, and the spikes it leaves in the leads."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.simulation.av_block import dissociated
from ecgtwin.sources.simulation.rhythm import Rhythm, Sinus, num_intervals, placed
from ecgtwin.sources.simulation.waves import WaveList

Array = NDArray[np.float64]

_SPIKE_S = 0.0008  # the widths of a stimulus behind the filter of an electrocardiograph
_LEAD_S = 0.006  # from the stimulus to the first movement of what it stimulates


def paced(
    rng: np.random.Generator, sinus: Sinus, mode: str, onset_s: float, duration_s: float
) -> Rhythm:
    """Return regular paced beats.

    ``mode``: "VVI" over fibrillating or dissociated atria, "DDD" after paced P waves, "VAT" after
    the patient's own. ``onset_s`` is from the QRS onset to the R peak.
    """
    wanted = 60.0 / sinus.rate_bpm
    spread = 0.5 * sinus.arrhythmia if mode == "VAT" else 0.0008
    relative = np.cumsum(
        1 + spread * rng.standard_normal(num_intervals(wanted, duration_s)).clip(-2, 2)
    )
    start, interval = placed(rng, relative, wanted, duration_s)
    times = start + interval * relative
    words = f"paced {mode}"
    if mode == "VVI":
        below = dissociated(rng, sinus, times, "/", duration_s)
        if rng.random() < 0.6:
            none = np.zeros(0)
            below = replace(below, atrial_s=none, premature=none > 0, fibrillation=True)
        return replace(below, conduction=words)
    delay = np.full(len(times), rng.uniform(0.13, 0.20))
    return Rhythm(
        times_s=times,
        kinds=np.full(len(times), "/"),
        atrial_s=times - onset_s - delay,
        premature=np.full(len(times), mode == "DDD"),
        pr_s=delay,
        conduction=words,
    )


def add_spikes(
    waves: WaveList,
    rhythm: Rhythm,
    lead_field: Array,
    *,
    spike_mv: Array,
    onset_s: float,
    sampling_rate_hz: float,
) -> None:
    """Add the stimuli of a paced rhythm; ``spike_mv`` (2, 3) are those of atrium and ventricle.

    Below 1 kHz a stimulus is narrower than a sample; it keeps its area.
    """
    width = max(_SPIKE_S, 0.4 / sampling_rate_hz)
    share = _SPIKE_S / width
    for vector, times in (
        (spike_mv[0], rhythm.atrial_s[rhythm.premature] - _LEAD_S),
        (spike_mv[1], rhythm.times_s - onset_s - _LEAD_S),
    ):
        widths = np.full((2, len(times), 1), width)
        waves.add((lead_field @ vector)[:, None] * share, times[:, None], widths, np.ones(1))
