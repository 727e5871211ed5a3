"""A YAML document, read safely: values, and the nodes that say where each came from.

Refused with line and column: what is no YAML, a key that stands twice; files, numbers, nesting and
aliases beyond a limit (an alias of aliases can stand for more values than a machine can hold).
"""

import codecs
import re
import reprlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from yaml.constructor import ConstructorError

from ecgtwin.errors import SpecificationError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 40
MAX_ALIASES = 100
MAX_VALUES = 500_000  # aliases written out
MAX_DIGITS = 100  # of a number: one of a million digits would take hours

if TYPE_CHECKING:
    _SafeLoader = yaml.SafeLoader
else:
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_NO_TABS = "indent by spaces, not by tabs"
_SAME_COLUMN = "do the lines above and below begin in the same column?"
# What a parser says, or what it was at, and what a person can do.
_ADVICE = (
    (
        "mapping values are not allowed",
        "is a colon missing its space, a text its quotes, or does the line begin too far right?",
    ),
    ("could not find expected ':'", "is a colon missing, or the space after it?"),
    ("did not find expected key", f"{_SAME_COLUMN} Is there a quote or a bracket too many?"),
    (
        "did not find expected '-' indicator",
        f"{_SAME_COLUMN} A text that only begins with a quoted word is put in quotes as a whole",
    ),
    ("cannot start any token", "put the text in quotes"),
    ("undefined alias", "put the text in quotes if it begins with *"),
    ("unknown escape character", r"a \ stands in single quotes, not in double ones"),
    ("a constructor for the tag", "put the text in quotes if it begins with !"),
    ("a tag", "put the text in quotes if it begins with !"),
    ("while scanning a directive", "put the text in quotes if it begins with %"),
    ("maximum nesting depth", "nest less"),
    ("found another document", "one file holds one specification: remove ---"),
    ("expected <document start>", "one file holds one specification: remove ... and ---"),
)
_OPEN = {
    "while parsing a flow sequence": "the bracket [",
    "while parsing a flow mapping": "the brace {",
    "while scanning a quoted scalar": "the quote",
}
# What YAML 1.1 makes of bare words, where a text was meant.
MEANINGS = {
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:null": "nothing",
}
NUMBERS = ("a whole number", "a number")


class _Loader(_SafeLoader):
    """A safe loader that gives a place to values that are not what their form says."""

    def construct_scalar(self, node: Any) -> Any:  # noqa: ANN401
        text = super().construct_scalar(node)
        if MEANINGS.get(node.tag) in NUMBERS and len(text) > MAX_DIGITS:
            raise _no_value(node, f"a number of {len(text):,} characters; allowed are {MAX_DIGITS}")
        return text

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError):
            wanted = MEANINGS.get(node.tag, node.tag)
            words = f"{reprlib.repr(node.value)} cannot be read as {wanted}; put a text in quotes"
            raise _no_value(node, words) from None


def _no_value(node: yaml.Node, words: str) -> ConstructorError:
    return ConstructorError(None, None, words, node.start_mark)


class Place(NamedTuple):
    """Line and column, from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


def read_document(content: bytes, origin: str) -> tuple[Any, yaml.Node | None]:
    """Return values and nodes of a file's content, which ``origin`` names in messages."""
    if len(content) > MAX_BYTES:
        raise SpecificationError(
            f"{origin}: is larger than {MAX_BYTES // 2**20} MiB; a specification is a page, "
            f"lists of patients belong in a table"
        )
    text = _decoded(content.removeprefix(codecs.BOM_UTF8), origin)
    try:
        _check_events(text, origin)
        loader = _Loader(text)
        root: Any = loader.get_single_node()
        _check_keys(root, origin)
        return None if root is None else loader.construct_document(root), root
    except yaml.YAMLError as error:
        raise SpecificationError(f"{origin}: is not YAML: {_problem(error, text)}") from None


def _decoded(content: bytes, origin: str) -> str:
    """Return the text; refuse what is none."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise SpecificationError(
            f"{origin}: is not YAML: {_end_of(before)}: byte {content[error.start]:#04x} is not "
            f"UTF-8; save it as a text in UTF-8"
        ) from None
    stray = _NO_TEXT.search(text)
    if stray:
        raise SpecificationError(
            f"{origin}: is not YAML: {_end_of(text[: stray.start()])}: a control character "
            f"({ord(stray.group()):#04x}) has no place in a text; remove it"
        )
    return text


def _end_of(text: str) -> Place:
    """Return the place that follows ``text``."""
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


def place_of(node: yaml.Node | yaml.Event) -> Place:
    """Return where it begins."""
    mark: Any = node.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _check_events(text: str, origin: str) -> None:
    """Refuse size, depth and aliases before anything is built: events are read one at a time."""
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        what = (
            (depth > MAX_DEPTH and f"stands inside more than {MAX_DEPTH} others; nest less")
            or (aliases > MAX_ALIASES and f"is one of more than {MAX_ALIASES} aliases; use fewer")
            or (count > MAX_VALUES and f"is one of more than {MAX_VALUES:,} values; write fewer")
        )
        if what:
            raise SpecificationError(f"{origin}: {place_of(event)}: this {what}")


def _check_keys(root: yaml.Node | None, origin: str) -> None:
    """Refuse keys that stand twice in a mapping, and aliases that stand for too many values."""
    sizes: dict[int, int] = {}
    for node in _bottom_up(root):
        if isinstance(node, yaml.MappingNode):
            _check_mapping(node, origin)
        held = [sizes.get(id(one)) for one in _held(node)]
        if None in held:
            raise SpecificationError(
                f"{origin}: {place_of(node)}: this holds itself, by an alias; write it out"
            )
        size = sizes[id(node)] = 1 + sum(one or 0 for one in held)
        if size > MAX_VALUES:
            raise SpecificationError(
                f"{origin}: {place_of(node)}: this stands for more than {MAX_VALUES:,} values, "
                f"aliases written out; use fewer aliases"
            )


def _bottom_up(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield each node once, after those that it holds, but for those that hold it."""
    seen: set[int] = set()
    stack = [] if root is None else [(root, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(one, False) for one in _held(node)]


def _held(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return []


def _check_mapping(node: yaml.MappingNode, origin: str) -> None:
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SpecificationError(
                f"{origin}: {place_of(key)}: a key is a word, not a list or keys and values; put a "
                f"text in quotes"
            )
        if key.value in first:
            raise SpecificationError(
                f"{origin}: {place_of(key)}: {key.value!r} stands here twice, first in line "
                f"{place_of(first[key.value]).line}; YAML would keep the last: remove one"
            )
        first[key.value] = key


def _problem(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be understood"
    context, begin = getattr(error, "context", None) or "", getattr(error, "context_mark", None)
    if problem.startswith("but "):
        problem = f"{context}, {problem}"
    if context == "while scanning a simple key" and begin is not None:
        mark = begin  # the line itself, not where the next one begins
    line = "".join(text.splitlines()[mark.line : mark.line + 1])
    words = [words for sign, words in _ADVICE if sign in f"{context}: {problem}"]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        words = [_NO_TABS]
    elif context in _OPEN and begin is not None:
        words = [f"is {_OPEN[context]} of line {begin.line + 1}, column {begin.column + 1} closed?"]
    advice = "".join(f"; {one}" for one in words[:1])
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{advice}"
