"""What a field of a specification has an effect on: what is made, or how it is made."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import GetJsonSchemaHandler
from pydantic.fields import FieldInfo

from ecgtwin.spec.base import Spec


@dataclass(frozen=True, slots=True)
class Effect:
    """Stands in the annotation of a field, and in the JSON Schema as ``x-effect``."""

    on: Literal["bytes", "run"]

    def __get_pydantic_json_schema__(
        self,
        core_schema: Any,  # noqa: ANN401  (of pydantic)
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return {**handler(core_schema), "x-effect": self.on}


BYTES, RUN = Effect("bytes"), Effect("run")


def effect_of(field: FieldInfo) -> Effect | None:
    """Return the effect that a field's annotation states; None: that of what holds it."""
    return next((one for one in field.metadata if isinstance(one, Effect)), None)


def bytes_fields(spec: Spec) -> dict[str, Any]:
    """Return the fields that decide what is made, as JSON-able values.

    What is absent (None, an empty list) is left out: a field that is added later changes nothing
    until somebody uses it.
    """
    written = spec.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        if effect_of(field) == RUN:
            continue
        value = getattr(spec, name)
        found[name] = bytes_fields(value) if isinstance(value, Spec) else _present(written[name])
    return {name: value for name, value in found.items() if not _is_absent(value)}


def _present(value: Any) -> Any:  # noqa: ANN401  (JSON)
    if isinstance(value, dict):
        inner = {name: _present(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if not _is_absent(one)}
    return [_present(one) for one in value] if isinstance(value, list) else value


def _is_absent(value: Any) -> bool:  # noqa: ANN401
    return value is None or value in ([], {})
