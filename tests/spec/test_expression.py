"""The grammar of constraints: what it means, what it refuses, and that it always ends."""

import ast
import math
import operator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.spec.expression import MAX_LENGTH, parse_expression, with_sought_texts
from ecgtwin.spec.expression_tree import (
    Arithmetic,
    Comparison,
    Field,
    IsKnown,
    Junction,
    Literally,
    Not,
    fields_of,
    texts_sought_in,
)
from ecgtwin.spec.expression_values import truth_of

FIELDS = {
    "patient.age_years": "number",
    "patient.sex": "text",
    "patient.statements": "texts",
    "condition.heart_rate_bpm": "number",
    "condition.statements": "texts",
}


def column(values):
    return np.array([*values, None], dtype=object)[:-1]


def values(age=60.0, sex="female", rate=80.0, statements=frozenset({"sinus rhythm"})):
    return {
        "patient.age_years": np.array([math.nan if age is None else age]),
        "patient.sex": column([sex]),
        "patient.statements": column([frozenset()]),
        "condition.heart_rate_bpm": np.array([math.nan if rate is None else rate]),
        "condition.statements": column([statements]),
    }


def says(text, **given):
    """Return True, False, or None for unknown."""
    found = truth_of(parse_expression(text, FIELDS), values(**given))
    is_true, is_false = (bool(np.asarray(one).ravel()[0]) for one in found)
    assert not (is_true and is_false)
    return True if is_true else False if is_false else None


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("patient.age_years >= 18", True),
        ("patient.age_years < 18", False),
        ("40 <= condition.heart_rate_bpm <= 120", True),
        ("40 <= condition.heart_rate_bpm <= 79.5", False),
        ("condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years", True),
        ("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9", True),
        ("10 - 4 - 3 == 3 and 16 / 4 / 2 == 2", True),
        ("--2 == 2 and -2 - -3 == 1 and 2e1 == 20 and .5 == 0.5", True),
        ("patient.sex == 'female'", True),
        ('patient.sex != "female"', False),
        ('"sinus rhythm" in condition.statements', True),
        ('"paced rhythm" not in condition.statements', True),
        ("patient.sex in condition.statements", False),
        ("not patient.age_years > 50 or patient.age_years == 60", True),
        ("not (patient.age_years > 50 or patient.age_years == 60)", False),
        ("1 == 2 and 1 == 1 or 1 == 1", True),
        ("1 == 1 or 1 == 1 and 1 == 2", True),
        ("patient.age_years is known", True),
        ("patient.age_years is not known", False),
        ("patient.age_years is unknown", False),
        ("patient.age_years is not unknown", True),
    ],
)
def test_it_means_what_it_says(text, truth):
    assert says(text) is truth


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("patient.age_years >= 18", None),
        ("not patient.age_years >= 18", None),
        ("patient.age_years >= 18 or 1 == 1", True),
        ("patient.age_years >= 18 and 1 == 2", False),
        ("patient.age_years >= 18 and 1 == 1", None),
        ("patient.age_years != 18", None),
        ("0 * patient.age_years == 0", None),
        ("patient.age_years is unknown", True),
        ("patient.age_years is known and patient.age_years > 18", False),
        ("patient.sex == 'male'", None),
        ("patient.sex in condition.statements", None),
        ("'sinus rhythm' in condition.statements", None),
        ("1 / 0 > 0", None),
        ("0 / 0 == 0 / 0", None),
        ("1e308 * 10 > 0", None),
    ],
)
def test_what_is_unknown_stays_so(text, truth):
    assert says(text, age=None, sex=None, statements=None) is truth


def test_patients_and_conditions_meet_by_broadcasting():
    node = parse_expression("condition.heart_rate_bpm <= 220 - patient.age_years", FIELDS)
    ages, rates = np.array([20.0, 70.0, math.nan]), np.array([60.0, 160.0, 250.0])
    found = truth_of(
        node, {"patient.age_years": ages[:, None], "condition.heart_rate_bpm": rates[None]}
    )
    assert found.is_true.tolist() == [[True, True, False], [True, False, False], [False] * 3]
    assert found.is_false.tolist() == [[False, False, True], [False, True, True], [False] * 3]


def test_it_says_what_it_looks_at():
    node = parse_expression(
        "'AF' in condition.statements and not ('LBBB' in condition.statements or "
        "'MI' in patient.statements) and patient.sex == 'AF'",
        FIELDS,
    )
    assert fields_of(node) == {"condition.statements", "patient.statements", "patient.sex"}
    assert texts_sought_in(node) == {
        "condition.statements": ["AF", "LBBB"],
        "patient.statements": ["MI"],
    }


