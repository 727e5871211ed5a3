"""Simulated twelve-lead ECGs of persons who return in other states: training data without people.

A moving-dipole model (see ``anatomy``) with textbook rhythms and conduction. Every row depends on
(seed, person, visit) and the sampling rate alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import derive_limb_leads
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.simulation.anatomy import NUM_WAVES, P_WAVES, QRS_WAVES, Anatomy, draw_anatomy
from ecgtwin.sources.simulation.beat_shape import (
    BeatShape,
    ectopic_beat,
    left_bundle_branch_block,
    left_ventricular_hypertrophy,
    right_bundle_branch_block,
    sinus_beat,
    without_p,
)
from ecgtwin.sources.simulation.rhythm import Beats, draw_beats, with_ectopic_beats
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.spec.condition import CardiacCondition, Statement

Array = NDArray[np.float64]

SINUS_STATES = ("sinus bradycardia", "sinus rhythm", "sinus tachycardia")
FINDINGS = (
    "left bundle branch block",
    "right bundle branch block",
    "ventricular premature complex",
    "left ventricular hypertrophy",
)
STATES = (*SINUS_STATES, "atrial fibrillation", *FINDINGS)
MIN_RATE_BPM, MAX_RATE_BPM = 45.0, 150.0

_ANATOMY, _CHOICE, _VISIT, _RHYTHM, _NOISE = range(1, 6)  # independent random streams
_REACH = 4.5  # widths after which a wave is below a microvolt
_VERSION = 1  # goes up when the same seed makes other samples


def simulate(
    *,
    seed: int,
    persons: Sequence[int],
    visits_per_person: int,
    sampling_rate_hz: float = 500.0,
    duration_s: float = 10.0,
) -> list[SourceRow]:
    """Return the first visits of each person, persons slowest.

    Rates are drawn uniformly from 45 to 150 bpm, whoever the person is; first visits are mostly
    plain sinus.
    """
    rows = []
    for person in persons:
        anatomy = draw_anatomy(np.random.default_rng((seed, _ANATOMY, person)))
        for visit in range(visits_per_person):
            choice = np.random.default_rng((seed, _CHOICE, person, visit))
            rate = float(choice.uniform(MIN_RATE_BPM, MAX_RATE_BPM))
            state = _draw_state(choice, rate, first=visit == 0)
            key = _Visit(seed, person, visit)
            rows.append(_row(key, anatomy, state, rate, sampling_rate_hz, duration_s))
    return rows


def simulate_one(
    *,
    seed: int,
    person: int,
    visit: int,
    state: str,
    heart_rate_bpm: float,
    sampling_rate_hz: float = 500.0,
    duration_s: float = 10.0,
) -> SourceRow:
    """Return a visit in a chosen state and rate; electrodes and noise stay those of the visit.

    Raises SpecificationError for an unknown state or a rate that the state cannot have.
    """
    if state not in STATES:
        raise SpecificationError(f"state {state!r} is unknown; allowed: {', '.join(STATES)}")
    low, high = _rates_of(state)
    if not low <= heart_rate_bpm <= high:
        raise SpecificationError(
            f"{state} is simulated from {low:g} to {high:g} bpm (found {heart_rate_bpm:g})"
        )
    anatomy = draw_anatomy(np.random.default_rng((seed, _ANATOMY, person)))
    key = _Visit(seed, person, visit)
    return _row(key, anatomy, state, heart_rate_bpm, sampling_rate_hz, duration_s)


@dataclass(frozen=True)
class SimulatedSource:
    """Simulated visits as a Source; row = person * visits_per_person + visit."""

    seed: int
    num_persons: int
    visits_per_person: int
    first_person: int = 0
    sampling_rate_hz: float = 500.0
    name: str = "simulated"

    def __len__(self) -> int:
        """Return the number of visits."""
        return self.num_persons * self.visits_per_person

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive); IndexError outside the source."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of a source of {len(self)}")
        if start == stop:
            return []
        first, last = start // self.visits_per_person, (stop - 1) // self.visits_per_person
        rows = simulate(
            seed=self.seed,
            persons=range(self.first_person + first, self.first_person + last + 1),
            visits_per_person=self.visits_per_person,
            sampling_rate_hz=self.sampling_rate_hz,
        )
        skipped = first * self.visits_per_person
        return list(rows[start - skipped : stop - skipped])

    def describe(self) -> dict[str, object]:
        """Return what decides every sample."""
        return {
            "name": self.name,
            "version": _VERSION,
            "seed": self.seed,
            "first_person": self.first_person,
            "num_persons": self.num_persons,
            "visits_per_person": self.visits_per_person,
            "sampling_rate_hz": self.sampling_rate_hz,
        }


class _Visit(NamedTuple):
    seed: int
    person: int
    visit: int

    def rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, stream, self.person, self.visit))


def _sinus_state(rate: float) -> str:
    return SINUS_STATES[int(rate >= 60) + int(rate > 100)]


def _rates_of(state: str) -> tuple[float, float]:
    bounds = {"sinus bradycardia": (45.0, 60.0), "sinus rhythm": (60.0, 100.0)}
    bounds["sinus tachycardia"] = (100.0, 150.0)
    return bounds.get(state, (MIN_RATE_BPM, MAX_RATE_BPM))


def _draw_state(rng: np.random.Generator, rate: float, *, first: bool) -> str:
    others = STATES[len(SINUS_STATES) :]
    plain = rng.random() < (0.85 if first else 0.40)
    other = others[int(rng.integers(len(others)))]
    return _sinus_state(rate) if plain else other


def _row(
    key: _Visit,
    anatomy: Anatomy,
    state: str,
    rate: float,
    sampling_rate_hz: float,
    duration_s: float,
) -> SourceRow:
    fibrillation = state == "atrial fibrillation"
    rng = key.rng(_RHYTHM)
    beats = draw_beats(rng, rate=rate, duration_s=duration_s, fibrillation=fibrillation)
    if state == "ventricular premature complex":
        beats = with_ectopic_beats(rng, beats, duration_s=duration_s)
    strip = _Strip(sampling_rate_hz, round(duration_s * sampling_rate_hz))
    leads = _render(key.rng(_VISIT), anatomy, state, beats, strip)
    noise = key.rng(_NOISE)
    if fibrillation:
        leads += _fibrillatory_waves(noise, anatomy.lead_field, strip)
    leads += _noise(noise, strip)
    patient = f"sim-{key.person:06d}"
    record = EcgRecord(
        samples_mv=derive_limb_leads(leads.astype(np.float32)),
        sampling_rate_hz=sampling_rate_hz,
        patient_id=patient,
        record_id=f"{patient}-{key.visit:02d}",
    )
    codes = (_sinus_state(rate), state) if state in FINDINGS else (state,)
    condition = CardiacCondition(
        statements=tuple(Statement(code=code) for code in codes),
        heart_rate_bpm=round(beats.heart_rate_bpm(duration_s), 3),
        age_years=float(int(anatomy.age_years + key.visit * anatomy.years_between_visits)),
        sex="female" if anatomy.female else "male",
    )
    return SourceRow(record=record, condition=condition, visit=key.visit, official_split=None)


class _Strip(NamedTuple):
    sampling_rate_hz: float
    num_samples: int

    @property
    def times_s(self) -> Array:
        return np.arange(self.num_samples) / self.sampling_rate_hz


def _render(
    rng: np.random.Generator, anatomy: Anatomy, state: str, beats: Beats, strip: _Strip
) -> Array:
    """Return the eight leads (8, time) of the beats as the visit's electrodes see them."""
    shift = 0.035 * np.linalg.norm(anatomy.lead_field, axis=1, keepdims=True)
    gain = 1 + 0.03 * rng.standard_normal()
    lead_field = gain * (anatomy.lead_field + shift * rng.standard_normal((8, 3)).clip(-2, 2))
    voltage_mv = float(rng.uniform(3.9, 5.2))
    pr_s = anatomy.pr_s + float(rng.normal(0, 0.004))
    depth = float(rng.uniform(0.01, 0.05))
    breathing = 1 + depth * np.sin(
        2 * np.pi * (rng.uniform(0.18, 0.32) * beats.times_s + rng.random())
    )
    shape = sinus_beat(anatomy)
    ectopic = ectopic_beat(anatomy, shape)
    if state == "left bundle branch block":
        shape = left_bundle_branch_block(anatomy, shape)
    elif state == "right bundle branch block":
        shape = right_bundle_branch_block(anatomy, shape)
    elif state == "left ventricular hypertrophy":
        shape = left_ventricular_hypertrophy(
            anatomy, shape, lead_field=lead_field, voltage_mv=voltage_mv
        )
    elif state == "atrial fibrillation":
        shape = without_p(shape)
    leads = np.zeros((8, strip.num_samples))
    for this, chosen in ((shape, ~beats.ectopic), (ectopic, beats.ectopic)):
        if chosen.any():
            centres, widths = _timing(this, beats, pr_s)
            waves = _waves(
                beats.times_s[chosen, None] + centres[chosen],
                widths[:, chosen],
                breathing[chosen],
                strip,
            )
            leads += this.lead_weights_mv(anatomy, lead_field) @ waves
    return leads


