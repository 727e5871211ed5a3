"""Spec: a frozen specification that refuses unknown keys, reads YAML and has a digest."""

import hashlib
import json
import reprlib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ecgtwin.errors import SpecificationError

_BRANCH = "="
_WORDS = {
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
    """A frozen specification which rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return a digest of every field."""
        return digest_of(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, data: object, *, origin: str) -> Self:
        """Validate ``data``; raise SpecificationError with one line per fault."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecificationError(_explain(cls, error, origin)) from None

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read one specification from a YAML file."""
        try:
            data = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise SpecificationError(
                f"{path}: cannot be read ({error.strerror}); give the path of a YAML file"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SpecificationError(f"{path}: is not YAML: {_place(error)}") from None
        return cls.parse(data, origin=str(path))


def branch(name: str) -> str:
    """Return the tag of one form that a field may take: known to messages, not shown in them."""
    return _BRANCH + name


def _place(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be understood"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _explain(cls: type[BaseModel], error: ValidationError, origin: str) -> str:
    faults = [dict(fault) for fault in error.errors(include_url=False)]
    lines = [_one_fault(cls, fault) for fault in faults if not _follows(fault, faults)]
    return "\n".join(f"{origin}: {line}" for line in lines)


def _follows(fault: dict[str, Any], faults: list[dict[str, Any]]) -> bool:
    """Say whether a sequence is too short only because its entries have faults of their own."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        other["loc"][: len(place)] == place for other in faults if other is not fault
    )


def _one_fault(cls: type[BaseModel], fault: dict[str, Any]) -> str:
    shown = [str(part) for part in fault["loc"] if not str(part).startswith(_BRANCH)]
    where = ".".join(shown) or "the specification"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields_at(cls, fault["loc"][:-1])))
        return f"{where}: unknown key; allowed here: {known or 'see `ecgtwin spec new`'}"
    if fault["type"] == "missing":
        return f"{where}: is required and was not given"
    if fault["type"] == "union_tag_invalid":
        return _unknown_kind(where, fault)
    if fault["type"] == "value_error":  # ours: it says what was found
        return f"{where}: {fault['ctx']['error']}"
    message = fault["msg"]
    for pydantics, ours in _WORDS.items():
        message = message.replace(pydantics, ours)
    return (
        f"{where}: {message.partition(' or instance of')[0]} (found {reprlib.repr(fault['input'])})"
    )


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
