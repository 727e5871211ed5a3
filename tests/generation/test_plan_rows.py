"""Rows and samples correspond, whatever constraints leave; strata give what they promise."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.generation.admission import PatientColumns, Removed, admit
from ecgtwin.generation.plan_rows import ProductRows, Sample, StratifiedRows, Stratum
from ecgtwin.spec.constraints import Constraint
from ecgtwin.spec.states import WantedState


def texts(values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def patients_of(ages, sexes=None, splits=None):
    count = len(ages)
    return PatientColumns(
        np.array([np.nan if age is None else age for age in ages], float),
        texts(sexes or ["female"] * count),
        texts(splits or ["test"] * count),
    )


def states_of(*rates, **fields):
    return [WantedState(heart_rate_bpm=rate, **fields) for rate in rates]


def constraints_of(*wanted):
    return [Constraint.of(text) for text in wanted]


ages = st.lists(st.none() | st.sampled_from([20.0, 50.0, 80.0]), min_size=1, max_size=8)
rates = st.lists(st.sampled_from(range(40, 200, 10)), min_size=1, max_size=6, unique=True)
wishes = st.lists(
    st.sampled_from(
        [
            "condition.heart_rate_bpm <= 220 - patient.age_years",
            "patient.age_years >= 50 or condition.heart_rate_bpm > 90",
            "patient.sex == 'female'",
            "patient.age_years is known",
            "condition.age_years > 30",
            "1 == 2 or condition.heart_rate_bpm != 100",
        ]
    ),
    max_size=3,
)


def corresponds(rows, num_patients, num_states, most_replicates):
    """Check that rows and samples are one to one; return the samples in row order."""
    samples = [rows.sample_at(row) for row in range(rows.num_rows)]
    assert len(set(samples)) == len(samples)
    assert [rows.row_of(sample) for sample in samples] == list(range(len(samples)))
    everything = itertools.product(range(num_patients), range(num_states), range(most_replicates))
    others = {Sample(*one) for one in everything} - set(samples)
    assert {rows.row_of(sample) for sample in others} <= {None}
    by_patient, by_state = (Counter(sample[part] for sample in samples) for part in (0, 1))
    assert rows.rows_of_patients().tolist() == [by_patient[one] for one in range(num_patients)]
    assert rows.rows_of_states().tolist() == [by_state[one] for one in range(num_states)]
    return samples


@given(ages, rates, wishes, st.integers(1, 3), st.data())
def test_rows_and_samples_of_a_product_correspond(ages, rates, wishes, replicates, data):
    sexes = data.draw(st.lists(st.sampled_from(["female", "male", None]), min_size=8, max_size=8))
    patients, states = patients_of(ages, sexes[: len(ages)]), states_of(*rates)
    constraints = constraints_of(*wishes)
    rows = ProductRows(admit(patients, states, constraints), replicates)
    samples = corresponds(rows, len(ages), len(rates), replicates + 1)
    assert samples == sorted(samples)  # patients slowest, replicates fastest
    wanted = [
        Sample(patient, state, replicate)
        for patient, state, replicate in itertools.product(
            range(len(ages)), range(len(rates)), range(replicates)
        )
        if all(holds(text, ages[patient], sexes[patient], rates[state]) for text in wishes)
    ]
    assert samples == wanted


def holds(text, age, sex, rate):
    """The constraints above once more, by hand; ages of states are the patients' own."""
    old = age is not None and age >= 50
    return {
        "condition.heart_rate_bpm <= 220 - patient.age_years": age is not None
        and rate <= 220 - age,
        "patient.age_years >= 50 or condition.heart_rate_bpm > 90": old or rate > 90,
        "patient.sex == 'female'": sex == "female",
        "patient.age_years is known": age is not None,
        "condition.age_years > 30": age is not None and age > 30,
        "1 == 2 or condition.heart_rate_bpm != 100": rate != 100,
    }[text]


