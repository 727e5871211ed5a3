"""Specifications made from tables reach their targets, or the notes say by how much not."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.condition import Statement
from ecgtwin.spec.generate import (
    AGE_EDGES,
    RATE_EDGES,
    CaseTable,
    PatientsAtHand,
    apportion,
    balance,
    class_counts,
    codes_of,
    mirror,
    rare,
)
from ecgtwin.spec.states import StratumSpec

SINUS, AF, LBBB, MI = "sinus rhythm", "atrial fibrillation", "left bundle branch block", "infarct"
REPORTS = [(SINUS,), (AF,), (SINUS, LBBB), (AF, LBBB), (SINUS, MI), ()]


def report_of(statements):
    return tuple(sorted((one.code, one.certainty) for one in statements))


def table_of(rows, seed=0):
    """A table of (report number, times)."""
    random = np.random.default_rng(seed)
    reports = [
        report_of(Statement(code=code) for code in REPORTS[number])
        for number, times in rows
        for _ in range(times)
    ]
    count = len(reports)
    rates = random.normal(80, 20, count).clip(30, 200)
    rates[random.random(count) < 0.1] = np.nan
    ages = random.uniform(1, 95, count)
    ages[random.random(count) < 0.1] = np.nan
    sexes = random.choice(np.array(["female", "male", None], dtype=object), count).tolist()
    return CaseTable(reports, rates, ages, sexes)


def strata_of(made):
    """Check the strata as a specification would."""
    return [StratumSpec.parse(one, origin="made") for one in made.strata]


def made_counts(strata):
    found = {}
    for one in strata:
        for code in {line.code for line in one.statements if line.certainty == "definite"}:
            found[code] = found.get(code, 0) + one.count
    return found


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.integers(0, 1000))
def test_shares_are_whole_in_proportion_and_sum_to_the_total(weights, total):
    shares = apportion(weights, total)
    assert sum(shares) == total
    for weight, share in zip(weights, shares, strict=True):
        assert abs(share - weight * total / sum(weights)) < 1


tables = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=12).map(
    table_of
)


@given(tables, st.integers(1, 60))
def test_balance_reaches_its_target_or_says_by_how_much_not(table, to):
    counts = class_counts(table)
    classes = sorted(counts)
    if not classes:
        return
    if all(counts[code] >= to for code in classes):
        return
    made = balance(table, classes, to=to)
    strata = strata_of(made)
    added = made_counts(strata)
    assert len({(one.statements, one.heart_rate_bpm) for one in strata}) == len(strata)
    for code, note in zip(classes, made.notes, strict=True):
        final = counts[code] + added.get(code, 0)
        assert final >= to
        assert note.startswith(f"{code}: ")
        assert (f"{final - to:,} beyond {to:,}" in note) == (final > to)
        assert f"{final:,}" in note
    assert balance(table, classes, to=to) == made


def test_classes_are_filled_with_reports_that_hold_no_other():
    table = table_of([(0, 50), (1, 20), (2, 6), (3, 9)])
    made = balance(table, [SINUS, AF, LBBB], to=60)
    added = made_counts(strata_of(made))
    assert added == {LBBB: 45, AF: 27 + 4, SINUS: 18}  # no report shows LBBB alone
    beyond = "14 beyond 60: reports of other classes show it too"
    assert made.notes[2] == f"{SINUS}: 56 there and 18 made are 74, {beyond}"
    alone = balance(table, [AF], to=100)
    assert {tuple(line.code for line in one.statements) for one in strata_of(alone)} == {
        (AF,),
        (AF, LBBB),
    }
    assert made_counts(strata_of(alone))[AF] == 71
    assert [one.label for one in strata_of(alone)] == [f"{AF} 1", f"{AF} 2"]


def test_rare_fills_what_is_below_and_leaves_the_rest():
    table = table_of([(0, 50), (1, 3), (4, 1)])
    made = rare(table, below=20)
    assert made_counts(strata_of(made)) == {AF: 17, MI: 19, SINUS: 19}
    assert rare(table, below=20, at_least=2).notes == [f"{AF}: 3 there and 17 made are 20"]
    with pytest.raises(SpecificationError, match="no statement has between 1 and 0"):
        rare(table, below=1)


def test_rates_are_like_those_of_the_reports():
    table = table_of([(0, 400), (1, 3)])
    (sinus,) = strata_of(balance(table, [SINUS], to=1000))
    assert sinus.heart_rate_bpm.mean == pytest.approx(np.nanmean(table.heart_rate_bpm[:400]), abs=1)
    assert sinus.heart_rate_bpm.sd == pytest.approx(20, abs=2)
    assert sinus.num_states() == 20
    (few,) = strata_of(balance(table, [AF], to=10))
    assert few.heart_rate_bpm is None


def test_a_class_that_no_report_shows_is_refused():
    with pytest.raises(SpecificationError, match="no recording of the table shows 'paced rhythm'"):
        balance(table_of([(0, 3)]), [SINUS, "paced rhythm"], to=5)


def patients_like(table):
    return PatientsAtHand(table.age_years, table.sex)


@given(tables, st.integers(1, 300))
def test_mirror_gives_the_total_and_tells_how_far_it_is_from_the_table(table, total):
    if not any(table.reports):
        return
    made = mirror(table, total=total, patients=patients_like(table))
    strata = strata_of(made)
    assert sum(one.count for one in strata) == total
    assert len({(one.statements, one.heart_rate_bpm, one.among) for one in strata}) == len(strata)
    empty = sum(not report for report in table.reports)
    (left_out,) = re.findall(r"^([\d,]+) recordings", made.notes[1])
    assert int(left_out) >= empty
    assert total < len(table) or int(left_out) == empty


def test_small_cells_do_not_all_have_the_same_rate():
    table = table_of([(0, 30), (1, 30), (2, 30), (3, 30)])
    strata = strata_of(mirror(table, total=60, patients=patients_like(table)))
    draws = [one.heart_rate_bpm for one in strata if one.heart_rate_bpm is not None]
    rates = [rate for one in draws for rate in one.values()]
    assert len(set(rates)) > 0.7 * len(rates)


def test_classes_that_are_filled_by_the_same_report_share_one_stratum():
    both = (("a", "definite"), ("b", "definite"))
    table = CaseTable([both] * 3 + [(("c", "definite"),)] * 9, np.full(12, 70.0),
                      np.full(12, 50.0), ["male"] * 12)  # fmt: skip
    made = balance(table, ["a", "b", "c"], to=20)
    assert sorted((one["count"], one["statements"]) for one in made.strata) == [
        (11, ["c"]), (17, ["a", "b"]),
    ]  # fmt: skip
    with pytest.raises(SpecificationError, match="has 2 recordings already; ask for more"):
        balance(table, ["a", "b"], to=2)


def test_mirror_of_as_many_as_there_are_is_the_table_itself():
    table = table_of([(0, 30), (1, 20), (2, 10)])
    made = mirror(table, total=60, patients=patients_like(table))
    assert made.notes[2] == "total variation from the table: 0.000"
    counts = {}
    for one in strata_of(made):
        key = tuple(sorted(line.code for line in one.statements))
        counts[key] = counts.get(key, 0) + one.count
    assert counts == {(SINUS,): 30, (AF,): 20, (LBBB, SINUS): 10}


def test_mirror_asks_only_for_patients_at_hand():
    table = table_of([(0, 40), (1, 40)])
    men = PatientsAtHand(np.array([65.0, 66.0]), ["male", "male"])
    made = mirror(table, total=10, patients=men)
    assert {one.among for one in strata_of(made)} == {
        "patient.sex == 'male' and 60 <= patient.age_years < 70"
    }
    fitting = sum(
        sex == "male" and 60 <= age < 70
        for sex, age in zip(table.sex, table.age_years, strict=True)
    )
    assert made.notes[1].startswith(f"{80 - fitting} recordings")
    nobody = PatientsAtHand(np.array([np.nan]), ["male"])
    known = CaseTable(table.reports, table.heart_rate_bpm, np.full(80, 50.0), table.sex)
    with pytest.raises(SpecificationError, match="no patient at hand"):
        mirror(known, total=10, patients=nobody)


def test_bands_cover_every_age_and_rate():
    assert (AGE_EDGES[0], AGE_EDGES[-1]) == (0, 121)
    assert (RATE_EDGES[0], RATE_EDGES[-1]) == (20, 301)


def test_what_is_possible_or_negated_is_not_there():
    report = report_of(
        [
            Statement(code=AF, certainty="negated"),
            Statement(code=MI, certainty="possible"),
            Statement(code=SINUS),
        ]
    )
    assert codes_of(report) == {SINUS}
