"""How many ECGs of whom a plan comes to: by split, by condition, by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.plan import CohortPlan, counted
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.spec.states import WantedState

Integers = NDArray[np.int64]
Texts = NDArray[np.object_]

_SHOWN_STATES = 20


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Rows of each patient (N,), of each state (C,), and patients and rows of each split."""

    of_patients: Integers
    of_states: Integers
    of_splits: dict[str, tuple[int, int]]


def counts_of(plan: CohortPlan) -> PlanCounts:
    """Return the counts; by arithmetic, whatever the number of rows."""
    of_patients = plan.rows.rows_of_patients()
    splits: Texts = plan.patients.split
    of_splits = {}
    for split in sorted(set(splits.tolist())):
        is_in = splits == split
        of_splits[split] = (int(np.count_nonzero(is_in)), int(of_patients[is_in].sum()))
    return PlanCounts(of_patients, plan.rows.rows_of_states(), of_splits)


def counts_text(plan: CohortPlan, counts: PlanCounts) -> list[str]:
    """Return the counts in lines for a person; of many conditions the largest."""
    lines = [
        f"  {split}: {counted(num_rows, 'ECG')} of {counted(num_patients, 'patient')}"
        for split, (num_patients, num_rows) in counts.of_splits.items()
    ]
    least, middle, most = np.percentile(counts.of_patients, [0, 50, 100]).tolist()
    of_each = counted(int(most), "ECG")
    if least != most:
        of_each = f"{least:,.0f} to {of_each}, median {middle:,g}"
    lines.append(f"  of a patient: {of_each}")
    order = np.argsort(-counts.of_states, kind="stable")
    if len(order) <= _SHOWN_STATES:
        order = np.arange(len(order))
    for place in order[:_SHOWN_STATES].tolist():
        state = state_in_words(plan.states[place])
        lines.append(f"  {counts.of_states[place]:>12,}  {state}")
    if len(order) > _SHOWN_STATES:
        rest = order[_SHOWN_STATES:]
        lines.append(
            f"  {int(counts.of_states[rest].sum()):>12,}  in {len(rest):,} more conditions"
        )
    return lines


def state_in_words(state: WantedState) -> str:
    """Return a state on one line; age and sex where they are not the patient's."""
    age, sex = state.age_years, state.sex
    parts = [_in_words(state.statements, state.heart_rate_bpm)]
    if age != "own":
        parts.append("unknown age" if age is None else f"{age:g} years")
    if sex != "own":
        parts.append("unknown sex" if sex == "unknown" else sex)
    return ", ".join(parts)


def condition_in_words(condition: CardiacCondition) -> str:
    """Return a condition on one line."""
    parts = [_in_words(condition.statements, condition.heart_rate_bpm)]
    if condition.age_years is not None:
        parts.append(f"{condition.age_years:g} years")
    if condition.sex != "unknown":
        parts.append(condition.sex)
    return ", ".join(parts)


def _in_words(statements: Sequence[Statement], rate_bpm: float | None) -> str:
    report = [
        one.code if one.certainty == "definite" else f"{one.code} ({one.certainty})"
        for one in statements
    ]
    rate = "unknown rate" if rate_bpm is None else f"{rate_bpm:g} bpm"
    return ", ".join([*(report or ["no statement"]), rate])
