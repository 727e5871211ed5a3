"""Source: what an archive holds, row by row: planned from its tables, then read by anybody."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns

Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One recording, or one window of a long one, and the state it was taken in.

    ``visit`` counts the recordings of a patient from 0. ``official_split`` is the split that the
    publisher of the data assigned, None where there is none. ``unmapped``: what the source says
    that no statement stands for. ``flags``: what is odd and does not forbid its use. ``truth``:
    what a simulator knows of the samples (JSON-able), None for real recordings.
    """

    record: EcgRecord
    condition: CardiacCondition
    visit: int
    official_split: str | None
    days_since_first: float | None = None
    window: int = 0
    window_start_s: float = 0.0
    unmapped: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    truth: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """One recording that cannot be used; it keeps its row, with the reason.

    ``kind`` is the reason as one snake_case word; ``value`` what was found.
    """

    record_id: str
    patient_id: str
    reason: str
    kind: str = "unusable"
    value: str = ""


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """What is known of a row before its signal is read; see ``store.layout.PLAN_COLUMNS``."""

    row: int
    record_id: str
    file: str
    patient_id: str
    visit: int
    days_since_first: float | None
    window: int
    window_start_s: float
    official_split: str | None
    condition: CardiacCondition
    unmapped: tuple[str, ...]
    flags: tuple[str, ...]
    reject: Reject | None

    def with_record(self, record: EcgRecord, *, flags: Sequence[str] = ()) -> SourceRow:
        """Return the row with its recording, already cut to the window."""
        return SourceRow(
            record=record,
            condition=self.condition,
            visit=self.visit,
            official_split=self.official_split,
            days_since_first=self.days_since_first,
            window=self.window,
            window_start_s=self.window_start_s,
            unmapped=self.unmapped,
            flags=(*self.flags, *flags),
        )


class Reader(Protocol):
    """Reads planned rows. Small and picklable: a worker gets it, never the whole archive."""

    def read(self, rows: Sequence[PlannedRow]) -> list[SourceRow | Reject]:
        """Return one entry per row, in order; a bad recording becomes a Reject."""


class Source(ABC):
    """A fixed, ordered list of rows."""

    name: str  # what kind of source this is

    @property
    def archive(self) -> str:
        """Return whose patient numbers these are, unless a specification says so."""
        return self.name

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows, usable or not."""

    @abstractmethod
    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        """Yield all rows as ``PLAN_COLUMNS`` but ``row``, in order, ``rows_per_block`` at a time.

        The same archive gives the same blocks. Memory holds a block and what the tables need.
        """

    @abstractmethod
    def reader(self) -> Reader:
        """Return what reads the rows."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Return JSON-able provenance: kind, digests of tables; never a path of this machine."""

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive), one entry each, in row order."""
        wanted: list[PlannedRow] = []
        first = 0
        for columns in self.plan(1024):
            rows = planned_rows(columns, first=first)
            wanted += [row for row in rows if start <= row.row < stop]
            first += len(rows)
            if first >= stop:
                break
        return self.reader().read(wanted)


def planned_rows(columns: Mapping[str, Sequence[Any]], *, first: int) -> list[PlannedRow]:
    """Return the rows of a block of ``PLAN_COLUMNS`` whose first row is number ``first``."""
    return [_planned_row(columns, place, first + place) for place in range(len(columns["file"]))]


def _planned_row(columns: Mapping[str, Sequence[Any]], place: int, row: int) -> PlannedRow:
    record_id, patient_id = columns["record_id"][place], columns["patient_id"][place]
    kind = columns["reason_kind"][place]
    reject = None
    if kind is not None:
        reason, value = columns["reason"][place], columns["reason_value"][place]
        reject = Reject(record_id, patient_id, reason, kind, value or "")
    return PlannedRow(
        row=row,
        record_id=record_id,
        file=columns["file"][place],
        patient_id=patient_id,
        visit=columns["visit"][place],
        days_since_first=columns["days_since_first"][place],
        window=columns["window"][place],
        window_start_s=columns["window_start_s"][place],
        official_split=columns["official_split"][place],
        condition=condition_from_columns(columns, place),
        unmapped=tuple(columns["unmapped"][place]),
        flags=tuple(columns["flags"][place]),
        reject=reject,
    )


def plan_columns(**given: Sequence[Any]) -> Columns:
    """Return a block of the plan: the given columns, and what nothing was said of as unknown.

    ``record_id``, ``file`` and ``patient_id`` must be given, all of one length.
    """
    count = len(given["record_id"])
    usual: dict[str, Any] = {
        "visit": 0,
        "days_since_first": None,
        "window": 0,
        "window_start_s": 0.0,
        "official_split": None,
        "age_years": None,
        "sex": "unknown",
        "heart_rate_bpm": None,
        "statements": (),
        "certainties": (),
        "unmapped": (),
        "flags": (),
        "reason_kind": None,
        "reason": None,
        "reason_value": None,
    }
    names = ("record_id", "file", "patient_id", *usual)
    unknown = set(given) - set(names)
    if unknown:
        raise ValueError(f"no column of a plan: {', '.join(sorted(unknown))}")
    return {name: list(given[name]) if name in given else [usual[name]] * count for name in names}