def _timing(shape: BeatShape, beats: Beats, pr_s: float) -> tuple[Array, Array]:
    """Return centres relative to the R peak (beats, waves) and widths (2, beats, waves), in s.

    QT follows the rate as Fridericia 1920 found; PR and P shorten a little when it is fast.
    """
    intervals = np.diff(beats.times_s)
    mean = np.full(len(beats.times_s), intervals.mean())
    before = np.concatenate([mean[:1], intervals])
    after = np.concatenate([intervals, mean[:1]])
    pace = np.where(beats.ectopic, mean, 0.7 * mean + 0.3 * before)
    qt = np.minimum(shape.qtc_s * np.cbrt(pace), 0.93 * after)
    qrs_end = shape.qrs_end_s
    jt = np.maximum(qt - (qrs_end - shape.qrs_start_s), 0.16)
    centres = np.tile(shape.centres, (len(mean), 1))
    widths = np.tile(shape.widths[:, None, :], (1, len(mean), 1))
    recovery = slice(QRS_WAVES.stop, NUM_WAVES)
    centres[:, recovery] = qrs_end + centres[:, recovery] * jt[:, None]
    widths[:, :, recovery] *= np.sqrt(0.30 * jt)[:, None]  # T narrows less than JT
    fast = pace**0.2
    centres[:, P_WAVES] *= fast[:, None]
    centres[:, P_WAVES] += shape.qrs_start_s - pr_s * fast[:, None]
    widths[:, :, P_WAVES] *= fast[:, None]
    return centres, widths