def test_texts_sought_in_statements_are_replaced_and_no_others():
    text = "'AF'  not in condition.statements and not ( \"LBBB\" in condition.statements) and "
    text += "patient.sex == 'AF' and ('MI' in patient.statements)"
    names = {"AF": "atrial fibrillation", "MI": "dressler's", "LBBB": "left bundle branch block"}
    assert with_sought_texts(text, names) == (
        "'atrial fibrillation'  not in condition.statements and not ( "
        '"left bundle branch block" in condition.statements) and '
        "patient.sex == 'AF' and (\"dressler's\" in patient.statements)"
    )
    assert with_sought_texts(text, {}) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: the end stands where"),
        ("patient.age_years", "column 1: a number alone is neither true nor false"),
        (
            "patient.age >= 18",
            "column 1: no field is named 'patient.age'; the nearest are patient.",
        ),
        ("zzz == 1", "column 1: no field is named 'zzz'; there are condition."),
        ("patient.age_years = 18", "column 19: '=' has no meaning here; write =="),
        ("patient.age_years > 18 & 1 == 1", "column 24: '&' has no meaning here; write and"),
        ("patient.age_years > '18'", "column 19: a number cannot be compared with a text by >"),
        ("patient.sex < 'male'", "column 13: texts are compared by == and != only"),
        ("condition.statements == 'AF'", "column 22: a list of statements cannot .*; write `in`"),
        ("patient.age_years in condition.statements", "column 1: a text is wanted left of `in`"),
        ("'a' in patient.sex", "column 8: a list of statements is wanted right of `in`"),
        ("'a' not patient.sex", "column 5: `in` is missing after `not`"),
        ("1 is known", "column 1: `is` asks of a field"),
        ("patient.sex is male", "column 16: `is` is followed by known or unknown .found 'male'."),
        ("(1 == 1", "column 1: this parenthesis is not closed"),
        ("1 == 1)", "column 7: '\\)' follows what is whole already"),
        ("1 == 1 2", "column 8: '2' follows what is whole already"),
        ("1 and 2", "column 1: a comparison is wanted left of `and`"),
        ("'a' + 1 == 2", "column 1: a number is wanted left of +"),
        ("not 1", "column 5: a comparison is wanted after `not`"),
        ("- 'a' == 1", "column 3: a number is wanted after -"),
        ("(1 == 1) == (2 == 2)", "column 10: a comparison cannot be compared with a comparison"),
        ("'open == 1", 'column 1: "\'" has no meaning here; the text has no closing quote'),
        ("patient.age_years > 18 years", "column 24: 'years' follows|no field"),
        ("condition.heart_rate_bpm > 60bpm", "column 28: '6' has no meaning here"),
        ("__import__('os').system('true') == 0", "column 17: '\\.' has no meaning here"),
        ("patient.__class__ == 1", "column 1: no field is named 'patient.__class__'"),
        ("[1, 2] == 1", "column 1: '\\[' has no meaning here"),
        ("lambda: 1", "column 7: ':' has no meaning here"),
        ("2 ** 8 == 256", "column 4: '\\*' stands where"),
        ("(" * 60 + "1 == 1" + ")" * 60, "column 42: stands inside more than 40 others"),
        ("not " * 60 + "1 == 1", "column .*: stands inside more than 40 others"),
        ("1 == 1 and " * 400 + "1 == 1", f"is longer than {MAX_LENGTH} characters"),
    ],
)
def test_what_it_refuses_it_explains(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_expression(text, FIELDS)


NODES = (Literally, Field, Arithmetic, Comparison, IsKnown, Not, Junction)
PIECES = st.sampled_from(
    [
        *FIELDS, "and", "or", "not", "in", "is", "known", "unknown", "(", ")", "<", "<=", "==",
        "!=", ">", "+", "-", "*", "/", "1", "0", "2.5", "'a'", '"sinus rhythm"', ".", "eval", "=",
    ]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map(" ".join)))
def test_any_text_is_an_expression_of_comparisons_or_an_error(text):
    try:
        node = parse_expression(text, FIELDS)
    except ValueError:
        return
    stack = [node]
    while stack:
        one = stack.pop()
        assert type(one) in NODES
        stack += [getattr(one, name) for name in ("left", "right", "of") if hasattr(one, name)]
    assert fields_of(node) <= set(FIELDS)
    assert says(text) in (True, False, None)
    assert says(text, age=None, rate=None) in (True, False, None)


numbers = st.integers(0, 9).map(str)
names = st.sampled_from(["patient.age_years", "condition.heart_rate_bpm"])
sums = st.recursive(
    numbers | names,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner)
        | st.builds("-{}".format, inner)
    ),
    max_leaves=6,
)
comparisons = st.builds(
    "{} {} {}".format, sums, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), sums
)
truths = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=8,
)
SIGNS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def by_python(node, known):
    match node:
        case ast.Expression(body):
            return by_python(body, known)
        case ast.BoolOp(op, parts):
            return (all if isinstance(op, ast.And) else any)(by_python(one, known) for one in parts)
        case ast.UnaryOp(ast.Not(), operand):
            return not by_python(operand, known)
        case ast.UnaryOp(ast.USub(), operand):
            return -by_python(operand, known)
        case ast.BinOp(left, op, right):
            return SIGNS[type(op)](by_python(left, known), by_python(right, known))
        case ast.Compare(left, ops, others):
            sides = [by_python(one, known) for one in (left, *others)]
            return all(
                SIGNS[type(op)](*pair) for op, pair in zip(ops, pairwise(sides), strict=True)
            )
        case ast.Constant(value):
            return float(value)
        case ast.Attribute():
            return known[ast.unparse(node)]
    raise TypeError(ast.dump(node))


@given(truths, st.integers(0, 9), st.integers(0, 9))
def test_known_values_come_to_what_python_makes_of_the_same_text(text, age, rate):
    known = {"patient.age_years": float(age), "condition.heart_rate_bpm": float(rate)}
    wanted = by_python(ast.parse(text, mode="eval"), known)
    assert says(text, age=float(age), rate=float(rate)) is wanted
