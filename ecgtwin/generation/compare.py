"""What two specifications make differently: fields, and the samples of their plans."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgtwin.errors import SpecificationError
from ecgtwin.generation.plan import CohortPlan, counted
from ecgtwin.generation.plan_rows import ProductRows
from ecgtwin.generation.prepare import resolve_cohort
from ecgtwin.spec.base import Spec
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.effects import RUN, effect_of
from ecgtwin.spec.states import WantedState

MOST_ROWS = 2_000_000  # of strata, that are compared one by one
_SHOWN = 80  # characters of a value

# What a sample that is in both plans is drawn otherwise by, where it differs.
_DRAWN_BY = ("seed", "share_noise", "sampling", "batch_rows")
_BY_CONTENT = ("checkpoint", "corpus", "bank")  # wherever they lie
_STORED_BY = ("sampling_rate_hz", "step_mv")


def differing_fields(before: CohortSpec, after: CohortSpec) -> list[str]:
    """Return a line for each field that differs: its path, both values, and what it acts on."""
    return list(_differing(before, after, "", is_run=False))


def _differing(before: Spec, after: Spec, path: str, *, is_run: bool) -> Iterator[str]:
    for name, field in type(before).model_fields.items():
        one, other = getattr(before, name), getattr(after, name)
        if one == other:
            continue
        of_run = is_run or effect_of(field) == RUN
        if isinstance(one, Spec) and type(one) is type(other):
            yield from _differing(one, other, f"{path}{name}.", is_run=of_run)
        else:
            acts = "the run" if of_run else "what is made"
            if name in _BY_CONTENT:
                acts = "what is made, by its content"
            yield f"{path}{name}: {_shown(one)} -> {_shown(other)} (acts on {acts})"


def _shown(value: Any) -> str:  # noqa: ANN401  (of any field)
    if isinstance(value, tuple):
        plain: object = [_plain(one) for one in value]
    else:
        plain = _plain(value)
    text = "none" if plain is None else str(plain)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _plain(value: Any) -> Any:  # noqa: ANN401
    return (
        value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, Spec) else value
    )


def compare_plans(before: CohortSpec, after: CohortSpec) -> list[str]:
    """Return how many samples (person, state, replicate) are in one plan only, and in both.

    Both cohorts are resolved: corpus and checkpoint are read.
    """
    one, other = (resolve_cohort(spec, at_url=False).plan for spec in (before, after))
    shared = _num_shared(one, other)
    lines = [
        f"{counted(one.num_rows, 'ECG')} -> {other.num_rows:,}: {one.num_rows - shared:,} go, "
        f"{other.num_rows - shared:,} come, {shared:,} are in both"
    ]
    if not shared:
        return lines
    by = [name for name in _DRAWN_BY if getattr(one.spec, name) != getattr(other.spec, name)]
    if one.checkpoint_digest != other.checkpoint_digest:
        by.append("checkpoint")
    stored = [name for name in _STORED_BY if _of_output(one, name) != _of_output(other, name)]
    if stored:
        lines.append(f"those in both are stored otherwise ({', '.join(stored)})")
    if by:
        lines.append(f"those in both are drawn otherwise ({', '.join(by)})")
    elif one.digest == other.digest:
        lines.append("the same plan: the same bytes")
    else:
        lines.append(
            "those in both are drawn alike, but for the low bits where other samples stand in "
            "their batch"
        )
    return lines


def _of_output(plan: CohortPlan, name: str) -> float | None:
    found: float | None = getattr(plan.spec.output, name)
    return found


@dataclass(frozen=True, slots=True)
class _Shared:
    """What two plans have in common: numbers of patients (n, 2), and of each state its places.

    A state may have several places where others are asked for it in each.
    """

    patients: Any
    states: list[tuple[list[int], list[int]]]


def _num_shared(one: CohortPlan, other: CohortPlan) -> int:
    places, others = _persons(one), _persons(other)
    pairs = [(place, others[key]) for key, place in places.items() if key in others]
    states, other_states = _states(one), _states(other)
    both = [(found, other_states[key]) for key, found in states.items() if key in other_states]
    if not pairs or not both:
        return 0
    shared = _Shared(np.array(pairs, np.int64), both)
    if isinstance(one.rows, ProductRows) and isinstance(other.rows, ProductRows):
        replicates = min(one.spec.replicates, other.spec.replicates)
        return _num_admitted_by_both(one, other, shared) * replicates
    return _num_shared_one_by_one(one, other, shared)


def _num_admitted_by_both(one: CohortPlan, other: CohortPlan, shared: _Shared) -> int:
    plans = (one, other)
    admitted = []
    for side, plan in enumerate(plans):
        places = [both[side] for both in shared.states]
        firsts = np.cumsum([0, *map(len, places[:-1])])
        of_places = plan.admission.is_admitted_KC[:, np.concatenate(places)]
        admitted.append(np.logical_or.reduceat(of_places, firsts, axis=1))
    classes = np.stack(
        [plan.admission.class_N[shared.patients[:, side]] for side, plan in enumerate(plans)]
    )
    pairs, counts = np.unique(classes, axis=1, return_counts=True)
    return sum(
        int(np.count_nonzero(admitted[0][first] & admitted[1][second])) * count
        for (first, second), count in zip(pairs.T.tolist(), counts.tolist(), strict=True)
    )


def _num_shared_one_by_one(one: CohortPlan, other: CohortPlan, shared: _Shared) -> int:
    plans = (one, other)
    fewer, more = (0, 1) if one.num_rows <= other.num_rows else (1, 0)
    if plans[fewer].num_rows > MOST_ROWS:
        raise SpecificationError(
            f"strata are compared row by row, and {plans[fewer].num_rows:,} rows are more than "
            f"{MOST_ROWS:,}; use --offline to compare the fields"
        )
    patient_of = dict(shared.patients[:, [fewer, more]].tolist())
    places_of = {place: both[more] for both in shared.states for place in both[fewer]}
    found = 0
    for row in range(plans[fewer].num_rows):
        patient, state, replicate = plans[fewer].rows.sample_at(row)
        found += patient in patient_of and any(
            plans[more].row_of(patient_of[patient], place, replicate) is not None
            for place in places_of.get(state, ())
        )
    return found


def _persons(plan: CohortPlan) -> dict[Any, int]:
    """Return the place of each person; another base vector or age is another person."""
    table = plan.patients
    return {
        key: place
        for place, key in enumerate(
            zip(
                table.person.tolist(),
                table.base_vector_digest.tolist(),
                [repr(age) for age in table.age_years.tolist()],
                table.sex.tolist(),
                strict=True,
            )
        )
    }


def _states(plan: CohortPlan) -> dict[WantedState, list[int]]:
    found: dict[WantedState, list[int]] = {}
    for place, state in enumerate(plan.states):
        found.setdefault(state.model_copy(update={"label": None}), []).append(place)
    return found
