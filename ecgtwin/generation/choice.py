"""Which persons a specification chooses among those at hand: by split, by what they are, by id."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.generation.admission import PatientColumns, texts
from ecgtwin.spec.condition import OVER_89_YEARS
from ecgtwin.spec.constraints import Constraint
from ecgtwin.spec.expression_values import truth_of
from ecgtwin.spec.patients import ChosenPatients


def patient_columns(
    age_years: NDArray[np.floating], sex: Sequence[str], split: Sequence[str]
) -> PatientColumns:
    """Return what expressions may ask of persons: ages over 89 are one, what is unknown is None."""
    age = np.asarray(age_years, np.float64)
    with np.errstate(invalid="ignore"):
        age = np.where(age > 89, OVER_89_YEARS, age)
    sexes = texts([None if one == "unknown" else one for one in sex])
    return PatientColumns(age, sexes, texts(split))


def chosen(
    patients: ChosenPatients, names: Sequence[str], columns: PatientColumns, *, of: str
) -> list[int]:
    """Return the places of the persons that are chosen, by their names.

    Raises SpecificationError where there are fewer than are asked for, ``of`` what.
    """
    is_wanted = np.ones(len(names), bool)
    if patients.split is not None:
        is_wanted &= columns.split == patients.split
    in_split = int(is_wanted.sum())
    if patients.where is not None and len(names):
        constraint = Constraint.of(patients.where)
        truth = truth_of(constraint.node, {one: columns.column(one) for one in constraint.fields})
        is_wanted &= np.broadcast_to(truth.is_true, is_wanted.shape)
    found = sorted(np.flatnonzero(is_wanted).tolist(), key=lambda place: names[place])
    if len(found) < (patients.count or 1):
        raise SpecificationError(_too_few(patients, len(found), in_split, of))
    return found[: patients.count]


def _too_few(patients: ChosenPatients, num_found: int, in_split: int, of: str) -> str:
    among = "" if patients.split is None else f" of split {patients.split!r}"
    where = ""
    if patients.where is not None:
        where = f", of {in_split:,} before {patients.where!r}"
    asked = "some" if patients.count is None else f"{patients.count:,}"
    return (
        f"patients: {asked}{among} are asked for, but {of} has {num_found:,} such{where}; ask for "
        "fewer, or for others"
    )
