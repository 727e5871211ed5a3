"""The states that a cohort is to be drawn in: a list, a grid, or strata with target counts."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from ecgtwin.spec.base import Spec, branch
from ecgtwin.spec.condition import (
    MAX_AGE_YEARS,
    MAX_RATE_BPM,
    MIN_RATE_BPM,
    OVER_89_YEARS,
    Age,
    CardiacCondition,
    HeartRate,
    Sex,
    Statement,
)
from ecgtwin.spec.constraints import PatientConstraintText
from ecgtwin.spec.faults import FaultInside
from ecgtwin.spec.values import Draws, NumberRange, Several, check_each

Own = Literal["own"]
WantedSex = Literal["female", "male", "unknown", "own"]
_SEVERAL = NumberRange | Draws


def _form_of_rates(value: Any) -> str:  # noqa: ANN401  (raw YAML)
    if isinstance(value, Mapping | _SEVERAL):
        return branch("several")
    return branch("rates" if isinstance(value, list | tuple) else "rate")


def _form_of_ages(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping | _SEVERAL):
        return branch("several")
    if isinstance(value, list | tuple):
        return branch("ages")
    return _form_of_age(value)


def _form_of_age(value: Any) -> str:  # noqa: ANN401
    return branch("own" if value == "own" else "age")


def _form_of_sexes(value: Any) -> str:  # noqa: ANN401
    return branch("sexes" if isinstance(value, list | tuple) else "sex")


# A form is chosen before it is checked, so that a mistake is told once and not once per form.
OwnOrAge = Annotated[
    Annotated[Age, Tag(branch("age"))] | Annotated[Own, Tag(branch("own"))],
    Discriminator(_form_of_age),
]
Rates = Annotated[
    Annotated[HeartRate, Tag(branch("rate"))]
    | Annotated[tuple[HeartRate | None, ...], Field(min_length=1), Tag(branch("rates"))]
    | Annotated[Several, Tag(branch("several"))],
    Discriminator(_form_of_rates),
]
Ages = Annotated[
    Annotated[Age, Tag(branch("age"))]
    | Annotated[Own, Tag(branch("own"))]
    | Annotated[tuple[OwnOrAge | None, ...], Field(min_length=1), Tag(branch("ages"))]
    | Annotated[Several, Tag(branch("several"))],
    Discriminator(_form_of_ages),
]
Sexes = Annotated[
    Annotated[WantedSex, Tag(branch("sex"))]
    | Annotated[tuple[WantedSex, ...], Field(min_length=1), Tag(branch("sexes"))],
    Discriminator(_form_of_sexes),
]


class WantedState(Spec):
    """One state as a plan holds it; ``own`` stands for the patient's value."""

    statements: tuple[Statement, ...] = ()
    heart_rate_bpm: HeartRate | None = None
    age_years: OwnOrAge | None = "own"
    sex: WantedSex = "own"
    label: str | None = None  # not of the state: what a reader may call it

    @field_validator("age_years")
    @classmethod
    def _censor(cls, age: float | Own | None) -> float | Own | None:
        return OVER_89_YEARS if isinstance(age, float) and age > 89 else age

    def of(self, *, age_years: float | None, sex: Sex) -> CardiacCondition:
        """Return the condition of a patient of that age and sex."""
        return CardiacCondition(
            statements=self.statements,
            heart_rate_bpm=self.heart_rate_bpm,
            age_years=age_years if self.age_years == "own" else self.age_years,
            sex=sex if self.sex == "own" else self.sex,
        )


