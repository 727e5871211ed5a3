"""Spec: a frozen specification that refuses unknown keys, reads YAML and has a digest."""

import hashlib
import json
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ecgtwin.errors import SpecificationError


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
            raise SpecificationError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.YAMLError as error:
            raise SpecificationError(f"{path}: is not YAML: {error}") from None
        return cls.parse(data, origin=str(path))


def _explain(cls: type[BaseModel], error: ValidationError, origin: str) -> str:
    lines = [_one_fault(cls, dict(fault)) for fault in error.errors(include_url=False)]
    return "\n".join(f"{origin}: {line}" for line in lines)


def _one_fault(cls: type[BaseModel], fault: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "the specification"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields_at(cls, fault["loc"][:-1])))
        return f"{where}: unknown key; allowed here: {known or 'see `ecgtwin spec new`'}"
    if fault["type"] == "missing":
        return f"{where}: is required and was not given"
    return f"{where}: {fault['msg']} (found {fault['input']!r})"


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
        models = inner or [model for model in models if model.__name__ == part] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401  (a type expression)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in getattr(annotation, "__args__", ()) for model in _models_in(arg)]
