"""Whose twins a cohort is of: persons of a corpus, of a bank of base vectors, or simulated ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from ecgtwin.spec.base import Spec, branch
from ecgtwin.spec.constraints import PatientConstraintText
from ecgtwin.spec.effects import BYTES, RUN
from ecgtwin.spec.faults import FaultInside

Split = Literal["train", "validation", "test"]

Count = Annotated[int, Field(ge=1, le=10**9)]


class PatientsById(Spec):
    """These patients of the corpus, in this order."""

    ids: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)

    @field_validator("ids")
    @classmethod
    def _ids_differ(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        seen: set[str] = set()
        for index, name in enumerate(ids):
            if name in seen:
                raise FaultInside(f"{name!r} stands there twice; raise `replicates` instead", index)
            seen.add(name)
        return ids


class ChosenPatients(Spec):
    """The first ``count`` (all when None) in ``split`` of whom ``where`` is true, by their id.

    ``where`` is an expression over patient.age_years, patient.sex and patient.split.
    """

    split: Annotated[Split | None, BYTES] = None  # None: of every split
    where: Annotated[PatientConstraintText | None, BYTES] = None
    count: Annotated[Count | None, BYTES] = None


class PatientsOfCorpus(ChosenPatients):
    """Patients of the corpus that are chosen by what they are."""

    @model_validator(mode="after")
    def _says_whom(self) -> "PatientsOfCorpus":
        if self.split is None and self.where is None and self.count is None:
            raise ValueError(
                "say whom: split (train, validation or test), where (an expression), count, or "
                "ids; or take them from a bank, or from a population"
            )
        return self


class PatientsOfBank(ChosenPatients):
    """Persons of a bank of base vectors, which ``ecgtwin corpus bank`` writes.

    The bank enters a plan by its content, wherever it is.
    """

    bank: Annotated[str, Field(min_length=1), RUN]


class PatientsOfPopulation(Spec):
    """``population`` simulated persons; person *i* follows from (seed, i)."""

    population: Annotated[int, Field(ge=1, le=1_000_000)]
    seed: int = Field(default=0, ge=0, lt=2**63)


_FORMS = {
    "ids": PatientsById,
    "bank": PatientsOfBank,
    "population": PatientsOfPopulation,
}


def _form_of_patients(value: Any) -> str:  # noqa: ANN401  (raw YAML)
    for key, form in _FORMS.items():
        if isinstance(value, form) or (isinstance(value, Mapping) and key in value):
            return branch(form.__name__)
    return branch(PatientsOfCorpus.__name__)


# A form is chosen before it is checked, so that a mistake is told once and not once per form.
Patients = Annotated[
    Annotated[PatientsById, Tag(branch("PatientsById"))]
    | Annotated[PatientsOfBank, Tag(branch("PatientsOfBank"))]
    | Annotated[PatientsOfPopulation, Tag(branch("PatientsOfPopulation"))]
    | Annotated[PatientsOfCorpus, Tag(branch("PatientsOfCorpus"))],
    Discriminator(_form_of_patients),
]
