"""Single values set on a command line: ``signal.highpass_hz=0.5``."""

from collections.abc import Mapping, Sequence
from typing import Any

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import plain_yaml


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
        parsed = plain_yaml(value, origin=f"--set {text!r}")
        _put(changed, names, parsed, text)
    return changed


def _put(values: dict[str, Any], names: Sequence[str], value: object, text: str) -> None:
    holder: Any = values
    for name in names[:-1]:
        inner = _at(holder, name, text)
        copy: Any = [*inner] if isinstance(inner, list) else {}
        if isinstance(inner, dict):
            copy = {**inner}
        holder[int(name) if isinstance(holder, list) else name] = copy
        holder = copy
    _at(holder, names[-1], text)
    holder[int(names[-1]) if isinstance(holder, list) else names[-1]] = value


def _at(holder: Any, name: str, text: str) -> Any:  # noqa: ANN401  (YAML values)
    """Return what stands at ``name``, None where nothing does; an entry of a list must be there."""
    if isinstance(holder, list):
        if not name.isdecimal() or int(name) >= len(holder):
            raise SpecificationError(
                f"--set {text!r}: {name!r} is no entry of a list of {len(holder)}; they are "
                "numbered from 0"
            )
        return holder[int(name)]
    return holder.get(name)
