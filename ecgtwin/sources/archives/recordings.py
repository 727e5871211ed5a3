"""What archives that come as one table share: tables, visits by date, rows, paths, ages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SourceError
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.statements import Reading
from ecgtwin.spec.condition import OVER_89_YEARS
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.csv_tables import CsvTable, MalformedLine, read_csv

SAFE_PATH = r"[\w-][\w.-]*(/[\w-][\w.-]*)*"  # inside the archive: relative, no step upwards
RECORDING_S = 10.0  # of every recording of PTB-XL and MIMIC-IV-ECG

_OLDEST_YEARS = 120.0
_SECONDS_A_DAY = 86400.0
_ID_CHARACTERS = 40
_SHOWN_CHARACTERS = 200

Numbers = NDArray[np.int64]
Fault = tuple[str, str, str]  # kind of the reject, column, what is wrong with its value


def open_table(
    folder: SourceFolder,
    names: Sequence[str],
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    repeated: Sequence[str] = (),
) -> CsvTable | None:
    """Return the first table of ``names`` that is there, plain or gzipped; None without one."""
    for stored in (stored for name in names for stored in (name, f"{name}.gz")):
        try:
            data = folder.read(stored)
        except FileNotFoundError:
            continue
        return read_csv(data, stored, required=required, optional=optional, repeated=repeated)
    return None


def found_table(table: CsvTable | None, folder: SourceFolder, name: str) -> CsvTable:
    """Return ``table``; SourceError where the archive lacks it, or it has no line."""
    if table is None:
        raise SourceError(f"{folder.url} holds no {name}; give the folder that holds it")
    if not len(table) and not table.malformed:
        raise SourceError(f"{name} in {folder.url} has no records")
    return table


@dataclass(frozen=True, slots=True)
class Visits:
    """Per recording: which of its patient it is, from 0, and days since the first (NaN: unknown).

    Recordings without a readable date come after those with one, in the order of the table. What
    is not counted is visit 0.
    """

    number: NDArray[np.int32]
    days_since_first: NDArray[np.float64]

    @classmethod
    def by_date(
        cls, patients: Numbers, seconds: NDArray[np.float64], counted: NDArray[np.bool_]
    ) -> Self:
        """Count the recordings of each patient by date, then by place in the table."""
        number = np.zeros(len(patients), dtype=np.int32)
        days = np.full(len(patients), np.nan)
        places = np.flatnonzero(counted)
        when = np.where(np.isnan(seconds), np.inf, seconds)
        order = places[np.lexsort((places, when[places], patients[places]))]
        is_first = np.diff(patients[order], prepend=-1) != 0  # patients are numbered from 0
        first = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
        number[order] = np.arange(len(order)) - first
        days[order] = (seconds[order] - seconds[order[first]]) / _SECONDS_A_DAY
        return cls(number, days)


@dataclass(frozen=True, slots=True)
class Rows:
    """Which recording, and which window of it, each row of the plan is."""

    recording: Numbers
    window: NDArray[np.int32]

    @classmethod
    def of(cls, usable: NDArray[np.bool_], settings: IngestSpec) -> Self:
        """Return one row per window of a usable recording, one of each other; at most the limit."""
        usable = usable[: settings.limit]
        counts = np.where(usable, num_windows(settings), 1)
        recording = np.repeat(np.arange(len(usable)), counts)
        window = np.arange(len(recording)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(recording, window.astype(np.int32))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.recording)


def num_windows(settings: IngestSpec) -> int:
    """Return how many whole windows a recording of ten seconds gives; at least one."""
    if settings.windows == "first":
        return 1
    whole = max(1, math.floor(RECORDING_S / settings.window_s + 1e-9))
    return min(whole, settings.max_windows or whole)


def window_starts_s(
    windows: NDArray[np.int32], settings: IngestSpec, rate_hz: float
) -> list[float]:
    """Return where each window begins, at a sample of a recording at ``rate_hz``."""
    starts: list[float] = (
        np.floor(windows * settings.window_s * rate_hz + 1e-6) / rate_hz
    ).tolist()
    return starts


def duplicates(keys: Numbers) -> NDArray[np.bool_]:
    """Return whether an entry stands earlier already."""
    found = np.ones(len(keys), dtype=np.bool_)
    found[np.unique(keys, return_index=True)[1]] = False
    return found


class TextColumns:
    """The values of some lines of a table, in its order; ``""`` in columns that it lacks."""

    def __init__(
        self, table: CsvTable, places: Numbers, *, names: Mapping[str, str] | None = None
    ) -> None:
        """Read nothing yet. ``names``: the column of the table for other names."""
        self._table, self._places, self._names = table, places, names or {}
        self._held: dict[str, list[str]] = {}

    def __getitem__(self, column: str) -> list[str]:
        """Return the values of a column, one per line."""
        if column not in self._held:
            self._held[column] = self._read(self._names.get(column, column))
        return self._held[column]

    def _read(self, column: str) -> list[str]:
        if column not in self._table or not len(self._places):
            return [""] * len(self._places)
        first, stop = int(self._places[0]), int(self._places[-1]) + 1
        found: list[str] = self._table.texts(column, first, stop)[self._places - first].tolist()
        return found


def ids(numbers: Numbers, texts: Sequence[str]) -> list[str]:
    """Return each number as an id; for -1 what is written instead, ``?`` for nothing."""
    pairs = zip(numbers.tolist(), texts, strict=True)
    return [str(number) if number >= 0 else shown(text) or "?" for number, text in pairs]


def shown(text: str) -> str:
    """Return the start of what a table says as printable text."""
    cut = text[:_ID_CHARACTERS]
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def reject_columns(
    faults: NDArray[np.int8], kinds: Sequence[Fault], texts: TextColumns, name: str
) -> dict[str, list[str | None]]:
    """Return the columns of reasons; ``faults`` are places in ``kinds``, 0 for a sound line."""
    reason_kinds: list[str | None] = [None] * len(faults)
    reasons, values = reason_kinds.copy(), reason_kinds.copy()
    for row in np.flatnonzero(faults).tolist():
        kind, column, wrong = kinds[faults[row]]
        value = texts[column][row][:_SHOWN_CHARACTERS]
        reason_kinds[row], values[row] = kind, value
        reasons[row] = f"{name}: {column} {value!r} {wrong}"
    return {"reason_kind": reason_kinds, "reason": reasons, "reason_value": values}


def first_fault(wrong: Sequence[NDArray[np.bool_]]) -> NDArray[np.int8]:
    """Return for each line the number, from 1, of the first condition that holds; 0 for none."""
    return np.select(wrong, range(1, len(wrong) + 1), 0).astype(np.int8)


def date_flags(seconds: float, text: str) -> tuple[str, ...]:
    """Return the flag of an unreadable date."""
    return (f"date_unreadable:{shown(text)}",) if math.isnan(seconds) else ()


def transposed(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return ``width`` columns of rows that have so many values each."""
    return [[row[place] for row in rows] for place in range(width)]


