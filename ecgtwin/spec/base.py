"""Spec: a frozen specification that refuses unknown keys, reads YAML and has a digest."""

import difflib
import hashlib
import json
import reprlib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.yaml_text import YamlText

_BRANCH = "="
_WORDS = {
    "a valid array": "a list",
    "an object": "keys and values",
    "a valid tuple": "a list",
    "Tuple should": "List should",
    " after validation, not 0": "",
    "a valid dictionary": "keys and values",
}


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
            return cls.model_validate_json(json.dumps(text.data), strict=True)
        except ValidationError as error:
            raise SpecificationError(_explain(cls, error, text)) from None


def branch(name: str) -> str:
    """Return the tag of one form that a field may take: known to messages, not shown in them."""
    return _BRANCH + name


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
                    at = _at(text.place_of_key((*location, key)))
                    raise SpecificationError(
                        f"{text.origin}: {at}{_where(location)}: a key is a word (found {key!r})"
                    )
            stack += [((*location, str(key)), one) for key, one in value.items()]
        elif isinstance(value, list | tuple):
            stack += [((*location, place), one) for place, one in enumerate(value)]
        elif not isinstance(value, str | int | float | None):
            where, at = _where(location), _at(text.place_of(location))
            raise SpecificationError(
                f"{text.origin}: {at}{where}: {_found(text, location, value)} stands where a text "
                f"or a number is wanted; put it in quotes"
            )


def _explain(cls: type[BaseModel], error: ValidationError, text: YamlText) -> str:
    faults = [dict(fault) for fault in error.errors(include_url=False)]
    lines = [_one_fault(cls, fault, text) for fault in faults if not _follows(fault, faults)]
    return "\n".join(f"{text.origin}: {line}" for line in lines)


def _follows(fault: dict[str, Any], faults: list[dict[str, Any]]) -> bool:
    """Say whether a sequence is too short only because its entries have faults of their own."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        other["loc"][: len(place)] == place for other in faults if other is not fault
    )


def _one_fault(cls: type[BaseModel], fault: dict[str, Any], text: YamlText) -> str:
    location = tuple(part for part in fault["loc"] if not str(part).startswith(_BRANCH))
    where = _where(location)
    if fault["type"] == "extra_forbidden":
        known = sorted(_fields_at(cls, fault["loc"][:-1]))
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = f", {near[0]} perhaps" if near else ""
        allowed = ", ".join(known) or "see `ecgtwin spec new`"
        at = _at(text.place_of_key(location))
        return f"{at}{where}: unknown key{meant}; allowed here: {allowed}"
    at = _at(text.place_of(location))
    if fault["type"] == "missing":
        return f"{at}{where}: is required and was not given"
    if fault["type"] == "union_tag_invalid":
        return at + _unknown_kind(where, fault)
    if fault["type"] == "value_error":  # ours: it says what was found
        return f"{at}{where}: {fault['ctx']['error']}"
    message = fault["msg"]
    for pydantics, ours in _WORDS.items():
        message = message.replace(pydantics, ours)
    found = _found(text, location, fault["input"])
    quotes = (
        "; put it in quotes" if fault["type"] == "string_type" and text.meaning_of(location) else ""
    )
    return f"{at}{where}: {message.partition(' or instance of')[0]} (found {found}){quotes}"


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the specification"


def _at(place: object) -> str:
    return "" if place is None else f"{place}: "


def _found(text: YamlText, location: tuple[int | str, ...], value: object) -> str:
    """Return the value as it was written, and what YAML took it for where that was no text."""
    return text.meaning_of(location) or reprlib.repr(value)


def _unknown_kind(where: str, fault: dict[str, Any]) -> str:
    """Return the line on a value whose ``kind`` names none of the forms that it may take."""
    tags = fault["ctx"]["expected_tags"].split(", ")
    allowed = ", ".join(sorted(tag.strip("'").removeprefix(_BRANCH) for tag in tags))
    found = fault["input"]
    if not isinstance(found, dict):
        return (
            f"{where}: needs keys and values, kind one of {allowed} (found {reprlib.repr(found)})"
        )
    if "kind" not in found:
        return f"{where}.kind: is required and was not given; allowed: {allowed}"
    return f"{where}.kind: {reprlib.repr(found['kind'])} is unknown; allowed: {allowed}"


def _fields_at(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that stands at ``location`` inside ``cls``."""
    models = [cls]
    for part in location:
        if isinstance(part, int):
            continue
        inner = [
            model
            for owner in models
            if part in owner.model_fields
            for model in _models_in(owner.model_fields[part].annotation)
        ]
        models = inner or [one for one in models if part in _branches(one)] or models
    return list({name for model in models for name in model.model_fields})


def _branches(model: type[BaseModel]) -> set[str]:
    """Return the tags that a form of a field may bear: of its name, or of its kind."""
    kind = model.model_fields.get("kind")
    return {branch(model.__name__)} | ({branch(str(kind.default))} if kind else set())


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401  (a type expression)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models_in(arg)]
