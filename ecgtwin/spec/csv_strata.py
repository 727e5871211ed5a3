"""Strata from a table in CSV: a row each, the values in the short forms of ``spec.words``.

    statements,count,heart_rate_bpm,age_years,sex,among,label
    atrial fibrillation,500,60:120:10,own,own,patient.age_years >= 60,AF in the elderly

``statements`` and ``count`` are needed; commas inside a report want quotes around it.
"""

import csv
import difflib
import io
from collections.abc import Callable, Mapping
from typing import Any

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.states import StratumSpec
from ecgtwin.spec.words import report_in_words, values_in_words

MAX_BYTES = 4 * 2**20
_READ: Mapping[str, Callable[[str], Any]] = {
    "statements": report_in_words,
    "count": values_in_words,
    "heart_rate_bpm": values_in_words,
    "age_years": values_in_words,
    "sex": lambda text: _sexes(text),
    "among": str.strip,
    "label": str.strip,
}
_NEEDED = ("statements", "count")


def strata_in_csv(data: bytes, *, origin: str) -> list[dict[str, Any]]:
    """Return the fields of each stratum; SpecificationError names line and column of a mistake."""
    if len(data) > MAX_BYTES:
        raise SpecificationError(f"{origin} is larger than {MAX_BYTES >> 20} MiB; divide it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecificationError(
            f"{origin} is not UTF-8 (byte {error.start}); save it so"
        ) from None
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_header(names, origin)
        found = [
            _stratum(names, cells, f"{origin}: line {reader.line_num}")
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise SpecificationError(
            f"{origin}: line {reader.line_num}: {error}; is a quote not closed?"
        ) from None
    if not found:
        raise SpecificationError(f"{origin} has no rows; write one for each stratum wanted")
    return found


def _check_header(names: list[str], origin: str) -> None:
    known = ", ".join(_READ)
    for name in names:
        if name not in _READ:
            near = difflib.get_close_matches(name, _READ, n=1)
            meant = f", {near[0]} perhaps" if near else ""
            raise SpecificationError(
                f"{origin}: line 1: unknown column {name!r}{meant}; columns are {known}"
            )
        if names.count(name) > 1:
            raise SpecificationError(f"{origin}: line 1: column {name!r} stands there twice")
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise SpecificationError(
            f"{origin}: line 1: no column {' and no column '.join(missing)}; columns are {known}"
        )


def _stratum(names: list[str], cells: list[str], origin: str) -> dict[str, Any]:
    if len(cells) != len(names):
        raise SpecificationError(
            f"{origin}: {len(cells)} cells in {len(names)} columns; a text with commas stands in "
            "quotes"
        )
    given = {
        name: _READ[name](cell)
        for name, cell in zip(names, cells, strict=True)
        if cell.strip() or name in _NEEDED
    }
    _Row.parse({"stratum": given}, origin=origin)
    return given


class _Row(Spec):
    """One row, to check it where it stands."""

    stratum: StratumSpec


def _sexes(text: str) -> str | list[str]:
    parts = [part.strip() for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts
