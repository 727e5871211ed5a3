"""Simulated twelve-lead ECGs of persons who return in other states: training data without people.

A moving-dipole model (see ``simulation/anatomy.py``) with textbook rhythms, conduction and
repolarisation and the noise of real recordings. Every row depends on (seed, person, visit) and
the sampling rate alone, whatever other rows are made with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import derive_limb_leads
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.simulation.anatomy import Anatomy, draw_anatomy
from ecgtwin.sources.simulation.course import (
    DAYS_PER_YEAR,
    RATES_BPM,
    SINUS_STATES,
    Course,
    Visit,
    draw_course,
    draw_days,
    draw_visit,
    sinus_state,
)
from ecgtwin.sources.simulation.noise import electrode_noise
from ecgtwin.sources.simulation.strip import Strip, draw_strip
from ecgtwin.sources.simulation.waves import render
from ecgtwin.sources.source import Columns, PlannedRow, Reject, Source, SourceRow, plan_columns
from ecgtwin.spec.condition import CardiacCondition, Statement

RHYTHMS = (
    "atrial fibrillation",
    "atrial flutter",
    "second degree av block",
    "third degree av block",
    "paced rhythm",
)
FINDINGS = (
    "left bundle branch block",
    "right bundle branch block",
    "ventricular premature complex",
    "left ventricular hypertrophy",
    "atrial premature complex",
    "first degree av block",
    "inferior myocardial infarction",
    "anterior myocardial infarction",
    "ischemia in lateral leads",
    "prolonged qt interval",
    "low qrs voltage",
)
STATES = (*SINUS_STATES, *RHYTHMS, *FINDINGS)
_ALSO_SAID = {
    "inferior myocardial infarction": "st elevation",
    "anterior myocardial infarction": "st elevation",
    "ischemia in lateral leads": "st depression",
}
DURATION_S = 10.0

_ANATOMY, _CHOICE, _VISIT, _RHYTHM, _NOISE, _COURSE, _DAYS, _ATRIA = range(1, 9)  # random streams
_VERSION = 2  # goes up when the same seed makes other samples
_BLOCK_ROWS = 16  # strips that are drawn together: their waves fit in a cache


def simulate(
    *,
    seed: int,
    persons: Sequence[int],
    visits_per_person: int,
    sampling_rate_hz: float = 500.0,
    duration_s: float = DURATION_S,
) -> list[SourceRow]:
    """Return the first visits of each person, persons slowest.

    First visits are mostly plain sinus. Half of the rates are those of the person at rest, half
    are even over what the state allows (45 to 150 bpm in sinus), whoever the person is.
    """
    keys = [(person, visit) for person in persons for visit in range(visits_per_person)]
    return _simulated(seed, keys, sampling_rate_hz, duration_s)


def simulate_one(
    *,
    seed: int,
    person: int,
    visit: int,
    state: str,
    heart_rate_bpm: float,
    sampling_rate_hz: float = 500.0,
    duration_s: float = DURATION_S,
) -> SourceRow:
    """Return a visit in a chosen state and rate; electrodes and noise stay those of the visit.

    Raises SpecificationError for an unknown state or a rate that the state cannot have.
    """
    if state not in STATES:
        raise SpecificationError(f"state {state!r} is unknown; allowed: {', '.join(STATES)}")
    low, high = RATES_BPM[state]
    if not low <= heart_rate_bpm <= high:
        raise SpecificationError(
            f"{state} is simulated from {low:g} to {high:g} bpm (found {heart_rate_bpm:g})"
        )
    patient = _patient(seed, person, visit + 1)
    wanted = Visit(state, heart_rate_bpm, broad=True)
    return _rows([_drawn(patient, visit, wanted, sampling_rate_hz, duration_s)])[0]


@dataclass(frozen=True)
class SimulatedSource(Source):
    """Simulated visits as a Source; row = person * visits_per_person + visit."""

    seed: int
    num_persons: int
    visits_per_person: int
    first_person: int = 0
    sampling_rate_hz: float = 500.0
    name: str = "simulated"

    @property
    def archive(self) -> str:
        """Return a name of its own for every population: person 0 of two seeds is not one."""
        return f"simulated-{self.seed}"

    def __len__(self) -> int:
        """Return the number of visits."""
        return self.num_persons * self.visits_per_person

    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        """Yield who comes when; the state is known when the row is read."""
        for start in range(0, len(self), rows_per_block):
            yield self._planned(range(start, min(start + rows_per_block, len(self))))

    def reader(self) -> "SimulatedReader":
        """Return what simulates planned rows."""
        return SimulatedReader(self.seed, self.sampling_rate_hz)

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive); IndexError outside the source."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of a source of {len(self)}")
        keys = [self._key(row) for row in range(start, stop)]
        return list(_simulated(self.seed, keys, self.sampling_rate_hz, DURATION_S))

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

    def _key(self, row: int) -> tuple[int, int]:
        person, visit = divmod(row, self.visits_per_person)
        return self.first_person + person, visit

    def _planned(self, rows: range) -> Columns:
        keys = [self._key(row) for row in rows]
        days = {person: draw_days(_rng(self.seed, _DAYS, person), self.visits_per_person)
                for person, _ in keys}  # fmt: skip
        return plan_columns(
            record_id=[_record_id(*key) for key in keys],
            file=[f"{person}/{visit}" for person, visit in keys],
            patient_id=[_patient_id(person) for person, _ in keys],
            visit=[visit for _, visit in keys],
            days_since_first=[days[person][visit] for person, visit in keys],
        )


@dataclass(frozen=True, slots=True)
class SimulatedReader:
    """Simulates planned rows, all of a call together."""

    seed: int
    sampling_rate_hz: float

    def read(self, rows: Sequence[PlannedRow]) -> list[SourceRow | Reject]:
        """Return the rows with their true conditions; a rejected row as its Reject."""
        wanted = [row for row in rows if row.reject is None]
        keys = [
            (int(person), int(visit)) for person, visit in (row.file.split("/") for row in wanted)
        ]
        made = iter(_simulated(self.seed, keys, self.sampling_rate_hz, DURATION_S))
        return [row.reject or next(made) for row in rows]


class _Patient(NamedTuple):
    """What is drawn once for all visits of a person."""

    seed: int
    person: int
    anatomy: Anatomy
    course: Course
    days: list[float]


class _Drawn(NamedTuple):
    """One row, all drawn but its samples."""

    patient: _Patient
    visit: int
    wanted: Visit
    strip: Strip


def _rng(seed: int, stream: int, *key: int) -> np.random.Generator:
    return np.random.default_rng((seed, stream, *key))


def _patient(seed: int, person: int, num_visits: int) -> _Patient:
    return _Patient(
        seed,
        person,
        draw_anatomy(_rng(seed, _ANATOMY, person)),
        draw_course(_rng(seed, _COURSE, person)),
        draw_days(_rng(seed, _DAYS, person), num_visits),
    )


def _simulated(
    seed: int, keys: Sequence[tuple[int, int]], sampling_rate_hz: float, duration_s: float
) -> list[SourceRow]:
    """Return the rows of (person, visit) keys."""
    visits: dict[int, int] = {}
    for person, visit in keys:
        visits[person] = max(visits.get(person, 0), visit + 1)
    patients = {person: _patient(seed, person, count) for person, count in visits.items()}
    rows: list[SourceRow] = []
    for first in range(0, len(keys), _BLOCK_ROWS):
        drawn = []
        for person, visit in keys[first : first + _BLOCK_ROWS]:
            patient = patients[person]
            choice = _rng(seed, _CHOICE, person, visit)
            wanted = draw_visit(choice, patient.course, patient.anatomy, visit)
            drawn.append(_drawn(patient, visit, wanted, sampling_rate_hz, duration_s))
        rows += _rows(drawn)
    return rows


def _drawn(
    patient: _Patient, visit: int, wanted: Visit, sampling_rate_hz: float, duration_s: float
) -> _Drawn:
    streams = [
        _rng(patient.seed, stream, patient.person, visit) for stream in (_VISIT, _RHYTHM, _ATRIA)
    ]
    strip = draw_strip(
        streams,
        patient.anatomy,
        wanted,
        sampling_rate_hz=sampling_rate_hz,
        duration_s=duration_s,
    )
    return _Drawn(patient, visit, wanted, strip)


def _rows(drawn: Sequence[_Drawn]) -> list[SourceRow]:
    """Return rows of one rate and length; their waves are drawn together."""
    hz, num_samples = drawn[0].strip.sampling_rate_hz, drawn[0].strip.num_samples
    leads_mv = render(
        [one.strip.waves for one in drawn], sampling_rate_hz=hz, num_samples=num_samples
    )
    return [_row(one, leads) for one, leads in zip(drawn, leads_mv, strict=True)]


def _row(drawn: _Drawn, leads_mv: NDArray[np.float64]) -> SourceRow:
    patient, visit, strip = drawn.patient, drawn.visit, drawn.strip
    if strip.atria_mv is not None:
        leads_mv = leads_mv + strip.atria_mv
    rng = _rng(patient.seed, _NOISE, patient.person, visit)
    noise = electrode_noise(rng, rate_hz=strip.sampling_rate_hz, num_samples=strip.num_samples)
    microvolts = np.rint((leads_mv.astype(np.float32) + noise) * np.float32(1000))
    record = EcgRecord(
        samples_mv=derive_limb_leads(microvolts * np.float32(0.001)),
        sampling_rate_hz=strip.sampling_rate_hz,
        patient_id=_patient_id(patient.person),
        record_id=_record_id(patient.person, visit),
    )
    days = patient.days[visit]
    state, rate = drawn.wanted.state, strip.truth["heart_rate_bpm"]
    codes = (sinus_state(rate), state) if state in FINDINGS else (state,)
    also = (_ALSO_SAID[state],) if state in _ALSO_SAID else ()
    condition = CardiacCondition(
        statements=tuple(Statement(code=code) for code in (*codes, *also)),
        heart_rate_bpm=rate,
        age_years=float(int(patient.anatomy.age_years + days / DAYS_PER_YEAR)),
        sex="female" if patient.anatomy.female else "male",
    )
    truth: dict[str, Any] = {**strip.truth, "at_rest": not drawn.wanted.broad}
    return SourceRow(
        record=record,
        condition=condition,
        visit=visit,
        official_split=None,
        days_since_first=days,
        truth=truth,
    )


def _patient_id(person: int) -> str:
    return f"sim-{person:06d}"


def _record_id(person: int, visit: int) -> str:
    return f"{_patient_id(person)}-{visit:02d}"
