"""What may be edited of a condition: statements replaced, added or reweighted.

An edit changes the report of an ECG and keeps person, rate, age, sex and noise.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_never

from pydantic import AfterValidator, Discriminator, Field, Tag

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec, branch
from ecgtwin.spec.condition import CardiacCondition, Statement

# The noise level from which an edit acts where EditSpec.start_time says nothing: about the lowest
# at which it still takes (benchmarks/results/edit-start.json). Rhythm is settled first.
DEFAULT_START = {"replace": 1.0, "add": 0.9, "reweight": 0.9}


def _canonical(code: str) -> str:
    return " ".join(code.lower().split())


Code = Annotated[str, AfterValidator(_canonical), Field(min_length=1, max_length=200)]
Weight = Annotated[float, Field(ge=0, le=20)]


class Replace(Spec):
    """``by`` in the place of ``statement``; the same code with another certainty is one too."""

    kind: Literal["replace"] = "replace"
    statement: Code
    by: Statement


class Add(Spec):
    """One more ``statement``; its share of the attention is multiplied by ``weight``."""

    kind: Literal["add"] = "add"
    statement: Statement
    weight: Weight = 1.0


class Reweight(Spec):
    """The share of the attention that ``statement`` has, multiplied by ``weight``."""

    kind: Literal["reweight"] = "reweight"
    statement: Code
    weight: Weight


def _kind(value: Any) -> str:  # noqa: ANN401  (a raw mapping or a specification)
    kind = value.get("kind", "") if isinstance(value, dict) else getattr(value, "kind", "")
    return branch(str(kind))


Edit = Annotated[
    Annotated[Replace, Tag(branch("replace"))]
    | Annotated[Add, Tag(branch("add"))]
    | Annotated[Reweight, Tag(branch("reweight"))],
    Discriminator(_kind),
]


class EditSpec(Spec):
    """Edits of one condition, made together.

    ``start_time`` is a noise level in [0, 1]: flow time, or step / number of training steps. Above
    it the edited ECG follows the source; None takes the largest ``DEFAULT_START`` of the edits.
    ``renormalise=False`` leaves attention rows whose sum is not 1, as published.
    """

    edits: tuple[Edit, ...] = Field(min_length=1)
    start_time: float | None = Field(default=None, ge=0, le=1)
    renormalise: bool = True

    @property
    def start_level(self) -> float:
        """The noise level from which the edits act."""
        if self.start_time is not None:
            return self.start_time
        return max(DEFAULT_START[edit.kind] for edit in self.edits)


@dataclass(frozen=True, slots=True)
class EditedCondition:
    """A condition after its edits, and where the attention to each of its statements comes from.

    ``source_columns``: the statement of the source whose attention a statement takes over, None
    for one that was added; ``weights``: what that attention is multiplied by.
    """

    condition: CardiacCondition
    source_columns: tuple[int | None, ...]
    weights: tuple[float, ...]


def edited_condition(source: CardiacCondition, spec: EditSpec) -> EditedCondition:
    """Return ``source`` with the edits of ``spec``; added statements stand last, in their order.

    Raises SpecificationError where an edit names a statement that ``source`` lacks, changes one
    twice, makes one stand there twice, or could have no effect.
    """
    statements = list(source.statements)
    weights = [1.0] * len(statements)
    changed: set[tuple[str, int]] = set()
    for place, edit in enumerate(spec.edits):
        origin = f"edits.{place}"
        if isinstance(edit, Add):
            statements.append(edit.statement)
            weights.append(edit.weight)
            continue
        column = _column(source, edit.statement, origin)
        if (edit.kind, column) in changed:
            raise SpecificationError(f"{origin}: a second {edit.kind} of {edit.statement!r}")
        changed.add((edit.kind, column))
        if isinstance(edit, Replace):
            statements[column] = edit.by
        elif isinstance(edit, Reweight):
            weights[column] = edit.weight
        else:
            assert_never(edit)
    _check(source, statements, weights, spec)
    columns = [*range(len(source.statements)), *[None] * (len(statements) - len(source.statements))]
    condition = source.model_copy(update={"statements": tuple(statements)})
    return EditedCondition(condition, tuple(columns), tuple(weights))


def _column(source: CardiacCondition, code: str, origin: str) -> int:
    codes = [statement.code for statement in source.statements]
    if code not in codes:
        raise SpecificationError(
            f"{origin}: the condition has no statement {code!r}; it has {_listed(codes)}"
        )
    if codes.count(code) > 1:
        raise SpecificationError(
            f"{origin}: {code!r} stands in the condition {codes.count(code)} times; keep one"
        )
    return codes.index(code)


def _check(
    source: CardiacCondition, statements: list[Statement], weights: list[float], spec: EditSpec
) -> None:
    codes = [statement.code for statement in statements]
    had = [statement.code for statement in source.statements]
    for code in codes:
        if codes.count(code) > max(1, had.count(code)):
            raise SpecificationError(
                f"edits: the condition would have {code!r} twice; it has {_listed(had)}: reweight "
                "the one that is there, or replace it for another certainty"
            )
    if spec.renormalise and not any(weights):
        raise SpecificationError(
            "edits: every statement would have weight 0; leave one, or set renormalise to false"
        )
    if spec.renormalise and len(codes) == 1 and any(edit.kind == "reweight" for edit in spec.edits):
        raise SpecificationError(
            f"edits: {codes[0]!r} is the only statement and has all the attention, whatever its "
            "weight; set renormalise to false, or add a statement beside it"
        )


def _listed(codes: list[str]) -> str:
    return ", ".join(repr(code) for code in codes) or "none"
