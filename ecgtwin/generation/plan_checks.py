"""What a plan must not be: empty, in part, or with the same ECG in it twice."""

from itertools import chain, combinations, product

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.generation.plan import CohortPlan, removals
from ecgtwin.generation.plan_rows import StratifiedRows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.states import WantedState

Bools = NDArray[np.bool_]


def check_rows(plan: CohortPlan) -> None:
    """Raise SpecificationError where rows would be the same, or none of a cohort or stratum."""
    _check_states_differ(plan)
    _check_own_values_differ(plan)
    rows, strata = plan.rows, plan.spec.strata()
    if isinstance(rows, StratifiedRows):
        for place, (one, states) in enumerate(zip(strata or (), rows.states_of, strict=True)):
            if not len(states):
                name = "" if one.label is None else f" ({one.label})"
                raise SpecificationError(
                    f"conditions.strata.{place}{name}: none of the {len(plan.patients):,} patients "
                    "may be drawn in it; look at its `among` and at the constraints"
                )
    if not rows.num_rows:
        removed = "; ".join(removals(plan))
        raise SpecificationError(f"constraints: nothing is left of the cohort: {removed}")


def _check_states_differ(plan: CohortPlan) -> None:
    """Raise SpecificationError where a patient would be drawn in the same state twice.

    Strata may ask for a state twice if they do so of different patients.
    """
    places_of: dict[WantedState, list[int]] = {}
    for place, state in enumerate(plan.states):
        unlabelled = state.model_copy(update={"label": None}) if state.label else state
        places_of.setdefault(unlabelled, []).append(place)
    for state, places in places_of.items():
        admitted = plan.admission.is_admitted_KC[:, places] if len(places) > 1 else None
        if admitted is None or admitted.sum(axis=1).max(initial=0) < 2:
            continue
        twice = np.array(places)[admitted[admitted.sum(axis=1).argmax()]].tolist()
        at = "an unknown rate" if state.heart_rate_bpm is None else f"{state.heart_rate_bpm:g} bpm"
        raise SpecificationError(
            f"conditions: the same state at {at} is asked for twice of the same patients "
            f"({_origin(plan.spec, twice[0])} and {_origin(plan.spec, twice[1])}), which would "
            "give the same ECGs twice; remove one, or raise `replicates`"
        )


def _check_own_values_differ(plan: CohortPlan) -> None:
    """Raise SpecificationError where ``own`` and a value that stands beside it are the same."""
    alike: dict[object, dict[object, list[int]]] = {}
    for place, state in enumerate(plan.states):
        by_owns = alike.setdefault((state.statements, state.heart_rate_bpm), {})
        by_owns.setdefault(_owns(state), []).append(place)
    for by_owns in alike.values():
        pairs = (product(*groups) for groups in combinations(by_owns.values(), 2))
        for one, other in chain.from_iterable(pairs):
            num = int(np.count_nonzero(_are_the_same(plan, one, other)))
            if num:
                raise SpecificationError(
                    f"conditions: {_origin(plan.spec, one)} and {_origin(plan.spec, other)} are "
                    f"the same for {num:,} of the patients, whose own age or sex is the value that "
                    "is asked for beside `own`, and would give the same ECGs twice; leave `own` "
                    "out, the value, or these patients"
                )


def _owns(state: WantedState) -> tuple[bool, bool]:
    return state.age_years == "own", state.sex == "own"


def _are_the_same(plan: CohortPlan, one: int, other: int) -> Bools:
    """Return of which patients (N,) both states are asked for and come to the same."""
    first, second = plan.states[one], plan.states[other]
    admitted_KC, class_N = plan.admission.is_admitted_KC, plan.admission.class_N
    is_same: Bools = (admitted_KC[:, one] & admitted_KC[:, other])[class_N]
    ages = [_or_own(state.age_years, plan.patients.age_years) for state in (first, second)]
    is_same &= (ages[0] == ages[1]) | (np.isnan(ages[0]) & np.isnan(ages[1]))
    if is_same.any():
        sexes = [
            plan.patients.sex if state.sex == "own" else np.full(len(class_N), state.sex, object)
            for state in (first, second)
        ]
        is_same &= sexes[0] == sexes[1]
    return is_same


def _or_own(age: float | str | None, own_N: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(age, str):
        return own_N
    return np.full(len(own_N), np.nan if age is None else age)


def _origin(spec: CohortSpec, place: int) -> str:
    """Return which part of the specification state ``place`` comes from."""
    name = "strata." if spec.strata() is not None else ""
    for part, num in enumerate(spec.num_states_of_parts()):
        if place < num:
            return f"{name}{part}"
        place -= num
    raise IndexError(place)