@given(ages, st.lists(st.tuples(st.integers(1, 3), st.integers(1, 25)), min_size=1, max_size=4))
def test_rows_and_samples_of_strata_correspond_and_targets_are_reached(ages, parts):
    strata, states = [], []
    for num_states, count in parts:
        strata.append(Stratum(range(len(states), len(states) + num_states), count))
        states += states_of(*(60.0 + len(states) + one for one in range(num_states)))
    constraint = "patient.age_years > 30 or condition.heart_rate_bpm != 61"
    admission = admit(patients_of(ages), states, constraints_of(constraint))
    keys = [bytes([place]) for place in range(len(states))]
    rows = StratifiedRows(admission, strata, keys)
    samples = corresponds(rows, len(ages), len(states), 30)
    num_C = admission.is_admitted_KC[admission.class_N].sum(axis=0)
    start = 0
    for stratum in strata:
        count = stratum.count if num_C[stratum.states.start : stratum.states.stop].any() else 0
        own = samples[start : start + count]
        start += count
        turns = Counter(sample.state for sample in own)
        assert set(turns) <= set(stratum.states)
        assert not turns or max(turns.values()) - min(turns.values()) <= 1
        for state in turns:
            times = Counter(sample.patient for sample in own if sample.state == state)
            assert (
                max(times.values()) - (min(times.values()) if len(times) == num_C[state] else 0)
                <= 1
            )
        assert all(
            admission.is_admitted_KC[admission.class_N[one.patient], one.state] for one in own
        )
    assert start == len(samples)


def test_patients_of_strata_are_taken_in_another_order_for_each_state_and_replicate():
    admission = admit(patients_of([50.0] * 40), states_of(60, 70), [])
    rows = StratifiedRows(admission, [Stratum(range(2), 160)], [b"one", b"two"])
    orders = {}
    for row in range(160):
        sample = rows.sample_at(row)
        orders.setdefault((sample.state, sample.replicate), []).append(sample.patient)
    assert set(orders) == set(itertools.product((0, 1), (0, 1)))
    assert all(sorted(order) == list(range(40)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4


def test_the_order_in_a_state_does_not_depend_on_other_strata():
    admission = admit(patients_of([50.0] * 10), states_of(60, 70), [])
    alone = StratifiedRows(admission, [Stratum(range(1, 2), 5)], [b"one", b"two"])
    both = StratifiedRows(
        admission, [Stratum(range(1), 7), Stratum(range(1, 2), 9)], [b"one", b"two"]
    )
    assert [alone.sample_at(row) for row in range(5)] == [
        both.sample_at(7 + row) for row in range(5)
    ]


def test_what_each_constraint_removes_is_counted_by_itself():
    patients = patients_of([20.0, 80.0, 80.0, None])
    constraints = constraints_of(
        "condition.heart_rate_bpm <= 220 - patient.age_years", "condition.heart_rate_bpm > 70"
    )
    admission = admit(patients, states_of(60, 160, None), constraints)
    assert admission.removed == (Removed(false=2, unknown=3 + 3), Removed(false=4, unknown=4))
    assert admission.num_classes == 3
    assert admission.is_admitted_KC[admission.class_N].tolist() == [
        [False, True, False],
        [False] * 3,
        [False] * 3,
        [False] * 3,
    ]


def test_patients_are_grouped_by_what_constraints_mention_only():
    random = np.random.default_rng(0)
    patients = patients_of(
        random.uniform(20, 90, 500).tolist(), random.choice(["female", "male"], 500).tolist()
    )
    states = states_of(60, 70)
    assert admit(patients, states, []).num_classes == 1
    by_sex = admit(patients, states, constraints_of("patient.sex == 'male'"))
    assert by_sex.num_classes == 2
    assert by_sex.size_K.sum() == 500
    fixed = [state.model_copy(update={"age_years": 40.0}) for state in states]
    assert admit(patients, fixed, constraints_of("condition.age_years > 30")).num_classes == 1
    assert admit(patients, states, constraints_of("condition.age_years > 30")).num_classes == 500


@pytest.mark.parametrize("text", ["condition.sex == 'male'", "condition.age_years == 33"])
def test_own_values_are_the_patients(text):
    patients = patients_of([33.0, 50.0], ["male", "female"])
    given = WantedState(sex="male", age_years=33.0)
    admission = admit(patients, [WantedState(), given], constraints_of(text))
    assert admission.is_admitted_KC[admission.class_N].tolist() == [[True, True], [False, True]]


def test_a_statement_that_is_possible_or_negated_is_not_there():
    states = [
        WantedState(statements=({"code": "infarct", "certainty": certainty},))
        for certainty in ("definite", "possible", "negated")
    ]
    constraint = constraints_of("'infarct' in condition.statements")
    assert admit(patients_of([50.0]), states, constraint).is_admitted_KC.tolist() == [
        [True, False, False]
    ]


def test_a_stratum_may_be_among_some_patients_only():
    patients = patients_of([33.0, 50.0, None])
    among = [(range(1, 2), Constraint.of("patient.age_years > 40"))]
    admission = admit(patients, states_of(60, 70), [], among)
    assert admission.is_admitted_KC[admission.class_N].tolist() == [
        [True, False],
        [True, True],
        [True, False],
    ]
