"""Spec: a frozen specification that refuses unknown keys, reads YAML and has a digest."""

import hashlib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.faults import at, explain, found_at, where
from ecgtwin.spec.forms import BRANCH
from ecgtwin.spec.yaml_text import YamlText


def digest_of(value: object) -> str:
    """Return the hex BLAKE2b-128 digest of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Spec(BaseModel):
    """A frozen specification which rejects unknown keys.

    What is read is taken as it stands: ``"60"`` is no number, ``yes`` no text, NaN nothing at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Return a digest of every field."""
        return digest_of(self.model_dump(mode="json"))

    @classmethod
    def schema_text(cls) -> str:
        """Return the JSON Schema (draft 2020-12) as text."""
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        schema |= cls.model_json_schema()
        return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, data: object, *, origin: str) -> Self:
        """Validate plain values, and specifications among them; errors have a line per fault."""
        return cls.parse_text(YamlText(origin, _plain(data)))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read one specification from a YAML file; errors say line and column."""
        return cls.parse_text(YamlText.read(path))

    @classmethod
    def parse_text(cls, text: YamlText) -> Self:
        """Validate what was read; raise SpecificationError with one line per fault."""
        _check_plain(text)
        try:
            # As JSON, where a list is a tuple and nothing else is another thing than it is.
            found = cls.model_validate_json(json.dumps(text.data), strict=True)
        except ValidationError as error:
            raise SpecificationError(explain(cls, error, text)) from None
        _check_numbers(text)
        return found


def plain_yaml(text: str, *, origin: str) -> Any:  # noqa: ANN401  (YAML values)
    """Return what YAML makes of a text, read as strictly as a specification."""
    read = YamlText.of(text.encode(), origin=origin)
    _check_plain(read)
    _check_numbers(read)
    return read.data


def branch(name: str) -> str:
    """Return the tag of one form that a field may take: known to messages, not shown in them."""
    return BRANCH + name


def _plain(data: object) -> object:
    """Return ``data`` with specifications in it as plain values."""
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(one) for one in data] if isinstance(data, list | tuple) else data


def _check_plain(text: YamlText) -> None:
    """Refuse values that no field takes: YAML has dates, and keys that are no words."""
    stack: list[tuple[tuple[int | str, ...], object]] = [((), text.data)]
    while stack:
        location, value = stack.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    place, found = text.odd_key_of(location) or (None, repr(key))
                    raise SpecificationError(
                        f"{text.origin}: {at(place)}{where(location)}: a key is a word "
                        f"(found {found}); put it in quotes"
                    )
            stack += [((*location, key), one) for key, one in value.items()]
        elif isinstance(value, list | tuple):
            stack += [((*location, place), one) for place, one in enumerate(value)]
        elif not isinstance(value, str | int | float | None):
            raise SpecificationError(
                f"{text.origin}: {at(text.place_of(location))}{where(location)}: "
                f"{found_at(text, location, value)} stands where a text or a number is wanted; "
                f"put it in quotes"
            )


def _check_numbers(text: YamlText) -> None:
    """Refuse numbers that are others to YAML than to a person."""
    odd = text.odd_number()
    if odd is not None:
        location, words = odd
        raise SpecificationError(
            f"{text.origin}: {at(text.place_of(location))}{where(location)}: {words}"
        )
