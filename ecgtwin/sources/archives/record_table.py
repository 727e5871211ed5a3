"""A table beside WFDB records that says whose they are, when, and what they show."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError, SourceError
from ecgtwin.sources.archives.header_archive import Described, Listing, printable
from ecgtwin.sources.archives.recordings import line_rejects, shown
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.statements import Reading, merge, read_machine, read_scp, read_snomed
from ecgtwin.spec.condition import MAX_RATE_BPM, MIN_RATE_BPM
from ecgtwin.spec.ingest import ColumnsSpec
from ecgtwin.store.csv_tables import CsvTable, read_csv

RECORDS_TABLE = "records.csv"
PATIENTS_TABLE = "patients.csv"
PATIENTS_COLUMNS = ColumnsSpec(patient_id="patient_id")

_SURE_PERCENT = 100.0
_SHOWN = 200  # characters of an id
_NO_TEXT = "\ufffd"  # what stands for bytes that are no text
_SCP_CODE = re.compile(r"[0-9A-Z_/()]{2,8}")


@dataclass(frozen=True)
class RecordTable:
    """The mapped columns of one table, looked up by record id."""

    name: str
    columns: dict[str, NDArray[np.object_]]  # by field of ColumnsSpec
    seconds: NDArray[np.float64] | None  # of ``recorded_at``, since 1970
    places: dict[str, int]  # of each record id, the first where it is there twice
    repeated: frozenset[str]
    table: CsvTable

    @classmethod
    def read(cls, folder: SourceFolder, name: str, spec: ColumnsSpec) -> "RecordTable":
        """Read the columns that ``spec`` maps; SourceError naming what is missing and found."""
        wanted = {field: column for field, column in spec.model_dump().items() if column}
        required = list(dict.fromkeys(wanted.values()))
        table = read_csv(folder.read(name), name, required=required)
        columns = {field: table.texts(column) for field, column in wanted.items()}
        columns["record_id"] = np.array(
            [text.removesuffix(".hea") for text in columns["record_id"].tolist()], dtype=object
        )
        places: dict[str, int] = {}
        for place, record_id in enumerate(columns["record_id"].tolist()):
            places.setdefault(record_id, place)
        ids = columns["record_id"].tolist()
        twice = {record_id for place, record_id in enumerate(ids) if places[record_id] != place}
        seconds = table.seconds(spec.recorded_at) if spec.recorded_at else None
        return cls(name, columns, seconds, places, frozenset(twice), table)

    def text(self, record_id: str, field: str) -> str:
        """Return what the table says; ``""`` for nothing, no row or no such column."""
        place = self.places.get(record_id)
        if place is None or field not in self.columns:
            return ""
        return str(self.columns[field][place])

    def when(self, record_id: str) -> tuple[float | None, tuple[str, ...]]:
        """Return (seconds since 1970, flags) of a recording."""
        text = self.text(record_id, "recorded_at")
        if not text or self.seconds is None:
            return None, ()
        seconds = float(self.seconds[self.places[record_id]])
        return (None, (f"date_unreadable:{shown(text)}",)) if np.isnan(seconds) else (seconds, ())

    def row_flags(self, record_id: str) -> tuple[str, ...]:
        """Return what is odd about the rows of a record."""
        if record_id not in self.places:
            return ("no_table_row",)
        return ("duplicate_table_row",) if record_id in self.repeated else ()

    def fault(self, record_id: str) -> RecordError | None:
        """Return why the row of a record cannot be used: whose it is must be text."""
        patient_id = self.text(record_id, "patient_id")
        if _NO_TEXT not in patient_id:
            return None
        return RecordError(
            f"record {record_id}: its patient in {self.name} is not text ({patient_id[:_SHOWN]!r})",
            kind="row_malformed",
            value=printable(patient_id[:_SHOWN]),
        )

    def without_record(self, names: Collection[str]) -> Iterator[Described]:
        """Yield the rows that fit none of the records ``names``, and the lines that are no rows."""
        for record_id, place in self.places.items():
            if record_id not in names:
                written = printable(record_id)[:_SHOWN] or f"row {place + 1} of {self.name}"
                fault = RecordError(
                    f"record {written}: {self.name} names it, and there is no {written}.hea",
                    kind="header_missing",
                    value=f"{written}.hea",
                )
                patient_id = printable(self.text(record_id, "patient_id"))[:_SHOWN] or written
                yield Described(written, written, patient_id, fault=fault)
        lines = line_rejects(self.table.malformed, self.name)
        for record_id, kind, reason, value in zip(
            lines["record_id"],
            lines["reason_kind"],
            lines["reason"],
            lines["reason_value"],
            strict=True,
        ):
            fault = RecordError(reason, kind=kind, value=value)
            yield Described(record_id, "", record_id, fault=fault)


def find_table(folder: SourceFolder, files: Listing, spec: ColumnsSpec) -> RecordTable | None:
    """Return ``records.csv`` where columns of it are mapped, or else ``patients.csv``, if there."""
    there = {name for name, _ in files}
    if spec != ColumnsSpec():
        if RECORDS_TABLE not in there:
            raise SourceError(
                f"{folder.url} holds no {RECORDS_TABLE}, whose columns the specification maps"
            )
        return RecordTable.read(folder, RECORDS_TABLE, spec)
    if PATIENTS_TABLE not in there:
        return None
    return RecordTable.read(folder, PATIENTS_TABLE, PATIENTS_COLUMNS)


def statements_in(text: str) -> Reading:
    """Return the reading of SNOMED CT numbers, SCP-ECG codes or wordings between ``;`` or ``|``."""
    parts = [part.strip() for part in re.split(r"[;|]", text) if part.strip()]
    return merge(*map(_statement_in, parts)) if parts else Reading()


def _statement_in(part: str) -> Reading:
    if part.isdecimal():
        return read_snomed([part])
    if _SCP_CODE.fullmatch(part):
        found = read_scp({part: _SURE_PERCENT})
        if found.statements:
            return found
    return read_machine([part])


def rate_in(text: str) -> tuple[float | None, tuple[str, ...]]:
    """Return (heart rate in bpm, flags); one that no heart has is unknown."""
    try:
        rate = float(text)
    except ValueError:
        return None, ()
    if not MIN_RATE_BPM <= rate <= MAX_RATE_BPM:
        return None, (f"heart_rate_out_of_range:{rate:g}",)
    return rate, ()


def patients_of(table: RecordTable | None, names: Sequence[str]) -> list[str]:
    """Return whose each record is; a record that the table does not give stands for itself."""
    if table is None:
        return list(names)
    given = [table.text(name, "patient_id") for name in names]
    taken = set(given)  # a record that stands for itself must not be called as somebody else
    return [
        patient or (name if name not in taken else f"record {name}")
        for name, patient in zip(names, given, strict=True)
    ]
