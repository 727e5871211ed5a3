"""Constraints of a cohort: expressions that must be true of each patient in each state.

``condition.statements`` are the definite ones: what is possible or negated is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from ecgtwin.spec.expression import Kind, parse_expression
from ecgtwin.spec.expression_tree import Node, fields_of

_OF_PATIENTS: Mapping[str, Kind] = {
    "patient.age_years": "number",
    "patient.sex": "text",
    "patient.split": "text",
}
FIELDS: Mapping[str, Kind] = {
    **_OF_PATIENTS,
    "condition.heart_rate_bpm": "number",
    "condition.age_years": "number",
    "condition.sex": "text",
    "condition.statements": "texts",
    "condition.label": "text",
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint, parsed: ``fields`` are those it looks at."""

    text: str
    node: Node
    fields: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "Constraint":
        """Parse ``text``; ValueError says what is wrong, and where."""
        node = parse_expression(text, FIELDS)
        return cls(text, node, fields_of(node))


def _checked(text: str) -> str:
    parse_expression(text, FIELDS)
    return text


def _checked_of_patients(text: str) -> str:
    parse_expression(text, _OF_PATIENTS)
    return text


ConstraintText = Annotated[str, AfterValidator(_checked)]
PatientConstraintText = Annotated[str, AfterValidator(_checked_of_patients)]