def known(values: NDArray[np.float64]) -> list[float | None]:
    """Return the values with None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def as_columns(reading: Reading) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the columns of a reading: codes of the statements, certainties, unmapped texts."""
    codes = tuple(statement.code for statement in reading.statements)
    certainties = tuple(statement.certainty for statement in reading.statements)
    return codes, certainties, reading.unmapped


def age_of(years: float, *, over_89: float | None = None) -> tuple[float | None, tuple[str, ...]]:
    """Return (age, flags); above 89 is one class, and so is the code ``over_89``.

    NaN is unknown; an age that nobody has is unknown with a flag.
    """
    if math.isnan(years):
        return None, ()
    if years == over_89:
        return OVER_89_YEARS, ()
    if not 0 <= years <= _OLDEST_YEARS:
        return None, (f"age_out_of_range:{years:g}",)
    return (OVER_89_YEARS if years > 89 else years), ()


def line_rejects(lines: Sequence[MalformedLine], name: str) -> dict[str, list[str]]:
    """Return the columns of the plan for lines that are no rows of table ``name``."""
    named = [f"{name}:{line.number}" for line in lines]
    return {
        "record_id": named,
        "file": [""] * len(lines),
        "patient_id": named,
        "reason_kind": ["row_malformed"] * len(lines),
        "reason": [
            f"line {line.number} of {name} has another number of values than there are column "
            "names, or a quote that does not close"
            for line in lines
        ],
        "reason_value": [line.text for line in lines],
    }
