"""What an expression comes to over tables: three-valued, vectorised, by broadcasting.

A field's values are an array of any shape that broadcasts with the others: (class, 1) for what is
of a patient, (1, condition) for what is of a condition. Unknown is NaN among numbers and None
among texts and lists of statements.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.spec.expression_tree import (
    Arithmetic,
    Comparison,
    Field,
    IsKnown,
    Junction,
    Literally,
    Node,
    Not,
)

Values = NDArray[Any]
Bools = NDArray[np.bool_]


class Truth(NamedTuple):
    """Where it is true, and where it is false; where neither, it is unknown."""

    is_true: Bools
    is_false: Bools


_COMPARE: Mapping[str, Callable[[Values, Values], Bools]] = {
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">=": np.greater_equal,
    ">": np.greater,
}
_CALCULATE: Mapping[str, Callable[[Values, Values], Values]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}
_is_none = np.frompyfunc(lambda value: value is None, 1, 1)
_is_in = np.frompyfunc(lambda text, texts: texts is not None and text in texts, 2, 1)


def truth_of(node: Node, values: Mapping[str, Values]) -> Truth:
    """Return where ``node`` is true and where false, given the values of its fields.

    A quotient without a finite value is unknown.
    """
    match node:
        case Comparison(sign, left, right):
            return _compared(sign, _value_of(left, values), _value_of(right, values))
        case IsKnown(of):
            unknown = _unknown(_value_of(of, values))
            return Truth(~unknown, unknown)
        case Not(of):
            found = truth_of(of, values)
            return Truth(found.is_false, found.is_true)
        case Junction(word, left, right):
            one, other = truth_of(left, values), truth_of(right, values)
            if word == "and":
                return Truth(one.is_true & other.is_true, one.is_false | other.is_false)
            return Truth(one.is_true | other.is_true, one.is_false & other.is_false)
    raise TypeError(f"{node} is no truth")  # the parser lets none through


def _value_of(node: Node, values: Mapping[str, Values]) -> Values:
    match node:
        case Literally(float() as number):
            return np.array(number)
        case Literally(text):
            return np.array(text, dtype=object)
        case Field(name):
            return values[name]
        case Arithmetic(sign, left, right):
            with np.errstate(all="ignore"):
                found = _CALCULATE[sign](_value_of(left, values), _value_of(right, values))
            return np.where(np.isfinite(found), found, np.nan)
    raise TypeError(f"{node} is no value")


def _compared(sign: str, left: Values, right: Values) -> Truth:
    known = ~(_unknown(left) | _unknown(right))
    with np.errstate(invalid="ignore"):
        holds = _is_in(left, right) if sign == "in" else _COMPARE[sign](left, right)
    holds = np.asarray(holds, dtype=bool)
    return Truth(holds & known, ~holds & known)


def _unknown(values: Values) -> Bools:
    if values.dtype == object:
        return np.asarray(_is_none(values), dtype=bool)
    return np.isnan(values)
