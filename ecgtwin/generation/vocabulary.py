"""The statements of a specification in the words of the recordings a checkpoint was trained on."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ecgtwin.errors import SpecificationError
from ecgtwin.sources.naming import canonical_code, nearest_codes
from ecgtwin.sources.statements import canonical_codes
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.constraints import Constraint
from ecgtwin.spec.expression import with_sought_texts
from ecgtwin.spec.expression_tree import texts_sought_in
from ecgtwin.spec.yaml_text import YamlText
from ecgtwin.twin.checkpoint import read_provenance

_MOST_LINES = 10

Location = tuple[int | str, ...]


def known_statements(provenance: Mapping[str, object]) -> frozenset[str] | None:
    """Return the statements that a checkpoint has learnt; None where it does not say."""
    found = provenance.get("statements")
    return frozenset(found) if isinstance(found, Mapping) and found else None


def checked_specification(path: str) -> CohortSpec:
    """Read a specification and check its statements against its checkpoint.

    Raises SpecificationError with line and column of each mistake; the weights are not read.
    """
    text = YamlText.read(path)
    spec = CohortSpec.parse_text(text)
    return in_known_words(spec, known_statements(read_provenance(spec.checkpoint)), text=text)


def in_known_words(
    spec: CohortSpec, known: Collection[str] | None, *, text: YamlText | None = None
) -> CohortSpec:
    """Return ``spec`` with every statement, abbreviation or code as the statement it stands for.

    Raises SpecificationError with a line for each that is not among ``known`` (None: all pass as
    they are), its place in ``text`` and the three nearest.
    """
    words = canonical_codes() if known is None else known
    values = spec.model_dump(mode="json")
    unknown: list[tuple[Location, str]] = []
    changed = False
    for location, code in [*_statements(values["conditions"], ("conditions",)), *_sought(spec)]:
        stands_for = canonical_code(code, words)
        if stands_for is None:
            unknown.append((location, code))
        elif stands_for != code:
            _put(values, location, code, stands_for)
            changed = True
    if unknown and known is not None:
        raise SpecificationError("\n".join(_complaints(unknown, known, text)))
    _check_each_once(values["conditions"], text)
    return CohortSpec.parse(values, origin="the specification") if changed else spec


def _check_each_once(conditions: object, text: YamlText | None) -> None:
    """Refuse a report that says one thing twice, perhaps under two names."""
    seen: dict[tuple[Location, str], Location] = {}
    for location, code in _statements(conditions, ("conditions",)):
        *report, _, _ = location  # the number of the statement, and its code
        before = seen.setdefault((tuple(report), code), location)
        if before is not location:
            place = "" if text is None else f"{text.origin}: {text.place_of(location)}: "
            raise SpecificationError(
                f"{place}{'.'.join(map(str, location[:-1]))}: {code!r} stands in this report "
                "already, perhaps under another name; leave one out"
            )


def _statements(value: object, location: Location) -> Iterator[tuple[Location, str]]:
    """Yield where the code of each statement is, and the code."""
    if isinstance(value, dict):
        if "code" in value:
            yield (*location, "code"), value["code"]
        else:
            for name, inner in value.items():
                yield from _statements(inner, (*location, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _statements(inner, (*location, place))


def _sought(spec: CohortSpec) -> Iterator[tuple[Location, str]]:
    for place, constraint in enumerate(spec.constraints):
        for texts in texts_sought_in(Constraint.of(constraint).node).values():
            for text in texts:
                yield ("constraints", place), text


def _put(values: Any, location: Location, code: str, stands_for: str) -> None:  # noqa: ANN401
    *way, last = location
    for part in way:
        values = values[part]
    is_statement = last == "code"
    values[last] = (
        stands_for if is_statement else with_sought_texts(values[last], {code: stands_for})
    )


def _complaints(
    unknown: list[tuple[Location, str]], known: Collection[str], text: YamlText | None
) -> Iterator[str]:
    for location, code in unknown[:_MOST_LINES]:
        place = None if text is None else text.place_of(location)
        where = ".".join(str(part) for part in location if part != "code")
        near = ", ".join(map(repr, nearest_codes(code, known)))
        yield (
            f"{'' if text is None else f'{text.origin}: '}{'' if place is None else f'{place}: '}"
            f"{where}: no recording that the checkpoint was trained on shows {code!r}; "
            f"the nearest that it knows are {near}"
        )
    if len(unknown) > _MOST_LINES:
        yield f"and {len(unknown) - _MOST_LINES:,} more statements that it does not know"
