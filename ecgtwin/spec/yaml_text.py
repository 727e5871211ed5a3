"""YAML as a person wrote it: values with their places, and a word on what YAML makes of them.

Refused with line and column: what is no YAML, a key that stands twice, files, nesting and aliases
beyond a limit (an alias of aliases can stand for more values than a machine can hold).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ecgtwin.errors import SpecificationError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 40
MAX_ALIASES = 100
MAX_VALUES = 500_000  # aliases written out

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NO_TABS = "indent by spaces, not by tabs"
_ADVICE = (
    ("mapping values are not allowed", "is a colon missing its space, or a text its quotes?"),
    ("could not find expected ':'", "is a colon missing?"),
    ("did not find expected key", "do the lines above and below begin in the same column?"),
)
# What YAML 1.1 makes of bare words, where a text was meant.
_MEANINGS = {
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:null": "nothing",
}


class Place(NamedTuple):
    """Line and column, from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class YamlText:
    """One document: ``data`` as plain values, and where each came from."""

    origin: str
    data: Any
    root: yaml.Node | None = None  # None: not read from a text, places are not known

    @classmethod
    def read(cls, path: str | Path) -> "YamlText":
        """Read a file; raise SpecificationError saying what is wrong, and where."""
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SpecificationError(
                f"{path}: cannot be read ({error.strerror}); give the path of a YAML file"
            ) from None
        return cls.of(content, origin=str(path))

    @classmethod
    def of(cls, content: bytes, *, origin: str) -> "YamlText":
        """Read the content of a file; ``origin`` names it in messages."""
        if len(content) > MAX_BYTES:
            raise SpecificationError(
                f"{origin}: is larger than {MAX_BYTES // 2**20} MiB; a specification is a page, "
                f"lists of patients belong in a table"
            )
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise SpecificationError(
                f"{origin}: is not YAML: line {line}: byte {content[error.start]:#04x} is not UTF-8"
            ) from None
        try:
            _check_events(text, origin)
            root = yaml.compose(text, Loader=_LOADER)
            _check_keys(root, origin)
            data = yaml.load(text, Loader=_LOADER)  # a safe one
        except yaml.YAMLError as error:
            raise SpecificationError(f"{origin}: is not YAML: {_problem(error, text)}") from None
        except ValueError as error:  # a date that there is not
            raise SpecificationError(f"{origin}: is not YAML: {error}") from None
        return cls(origin, data, root)

    def place_of(self, location: Sequence[int | str]) -> Place | None:
        """Return where the value at ``location`` stands, or else what should hold it.

        Words of ``location`` that are no keys there (forms of a field) are passed over.
        """
        node = self._node_at(location)
        return None if node is None else _place(node)

    def place_of_key(self, location: Sequence[int | str]) -> Place | None:
        """Return where the last word of ``location`` stands as a key."""
        node = self._node_at(location[:-1])
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if key.value == str(location[-1]):
                    return _place(key)
        return None if node is None else _place(node)

    def meaning_of(self, location: Sequence[int | str]) -> str | None:
        """Return what a bare word means to YAML, if not a text: "0123, a whole number"."""
        node = self._node_at(location)
        if not isinstance(node, yaml.ScalarNode) or node.style:
            return None
        meaning = _MEANINGS.get(node.tag)
        return None if meaning is None else f"{node.value or 'an empty place'}, {meaning}"

    def _node_at(self, location: Sequence[int | str]) -> yaml.Node | None:
        node = self.root
        for part in location:
            inner = _inside(node, part)
            node = node if inner is None else inner
        return node


def _inside(node: yaml.Node | None, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                found: yaml.Node = value
                return found
    return None


def _place(node: yaml.Node | yaml.Event) -> Place:
    mark: Any = node.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _check_events(text: str, origin: str) -> None:
    """Refuse depth and aliases before anything is built: events are read one at a time."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > MAX_DEPTH or aliases > MAX_ALIASES:
            what = (
                f"stands inside more than {MAX_DEPTH} others"
                if depth > MAX_DEPTH
                else f"is one of more than {MAX_ALIASES} aliases"
            )
            raise SpecificationError(
                f"{origin}: {_place(event)}: this {what}; write it out plainly"
            )


def _check_keys(root: yaml.Node | None, origin: str) -> None:
    """Refuse keys that stand twice in a mapping, and aliases that stand for too many values."""
    sizes: dict[int, int] = {}
    for node in _bottom_up(root):
        if isinstance(node, yaml.MappingNode):
            _check_mapping(node, origin)
        held = [sizes.get(id(one)) for one in _held(node)]
        if None in held:
            raise SpecificationError(f"{origin}: {_place(node)}: this holds itself, by an alias")
        size = sizes[id(node)] = 1 + sum(one or 0 for one in held)
        if size > MAX_VALUES:
            raise SpecificationError(
                f"{origin}: {_place(node)}: this stands for more than {MAX_VALUES:,} values, "
                f"aliases written out; write it out plainly"
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
            raise SpecificationError(f"{origin}: {_place(key)}: a key is a word, not a list")
        if key.value in first:
            raise SpecificationError(
                f"{origin}: {_place(key)}: {key.value!r} stands here twice, first in line "
                f"{_place(first[key.value]).line}; YAML would keep the last: remove one"
            )
        first[key.value] = key


def _problem(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be understood"
    line = "".join(text.splitlines()[mark.line : mark.line + 1])
    is_indented_by_tab = "\t" in line[: len(line) - len(line.lstrip())]
    words = [words for sign, words in _ADVICE if sign in problem]
    advice = "".join(f"; {one}" for one in ([_NO_TABS] if is_indented_by_tab else words))
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{advice}"
