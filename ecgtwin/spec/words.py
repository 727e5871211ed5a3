"""Short forms in which statements, values and strata are written on a command line or in a table.

sinus rhythm, ventricular premature complex (possible)      a report
60      60,80,100      60:100:10      own                   values; START:STOP:STEP is a range
{distribution: normal, mean: 75, sd: 10, low: 50, high: 110, count: 20}         YAML as well
REPORT @ RATES                                              a condition
REPORT @ RATES = COUNT                                      a stratum
"""

import re
from typing import Any

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import plain_yaml

_CERTAINTY = re.compile(r"(.*?)\s*\((definite|possible|negated)\)", re.DOTALL)
_RANGE_PARTS = 3


def statement_in_words(said: str) -> dict[str, str]:
    """Return a statement's fields; a certainty may stand in brackets behind its code."""
    match = _CERTAINTY.fullmatch(said.strip())
    return {"code": match[1], "certainty": match[2]} if match else {"code": said.strip()}


def report_in_words(said: str) -> list[Any]:
    """Return the statements of a report, which commas divide."""
    found = [statement_in_words(part) for part in said.split(",") if part.strip()]
    return [one["code"] if len(one) == 1 else one for one in found]


def values_in_words(said: str) -> Any:  # noqa: ANN401  (a value, a list, or a form of several)
    """Return one value, a list, a range, or what YAML makes of ``{...}`` and ``[...]``."""
    text = said.strip()
    if text.startswith(("{", "[")):
        return plain_yaml(text, origin=repr(said))
    parts = [part.strip() for part in text.split(":")]
    if len(parts) == _RANGE_PARTS:
        start, stop, step = map(_value, parts)
        return {"start": start, "stop": stop, "step": step}
    values = [_value(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def condition_in_words(said: str) -> dict[str, Any]:
    """Return the fields of a condition, ``REPORT`` or ``REPORT @ RATES``."""
    report, at, rates = said.partition("@")
    found: dict[str, Any] = {"statements": report_in_words(report)}
    if at:
        found["heart_rate_bpm"] = values_in_words(rates)
    return found


def stratum_in_words(said: str) -> dict[str, Any]:
    """Return the fields of a stratum, ``REPORT @ RATES = COUNT``."""
    condition, equals, count = said.rpartition("=")
    if not equals:
        raise SpecificationError(
            f"{said!r}: say how many ECGs, as in 'atrial fibrillation @ 60:120:10 = 500'"
        )
    return {**condition_in_words(condition), "count": _value(count)}


def _value(text: str) -> float | str | None:
    """Return the number that a text is, None for ``unknown``, or the text as it stands."""
    text = text.strip()
    if text in ("", "unknown", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
