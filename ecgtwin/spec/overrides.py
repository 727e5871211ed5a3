"""Single values set on a command line: ``signal.highpass_hz=0.5``."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ecgtwin.errors import SpecificationError


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``values`` with each ``name.of.field=value`` put in; values are YAML.

    SpecificationError for what is no such text; unknown names are left to the specification.
    """
    changed = {**values}
    for text in overrides:
        path, equals, value = text.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise SpecificationError(f"--set {text!r}: write NAME=VALUE, such as num_samples=2048")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SpecificationError(f"--set {text!r}: the value is not YAML") from None
        _put(changed, names, parsed)
    return changed


def _put(values: dict[str, Any], names: Sequence[str], value: object) -> None:
    for name in names[:-1]:
        inner = values.get(name)
        values[name] = {**inner} if isinstance(inner, dict) else {}
        values = values[name]
    values[names[-1]] = value
