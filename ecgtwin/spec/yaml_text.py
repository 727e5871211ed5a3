"""YAML as a person wrote it: values with their places, and a word on what YAML makes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.yaml_document import MAX_BYTES, MEANINGS, NUMBERS, Place, place_of, read_document


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
        return cls(origin, *read_document(content, origin))

    def place_of(self, location: Sequence[int | str]) -> Place | None:
        """Return where the value at ``location`` stands, or else what should hold it.

        Words of ``location`` that are no keys there (forms of a field) are passed over.
        """
        node = self._node_at(location)
        return None if node is None else place_of(node)

    def place_of_key(self, location: Sequence[int | str]) -> Place | None:
        """Return where the last word of ``location`` stands as a key."""
        node = self._node_at(location[:-1])
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if key.value == str(location[-1]):
                    return place_of(key)
        return None if node is None else place_of(node)

    def meaning_of(self, location: Sequence[int | str]) -> str | None:
        """Return what a bare word means to YAML, if not a text: "0123, a whole number"."""
        node = self._node_at(location)
        if not isinstance(node, yaml.ScalarNode) or node.style:  # in quotes: a text
            return None
        meaning = MEANINGS.get(node.tag)
        if meaning is None or not node.value:
            return meaning and "an empty place"
        return f"{_short(node.value)}, {meaning}"

    def odd_key_of(self, location: Sequence[int | str]) -> tuple[Place, str] | None:
        """Return where a mapping has a key that is no text to YAML, and what it is."""
        node = self._node_at(location)
        pairs: Any = node.value if isinstance(node, yaml.MappingNode) else ()
        for key, _ in pairs:
            if key.tag in MEANINGS and not key.style:
                word = _short(key.value) or "an empty place"
                return place_of(key), f"{word}, {MEANINGS[key.tag]}"
        return None

    def odd_number(self) -> tuple[tuple[int | str, ...], str] | None:
        """Return where a number stands that YAML reads as people do not, and how it does."""
        stack: list[tuple[tuple[int | str, ...], yaml.Node]] = []
        stack += [] if self.root is None else [((), self.root)]
        while stack:
            location, node = stack.pop()
            if isinstance(node, yaml.MappingNode):
                stack += [((*location, key.value), value) for key, value in reversed(node.value)]
            elif isinstance(node, yaml.SequenceNode):
                places = reversed(list(enumerate(node.value)))
                stack += [((*location, place), value) for place, value in places]
            elif (
                isinstance(node, yaml.ScalarNode)
                and not node.style
                and MEANINGS.get(node.tag) in NUMBERS
            ):
                way = _odd_way(node.value)
                if way:
                    return location, f"{node.value} {way}"
        return None

    def _node_at(self, location: Sequence[int | str]) -> yaml.Node | None:
        node = self.root
        for part in location:
            inner = _inside(node, part)
            node = node if inner is None else inner
        return node


def _short(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:20]}...{word[-10:]}"


def _odd_way(number: str) -> str | None:
    """Return how YAML 1.1 reads a number that does not say what it seems to."""
    is_octal = re.fullmatch(r"[-+]?0[0-7_]+", number)
    if not is_octal and ":" not in number:
        return None
    value: Any = yaml.safe_load(number)
    if not is_octal:
        return f"is {value} to YAML, which counts by sixties here; write {value}"
    plain = int(number)
    if value == plain:
        return None
    return f"is {value} to YAML, which counts by eights here; write {value} or {plain}"


def _inside(node: yaml.Node | None, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                found: yaml.Node = value
                return found
    return None
