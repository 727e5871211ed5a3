"""CardiacCondition: report statements, heart rate, age, sex. Unknown is a value, never 0."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator

from ecgtwin.spec.base import Spec

Certainty = Literal["definite", "possible", "negated"]
Sex = Literal["female", "male", "unknown"]

OVER_89_YEARS = 90.0  # ages over 89 are censored in the sources: one class


class Statement(Spec):
    """One line of a report: a canonical English code and how certain it is."""

    code: str = Field(min_length=1, max_length=200)
    certainty: Certainty = "definite"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:  # noqa: ANN401  (raw YAML)
        return value if isinstance(value, Mapping | Statement) else {"code": value}

    @classmethod
    def __get_pydantic_json_schema__(
        cls,
        core_schema: Any,  # noqa: ANN401  (of pydantic)
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(core_schema)]}

    @field_validator("code")
    @classmethod
    def _canonical(cls, code: str) -> str:
        words = " ".join(code.lower().split())
        if not words:
            raise ValueError("a statement needs words (found blanks only)")
        return words


MIN_RATE_BPM, MAX_RATE_BPM = 20.0, 300.0

HeartRate = Annotated[float, Field(ge=MIN_RATE_BPM, le=MAX_RATE_BPM)]
MAX_AGE_YEARS = 120.0
Age = Annotated[float, Field(ge=0, le=MAX_AGE_YEARS)]


class CardiacCondition(Spec):
    """The state an ECG is drawn in. ``None`` and ``"unknown"`` mean unknown."""

    statements: tuple[Statement, ...] = ()
    heart_rate_bpm: HeartRate | None = None
    age_years: Age | None = None
    sex: Sex = "unknown"

    @field_validator("age_years")
    @classmethod
    def _censor(cls, age: float | None) -> float | None:
        return None if age is None else (OVER_89_YEARS if age > 89 else age)


def condition_from_columns(columns: Mapping[str, Any], position: int) -> CardiacCondition:
    """Return the condition that stands at ``position`` of a stored table's columns.

    A rate that no condition may have (a detector's on a bad record) is unknown.
    """
    rate = _known(columns["heart_rate_bpm"][position])
    pairs = zip(columns["statements"][position], columns["certainties"][position], strict=True)
    return CardiacCondition(
        statements=tuple(Statement(code=code, certainty=certainty) for code, certainty in pairs),
        heart_rate_bpm=rate if rate and MIN_RATE_BPM <= rate <= MAX_RATE_BPM else None,
        age_years=_known(columns["age_years"][position]),
        sex=columns["sex"][position],
    )


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
