"""Specifications written as YAML that people read: commented, minimal, the same for the same."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from ecgtwin.spec.cohort import CohortSpec

WIDTH = 100
_LINE_BREAKS = "\x85\u2028\u2029\ufeff"  # of Unicode; the YAML library folds them unquoted


def write_yaml(
    values: Mapping[str, Any],
    *,
    head: Sequence[str],
    comments: Mapping[str, Sequence[str]],
    examples: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return ``values`` as YAML, in their order, with a head and comments before the parts.

    Lists and mappings without others in them stand on one line. In the place of a value that is
    among ``examples`` that one stands, commented out.
    """
    lines = [_comment(line) for line in head]
    for name, value in values.items():
        own = comments.get(name, ())
        is_block = bool(own) or isinstance(value, Mapping | list)
        if is_block and lines and lines[-1]:
            lines.append("")
        lines += [_comment(line) for line in own]
        if name in examples:
            lines += [_comment(line) for line in examples[name].splitlines()]
        else:
            lines += _dumped(name, value).splitlines()
        if is_block:
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def minimal(spec: CohortSpec) -> dict[str, Any]:
    """Return the fields of ``spec`` that differ from what they would be anyway, as YAML values."""
    found: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=True)
    return {**found, "conditions": _shortened(found["conditions"])}


def _shortened(value: Any) -> Any:  # noqa: ANN401  (of YAML)
    """Return values in which a definite statement is its code alone, and reports come first."""
    if isinstance(value, dict):
        if value.keys() == {"code"}:
            return value["code"]
        first = [key for key in ("label", "statements") if key in value]
        return {key: _shortened(value[key]) for key in dict.fromkeys([*first, *value])}
    return [_shortened(one) for one in value] if isinstance(value, list) else value


class _Dumper(yaml.SafeDumper):
    """Indents the entries of lists, and writes 60.0 as 60."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _whole_number(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    if value.is_integer() and abs(value) < 1e15:
        return dumper.represent_int(int(value))
    return dumper.represent_float(value)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    is_broken = any(mark in value for mark in _LINE_BREAKS)
    begins_quoted = value.startswith("'") and not any(mark in value for mark in '"\\\n')
    style = '"' if is_broken or begins_quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _whole_number)
_Dumper.add_representer(str, _text)


def _dumped(name: str, value: object) -> str:
    return yaml.dump(
        {name: value},
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None if isinstance(value, Mapping | list) else False,
        allow_unicode=True,
        width=WIDTH,
    )


def _comment(line: str) -> str:
    return f"# {line}".rstrip()
