"""Strip: everything of one simulated recording but its noise, ready to be drawn as samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.simulation.anatomy import Anatomy
from ecgtwin.sources.simulation.atria import fibrillatory_waves, flutter_waves
from ecgtwin.sources.simulation.av_block import second_degree, third_degree
from ecgtwin.sources.simulation.course import Visit
from ecgtwin.sources.simulation.pacemaker import add_spikes, paced
from ecgtwin.sources.simulation.rhythm import (
    Conduction,
    Rhythm,
    Sinus,
    fibrillation,
    flutter,
    sinus_rhythm,
    with_atrial_beats,
    with_ventricular_beats,
)
from ecgtwin.sources.simulation.visit import (
    Change,
    Shapes,
    add_atrial_waves,
    add_beats,
    draw_change,
    shapes_of,
    truth_of,
)
from ecgtwin.sources.simulation.waves import WaveList, Waves

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strip:
    """The waves of a recording, the atria that do not beat (8, time) if any, and its truth."""

    waves: Waves
    atria_mv: Array | None
    truth: Mapping[str, Any]
    sampling_rate_hz: float
    num_samples: int


def draw_strip(
    streams: Sequence[np.random.Generator],
    anatomy: Anatomy,
    visit: Visit,
    *,
    sampling_rate_hz: float,
    duration_s: float,
) -> Strip:
    """Draw a recording; ``streams`` are those of the electrodes, the rhythm and the atria."""
    of_visit, of_rhythm, of_atria = streams
    change = draw_change(of_visit, anatomy)
    shapes = shapes_of(visit.state, anatomy, change)
    rhythm = _rhythm(of_rhythm, visit, shapes, anatomy, change, duration_s)
    waves = WaveList()
    add_beats(waves, rhythm, shapes, anatomy=anatomy, change=change)
    if len(rhythm.atrial_s):
        add_atrial_waves(waves, rhythm, shapes.conducted, anatomy=anatomy, change=change)
    if visit.state == "paced rhythm":
        add_spikes(
            waves,
            rhythm,
            change.lead_field,
            spike_mv=_spikes(anatomy),
            onset_s=-shapes.ventricular.qrs_start_s,
            sampling_rate_hz=sampling_rate_hz,
        )
    num_samples = round(duration_s * sampling_rate_hz)
    times = np.arange(num_samples) / sampling_rate_hz
    truth = truth_of(rhythm, shapes, state=visit.state, duration_s=duration_s)
    rate = round(rhythm.heart_rate_bpm(duration_s), 3)
    return Strip(
        waves=waves.waves(),
        atria_mv=_atria(of_atria, rhythm, change.lead_field, times),
        truth={**truth, "heart_rate_bpm": rate},
        sampling_rate_hz=sampling_rate_hz,
        num_samples=num_samples,
    )


def _rhythm(
    rng: np.random.Generator,
    visit: Visit,
    shapes: Shapes,
    anatomy: Anatomy,
    change: Change,
    duration_s: float,
) -> Rhythm:
    state, rate = visit.state, visit.heart_rate_bpm
    sinus = Sinus(rate, anatomy.arrhythmia)
    conduction = Conduction(anatomy.pr_s + change.pr_s, -shapes.conducted.qrs_start_s)
    if state == "atrial fibrillation":
        return fibrillation(rng, rate, duration_s)
    if state == "atrial flutter":
        return flutter(rng, rate, duration_s)
    if state == "second degree av block":
        return second_degree(rng, sinus, conduction, duration_s)
    if state == "third degree av block":
        return third_degree(rng, sinus, wide=rate < 40, duration_s=duration_s)
    if state == "paced rhythm":
        mode = ("VVI", "DDD", "VAT")[int(3 * anatomy.traits[6])]
        return paced(rng, sinus, mode, -shapes.ventricular.qrs_start_s, duration_s)
    if state == "first degree av block":
        conduction = conduction._replace(pr_s=_long_pr_s(anatomy, rate) + change.pr_s)
    rhythm = sinus_rhythm(rng, sinus, conduction, duration_s)
    if state == "atrial premature complex":
        return with_atrial_beats(rng, rhythm, conduction, duration_s=duration_s)
    if state == "ventricular premature complex":
        return with_ventricular_beats(rng, rhythm, duration_s=duration_s)
    return rhythm


def _long_pr_s(anatomy: Anatomy, rate_bpm: float) -> float:
    """Return a PR of 215 to 340 ms at 60 bpm, one that the rate leaves room for."""
    wanted = 0.228 + 0.107 * float(anatomy.traits[7]) ** 1.6
    cycle_s = 60.0 / rate_bpm
    shrinks = cycle_s**0.2
    room = 0.56 * cycle_s / float(shrinks)
    return float(max(min(wanted, room), 0.222 / shrinks))


def _spikes(anatomy: Anatomy) -> Array:
    """Return the vectors (2, 3) of atrial and ventricular stimuli; unipolar ones are tall."""
    unipolar = anatomy.traits[8] < 0.4
    size = (1.6 if unipolar else 0.55) * (0.7 + 0.8 * anatomy.traits[9])
    directions = np.array([[0.35, 0.85, -0.30], [0.55, 0.75, -0.25]])
    spikes: Array = size * np.array([[0.7], [1.0]]) * directions
    return spikes


def _atria(
    rng: np.random.Generator, rhythm: Rhythm, lead_field: Array, times_s: Array
) -> Array | None:
    if rhythm.fibrillation:
        return fibrillatory_waves(rng, lead_field, times_s)
    if rhythm.flutter is not None:
        cycle_s, zero_s = rhythm.flutter
        return flutter_waves(rng, lead_field, times_s, cycle_s=cycle_s, zero_s=zero_s)
    return None
