"""Course: in which state a simulated person comes to each visit, how fast, and when.

A person may have a lasting condition from some visit on; other states come and go.
"""

from typing import NamedTuple

import numpy as np

from ecgtwin.sources.simulation.anatomy import Anatomy, clipped_normal

SINUS_STATES = ("sinus bradycardia", "sinus rhythm", "sinus tachycardia")
DAYS_PER_YEAR = 365.25

# Rates between which a state can be drawn, in beats of the ventricles a minute.
RATES_BPM: dict[str, tuple[float, float]] = {
    "sinus bradycardia": (45.0, 60.0),
    "sinus rhythm": (60.0, 100.0),
    "sinus tachycardia": (100.0, 150.0),
    "atrial fibrillation": (45.0, 150.0),
    "atrial flutter": (55.0, 165.0),
    "atrial premature complex": (45.0, 130.0),
    "ventricular premature complex": (45.0, 150.0),
    "first degree av block": (45.0, 120.0),
    "second degree av block": (35.0, 95.0),
    "third degree av block": (28.0, 56.0),
    "left bundle branch block": (45.0, 150.0),
    "right bundle branch block": (45.0, 150.0),
    "left ventricular hypertrophy": (45.0, 150.0),
    "inferior myocardial infarction": (45.0, 130.0),
    "anterior myocardial infarction": (45.0, 140.0),
    "ischemia in lateral leads": (45.0, 140.0),
    "prolonged qt interval": (45.0, 105.0),
    "low qrs voltage": (45.0, 150.0),
    "paced rhythm": (50.0, 120.0),
}
# Chances of a lasting condition, and of one that is there at a visit and gone at the next.
_LASTING = {
    "left ventricular hypertrophy": 0.16,
    "right bundle branch block": 0.12,
    "left bundle branch block": 0.10,
    "first degree av block": 0.13,
    "atrial fibrillation": 0.16,
    "low qrs voltage": 0.10,
    "prolonged qt interval": 0.10,
    "paced rhythm": 0.09,
    "atrial flutter": 0.04,
}
_PASSING = {
    "ventricular premature complex": 0.22,
    "atrial premature complex": 0.19,
    "atrial fibrillation": 0.16,
    "atrial flutter": 0.08,
    "second degree av block": 0.08,
    "third degree av block": 0.04,
    "ischemia in lateral leads": 0.08,
    "inferior myocardial infarction": 0.05,
    "anterior myocardial infarction": 0.05,
    "left bundle branch block": 0.025,
    "right bundle branch block": 0.025,
}
_LASTING_SHARE = 0.45  # of the persons have or get a lasting condition
_FROM_THE_FIRST = 0.35  # of these have it at the first visit
_LATEST_ONSET = 4
_PASSING_FIRST, _PASSING_LATER = 0.14, 0.30
BROAD_SHARE = 0.5  # of the visits have a rate drawn evenly over all that the state allows


class Course(NamedTuple):
    """What lasts in a person: a condition ("" for none) and the visit from which it is there."""

    lasting: str
    onset: int


class Visit(NamedTuple):
    """State and rate of one visit; ``broad``: the rate is not that of a person at rest."""

    state: str
    heart_rate_bpm: float
    broad: bool


def draw_course(rng: np.random.Generator) -> Course:
    """Draw what lasts in a person."""
    has, at_once, onset = (
        rng.random() < _LASTING_SHARE,
        rng.random(),
        rng.integers(1, 1 + _LATEST_ONSET),
    )
    condition = _choice(rng, _LASTING)
    return Course(condition if has else "", 0 if at_once < _FROM_THE_FIRST else int(onset))


def draw_visit(rng: np.random.Generator, course: Course, anatomy: Anatomy, visit: int) -> Visit:
    """Draw state and rate of a visit.

    Half of the rates are the person's own at rest (faster with fever, fear, fibrillation), half
    even over what the state allows, so that training sees all rates.
    """
    passes = rng.random() < (_PASSING_FIRST if visit == 0 else _PASSING_LATER)
    state = _choice(rng, _PASSING)
    broad = bool(rng.random() < BROAD_SHARE)
    if not passes:
        state = course.lasting if visit >= course.onset else ""
    low, high = RATES_BPM.get(state, (45.0, 150.0))
    rate = float(rng.uniform(low, high))
    if not broad:
        usual = anatomy.resting_bpm + _HASTE.get(state, 0.0)
        rate = clipped_normal(rng, usual, 7.0, low, high)
        if state == "paced rhythm":
            rate = float(rng.choice([60.0, 60.0, 65.0, 70.0, 70.0, 75.0, 80.0]))
    return Visit(state or sinus_state(rate), rate, broad)


# How much faster or slower than at rest the usual visit in a state is.
_HASTE = {
    "atrial fibrillation": 18.0,
    "atrial flutter": 22.0,
    "anterior myocardial infarction": 14.0,
    "inferior myocardial infarction": 0.0,
    "ischemia in lateral leads": 10.0,
    "second degree av block": -12.0,
    "third degree av block": -28.0,
}


def sinus_state(rate_bpm: float) -> str:
    """Return the name of a sinus rhythm of that rate."""
    return SINUS_STATES[int(rate_bpm >= 60) + int(rate_bpm > 100)]


def draw_days(rng: np.random.Generator, num_visits: int) -> list[float]:
    """Return days since the first visit: months apart, weeks or years in some.

    The first n of them are the same whatever ``num_visits``.
    """
    pace = 180.0 * float(np.exp(0.6 * rng.standard_normal()))
    gaps = pace * (0.25 + 0.75 * rng.standard_exponential(max(num_visits - 1, 0)))
    days = np.concatenate([[0.0], np.cumsum(gaps)])
    return [float(round(day)) for day in days]


def _choice(rng: np.random.Generator, chances: dict[str, float]) -> str:
    edges = np.cumsum(list(chances.values()))
    place = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return list(chances)[min(place, len(chances) - 1)]
