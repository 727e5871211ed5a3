"""Forms of several values and what conditions come to: lists, grids, strata."""

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.states import ConditionSpec, WantedState
from ecgtwin.spec.values import MAX_VALUES, Draws, NumberRange


def cohort(conditions, **fields):
    data = {
        "checkpoint": "tiny",
        "corpus": "corpus",
        "patients": {"split": "test"},
        "conditions": conditions,
        "output": {"url": "out"},
    }
    return CohortSpec.parse(data | fields, origin="a test")


def refused(conditions, **fields):
    with pytest.raises(SpecificationError) as caught:
        cohort(conditions, **fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"start": 40, "stop": 120, "step": 20}, [40, 60, 80, 100, 120]),
        ({"start": 40, "stop": 119, "step": 20}, [40, 60, 80, 100]),
        ({"start": 0, "stop": 1, "step": 0.1}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ({"start": 60, "stop": 60, "step": 5}, [60]),
        ({"start": 60, "stop": 100, "count": 5}, [60, 70, 80, 90, 100]),
    ],
)
def test_a_range_ends_where_it_says(fields, values):
    assert NumberRange.parse(fields, origin="a test").values() == values


@given(st.floats(0, 200), st.floats(0, 200), st.floats(0.1, 50))
def test_a_range_by_steps_stays_within_and_leaves_no_step_out(start, width, step):
    values = NumberRange(start=start, stop=start + width, step=step).values()
    assert values[0] == round(start, 6)
    assert start + width - step < values[-1] + 1e-5
    assert values[-1] <= start + width + 1e-5


DRAWS = (
    Draws(distribution="normal", mean=80, sd=15, low=50, high=140, count=300, seed=4),
    Draws(distribution="uniform", low=50, high=140, count=300, seed=4),
)


@pytest.mark.parametrize("draws", DRAWS)
def test_draws_follow_from_seed_and_number_stay_within_and_differ(draws):
    values = draws.values()
    fewer, other = (
        draws.model_copy(update=change).values() for change in ({"count": 7}, {"seed": 5})
    )
    assert fewer == values[:7]
    assert other[:7] != fewer
    assert 50 <= min(values) < 56
    assert max(values) <= 140
    assert len(set(values)) == len(values) == 300
    every = [draws.value_at(index) for index in range(1000)]
    assert values == list(dict.fromkeys(every))[:300]


def test_draws_are_of_their_distribution():
    normal, uniform = ([one.value_at(index) for index in range(3000)] for one in DRAWS)
    assert fmean(normal) == pytest.approx(80.5, abs=1.5)  # a little is cut off below
    assert stdev(normal) == pytest.approx(14.3, abs=0.8)
    assert fmean(uniform) == pytest.approx(95, abs=2)
    assert stdev(uniform) == pytest.approx(90 / 12**0.5, abs=1)
    assert normal[:4] == [86.2, 83.8, 101.4, 76.3]
    narrow = Draws(distribution="normal", mean=80, sd=15, low=80, high=80, count=1)
    assert narrow.values() == [80]
    every = Draws(distribution="uniform", low=80, high=80.5, count=6)
    assert sorted(every.values()) == [80, 80.1, 80.2, 80.3, 80.4, 80.5]


@pytest.mark.parametrize(
    ("fields", "num"),
    [
        ({"distribution": "uniform", "low": 80, "high": 81, "count": 12}, "11"),
        (
            {"distribution": "normal", "mean": 80, "sd": 1e-3, "low": 60, "high": 200, "count": 3},
            "1",
        ),
    ],
)
def test_more_different_draws_than_there_are_cannot_be_asked_for(fields, num):
    message = f"{fields['count']} different numbers are asked for, and draws to a tenth .* {num};"
    with pytest.raises(SpecificationError, match=message):
        Draws.parse(fields, origin="a test")


def test_every_combination_of_a_list_is_a_state():
    spec = cohort(
        [
            {
                "statements": ["sinus rhythm"],
                "heart_rate_bpm": [60, None],
                "age_years": ["own", 40, None],
                "sex": ["female", "own"],
                "label": "slow",
            },
            {"statements": [{"code": "paced rhythm", "certainty": "possible"}]},
        ]
    )
    states = spec.states()
    assert len(states) == spec.num_states() == 2 * 3 * 2 + 1
    assert [(one.heart_rate_bpm, one.age_years, one.sex) for one in states[:4]] == [
        (60, "own", "female"),
        (60, "own", "own"),
        (60, 40, "female"),
        (60, 40, "own"),
    ]
    assert states[6].heart_rate_bpm is None
    assert {one.label for one in states} == {"slow", None}
    assert states[-1].statements[0].certainty == "possible"
    assert spec.strata() is None