class ValuesSpec(Spec):
    """Rates, ages and sexes: one value each, or several, of which every combination is wanted."""

    heart_rate_bpm: Rates | None = None
    age_years: Ages | None = "own"
    sex: Sexes = "own"
    label: str | None = Field(default=None, min_length=1, max_length=100)

    @field_validator("heart_rate_bpm")
    @classmethod
    def _rates_are_possible(cls, rates: Rates | None) -> Rates | None:
        if isinstance(rates, _SEVERAL):
            check_each(rates.values(), least=MIN_RATE_BPM, most=MAX_RATE_BPM, unit="bpm")
        return rates

    @field_validator("age_years")
    @classmethod
    def _ages_are_possible(cls, ages: Ages | None) -> Ages | None:
        if isinstance(ages, _SEVERAL):
            check_each(ages.values(), least=0, most=MAX_AGE_YEARS, unit="years")
        return ages

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield rate, age and sex; the rate varies slowest, the sex fastest."""
        values = product(_each(self.heart_rate_bpm), _each(self.age_years), _each(self.sex))
        for rate, age, sex in values:
            yield {"heart_rate_bpm": rate, "age_years": age, "sex": sex, "label": self.label}

    def num_combinations(self) -> int:
        """Return how many there are."""
        sizes = [_num(one) for one in (self.heart_rate_bpm, self.age_years, self.sex)]
        return sizes[0] * sizes[1] * sizes[2]


class ConditionSpec(ValuesSpec):
    """One report in all combinations of its rates, ages and sexes."""

    statements: tuple[Statement, ...] = ()

    def states(self) -> Iterator[WantedState]:
        """Yield one state per combination."""
        for one in self.combinations():
            yield WantedState.model_validate({"statements": self.statements, **one})

    def num_states(self) -> int:
        """Return how many states there are."""
        return self.num_combinations()


class GridSpec(ValuesSpec):
    """Several reports, each in all combinations of rates, ages and sexes."""

    statements: tuple[tuple[Statement, ...], ...] = Field(min_length=1)

    def states(self) -> Iterator[WantedState]:
        """Yield one state per report and combination, reports slowest."""
        for statements in self.statements:
            for one in self.combinations():
                yield WantedState.model_validate({"statements": statements, **one})

    def num_states(self) -> int:
        """Return how many states there are."""
        return len(self.statements) * self.num_combinations()


class StratumSpec(ConditionSpec):
    """``count`` ECGs of a report, spread evenly over its states and over the patients ``among``.

    ``among`` is a constraint on patients: whose twins they may be.
    """

    count: int = Field(ge=1, le=10**12)
    among: PatientConstraintText | None = None


class GroupedConditions(Spec):
    """``grid:``, or ``strata:`` with target counts."""

    grid: GridSpec | None = None
    strata: tuple[StratumSpec, ...] | None = Field(default=None, min_length=1, max_length=100_000)

    @model_validator(mode="after")
    def _one_of_both(self) -> "GroupedConditions":
        if (self.grid is None) == (self.strata is None):
            found = "both" if self.grid else "neither"
            raise ValueError(
                f"give a list of conditions, or one of grid and strata (found {found})"
            )
        return self

    @model_validator(mode="after")
    def _labels_differ(self) -> "GroupedConditions":
        seen: dict[str, int] = {}
        for place, stratum in enumerate(self.strata or ()):
            label = stratum.label
            if label is not None and seen.setdefault(label, place) != place:
                raise FaultInside(
                    f"{label!r} is the label of strata.{seen[label]} too; give each its own",
                    *("strata", place, "label"),
                )
        return self

    def parts(self) -> Sequence[ConditionSpec | GridSpec]:
        """Return the grid alone, or the strata."""
        return (self.grid,) if self.grid is not None else self.strata or ()


def _form_of_conditions(value: Any) -> str:  # noqa: ANN401
    is_grouped = isinstance(value, Mapping | GroupedConditions)
    return branch("GroupedConditions" if is_grouped else "conditions")


Conditions = Annotated[
    Annotated[tuple[ConditionSpec, ...], Field(min_length=1), Tag(branch("conditions"))]
    | Annotated[GroupedConditions, Tag(branch("GroupedConditions"))],
    Discriminator(_form_of_conditions),
]


def _each(value: Any) -> Sequence[Any]:  # noqa: ANN401  (a value, several, or a form of several)
    if isinstance(value, _SEVERAL):
        return value.values()
    return value if isinstance(value, tuple) else (value,)


def _num(value: Any) -> int:  # noqa: ANN401
    return len(_each(value))
