"""The tree of an expression: literals, fields, comparisons and arithmetic on them.

The parser makes it (``spec.expression``), ``spec.expression_values`` says what it comes to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Literally:
    """A number, or a text, as it stands there."""

    value: float | str


@dataclass(frozen=True, slots=True)
class Field:
    """The value of a named field."""

    name: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left`` and ``right`` joined by one of + - * /."""

    sign: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left`` and ``right`` joined by one of < <= == != >= >, or by ``in``."""

    sign: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class IsKnown:
    """Whether the value of a field is known; never unknown itself."""

    of: "Node"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: "Node"


@dataclass(frozen=True, slots=True)
class Junction:
    """``and`` or ``or`` of two truths."""

    word: Literal["and", "or"]
    left: "Node"
    right: "Node"


Node = Literally | Field | Arithmetic | Comparison | IsKnown | Not | Junction


def fields_of(node: Node) -> frozenset[str]:
    """Return the names of the fields that ``node`` looks at."""
    return frozenset(one.name for one in _walk(node) if isinstance(one, Field))


def texts_sought_in(node: Node) -> dict[str, list[str]]:
    """Return, by the name of a field of statements, the texts that are sought in it."""
    found: dict[str, list[str]] = {}
    for one in _walk(node):
        match one:
            case Comparison("in", Literally(str() as text), Field(name)):
                found.setdefault(name, []).append(text)
    return found


def _walk(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Arithmetic(_, left, right) | Comparison(_, left, right) | Junction(_, left, right):
            yield from _walk(left)
            yield from _walk(right)
        case IsKnown(of) | Not(of):
            yield from _walk(of)