def test_a_grid_crosses_reports_too():
    grid = {
        "statements": [["sinus rhythm"], ["atrial fibrillation", "left bundle branch block"]],
        "heart_rate_bpm": {"start": 60, "stop": 80, "step": 10},
    }
    states = cohort({"grid": grid}).states()
    assert [(len(one.statements), one.heart_rate_bpm) for one in states] == [
        (1, 60), (1, 70), (1, 80), (2, 60), (2, 70), (2, 80),
    ]  # fmt: skip


def test_own_values_are_filled_in_and_ages_over_89_are_one_class():
    own, given = WantedState(), WantedState(age_years=95, sex="unknown", heart_rate_bpm=60)
    assert own.of(age_years=33, sex="male") == CardiacCondition(age_years=33, sex="male")
    assert own.of(age_years=None, sex="unknown") == CardiacCondition()
    assert given.of(age_years=33, sex="male") == CardiacCondition(age_years=90, heart_rate_bpm=60)
    assert given == WantedState(age_years=91, sex="unknown", heart_rate_bpm=60)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": 60, "stop": 100}, "heart_rate_bpm: give either step or count"),
        ({"start": 60, "stop": 100, "step": 1, "count": 3}, "give either step or count"),
        ({"start": 100, "stop": 60, "step": 1}, "stop 60 is below start 100; exchange them"),
        ({"start": 60, "stop": 100, "step": 1e-3}, f"is more than {MAX_VALUES:,} numbers"),
        ({"start": 60, "stop": 400, "count": 3}, "heart_rate_bpm: gives 400 bpm; allowed are 20"),
        ({"distribution": "normal", "low": 9, "high": 50, "count": 1}, "needs mean and sd"),
        (
            {"distribution": "uniform", "low": 9, "high": 50, "count": 1, "sd": 3},
            "mean and sd are of the normal distribution",
        ),
        ({"distribution": "uniform", "low": 9, "high": 5, "count": 1}, "low 9 is above high 5"),
        (
            {"distribution": "poisson", "count": 1},
            "distribution: Input should be 'normal' or 'uniform' (found 'poisson')",
        ),
        (
            {"distribution": "normal", "mean": 10, "sd": 1, "low": 40, "high": 50, "count": 1},
            "mean 10 must lie between low 40 and high 50",
        ),
        (
            {"distribution": "uniform", "low": 5, "high": 400, "count": 50},
            "bpm; allowed are 20 to 300",
        ),
        ([], "heart_rate_bpm: List should have at least 1 item"),
        ([60, "fast"], "heart_rate_bpm.1: Input should be a valid number"),
        ("fast", "heart_rate_bpm: Input should be a valid number"),
    ],
)
def test_wrong_rates_are_explained(values, message):
    assert message in refused([{"heart_rate_bpm": values}])


@pytest.mark.parametrize(
    ("conditions", "fields", "message"),
    [
        (
            [{"age_years": "mine"}],
            {},
            "age_years: Input should be a valid number or 'own' (found 'mine')",
        ),
        ([{"age_years": ["own", 130]}], {}, "age_years.1: Input should be less than or equal"),
        ([{"sex": ["own", "f"]}], {}, "sex.1: Input should be 'female', 'male', 'unknown' or"),
        ({"grid": {}}, {}, "conditions.grid.statements: is required"),
        ({"grids": {}}, {}, "conditions.grids: unknown key, grid perhaps; allowed here: grid, st"),
        ({}, {}, "conditions: give a list of conditions, or one of grid and strata"),
        ({"strata": []}, {}, "conditions.strata: List should have at least 1 item"),
        ({"strata": [{"label": "a"}]}, {}, "conditions.strata.0.count: is required"),
        ({"strata": [{"count": 1}]}, {"replicates": 2}, "strata say how many ECGs they want"),
        (
            {"strata": [{"count": 1, "label": "a"}, {"count": 1, "label": "a", "sex": "male"}]},
            {},
            "conditions.strata.1.label: 'a' is the label of strata.0 too",
        ),
        (
            {"strata": [{"count": 1, "among": "condition.sex == 'male'"}]},
            {},
            "among: column 1: no field is named 'condition.sex'",
        ),
        ([{}], {"constraints": ["patient.age > 3"]}, "constraints.0: column 1: no field is named"),
        ([{}], {"constraints": "1 == 1"}, "constraints: Input should be a list"),
        (
            [
                {
                    "heart_rate_bpm": {"start": 20, "stop": 300, "count": 10_000},
                    "age_years": {"start": 0, "stop": 89, "count": 101},
                }
            ],
            {},
            "conditions: come to 1,010,000 states, more than 1,000,000",
        ),
    ],
)
def test_wrong_conditions_are_explained(conditions, fields, message):
    assert message in refused(conditions, **fields)


def test_several_values_count_as_many_as_they_are():
    spec = ConditionSpec.parse(
        {"heart_rate_bpm": {"distribution": "uniform", "low": 50, "high": 90, "count": 6}},
        origin="a test",
    )
    assert spec.num_states() == len(list(spec.states())) == 6