def _waves(centres_s: Array, widths_s: Array, breathing: Array, strip: _Strip) -> Array:
    """Return the sum over beats of each wave at unit height, (waves, time).

    ``centres_s`` is (beats, waves) in strip time; each wave is evaluated near its centre only.
    """
    total = np.zeros((NUM_WAVES, strip.num_samples))
    hz = strip.sampling_rate_hz
    for wave in range(NUM_WAVES):
        centre, rise, fall = centres_s[:, wave], widths_s[0, :, wave], widths_s[1, :, wave]
        first = np.ceil((centre - _REACH * rise) * hz).astype(np.int64)
        length = int(np.ceil(_REACH * float((rise + fall).max()) * hz)) + 1
        index = first[:, None] + np.arange(length)
        offset = index / hz - centre[:, None]
        width = np.where(offset < 0, rise[:, None], fall[:, None])
        height = np.exp(-0.5 * (offset / width) ** 2)
        if QRS_WAVES.start <= wave < QRS_WAVES.stop:
            height *= breathing[:, None]
        inside = (index >= 0) & (index < strip.num_samples)
        total[wave] = np.bincount(
            index[inside], weights=height[inside], minlength=strip.num_samples
        )
    return total


def _fibrillatory_waves(rng: np.random.Generator, lead_field: Array, strip: _Strip) -> Array:
    """Return (8, time) fine waves of 5 to 8 Hz, tallest in V1, wandering in rate and height."""
    times = strip.times_s
    knots = np.arange(-1.0, times[-1] + 2.0, 0.4)
    size = rng.uniform(0.020, 0.055)
    dipole = np.zeros((3, len(times)))
    wander = np.cumsum(rng.normal(0, 0.7, len(knots)))
    phase = 2 * np.pi * rng.uniform(5.0, 7.8) * times + np.interp(times, knots, wander)
    fronts = ((1, [-0.35, 0.4, -0.8]), (1.27, [0.3, 0.2, -0.7]), (2, [0.1, -0.3, 0.4]))
    for part, direction in fronts:
        own = np.interp(times, knots, np.cumsum(rng.normal(0, 0.7, len(knots))))
        height = np.exp(0.35 * np.interp(times, knots, rng.standard_normal(len(knots))))
        wave = size / part * height * np.sin(part * phase + own)
        dipole += np.array(direction)[:, None] * wave
    leads: Array = lead_field @ dipole
    return leads


def _noise(rng: np.random.Generator, strip: _Strip) -> Array:
    """Return baseline wander by breathing and movement, and muscle noise, (8, time)."""
    times = strip.times_s
    slow = np.array([0.05, 0.11, 0.17, rng.uniform(0.18, 0.32), 0.42]) * rng.uniform(0.9, 1.1, 5)
    sizes = np.array([1.0, 0.6, 0.4, 0.8, 0.15]) * rng.uniform(0.006, 0.04)
    heights = sizes * rng.standard_normal((8, 2, 5))
    angle = 2 * np.pi * slow[:, None] * times
    wander = heights[:, 0] @ np.sin(angle) + heights[:, 1] @ np.cos(angle)
    level = rng.uniform(0.003, 0.009) * np.sqrt(strip.sampling_rate_hz / 500.0)
    muscle = level * rng.uniform(0.6, 1.4, (8, 1)) * rng.standard_normal((8, len(times)))
    noise: Array = wander + muscle
    return noise
