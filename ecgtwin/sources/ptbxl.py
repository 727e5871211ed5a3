"""PTB-XL in its own layout: table, statements, demographics, folds, visits.

Wagner et al. 2020, https://doi.org/10.1038/s41597-020-0495-6.
"""

import ast
import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from ecgtwin.errors import RecordError, SourceError
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.splits import strictest
from ecgtwin.sources.statements import scp_statement, without_repeats
from ecgtwin.sources.wfdb_records import content_digest, read_wfdb
from ecgtwin.spec.cohort import Split
from ecgtwin.spec.condition import OVER_89_YEARS, CardiacCondition, Sex, Statement

TABLE_NAME = "ptbxl_database.csv"
STATEMENTS_NAME = "scp_statements.csv"

_FILE_COLUMN = {500: "filename_hr", 100: "filename_lr"}
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "recording_date", "scp_codes", "strat_fold")
_SEXES: dict[str, Sex] = {"0": "male", "1": "female"}
_SPLIT_OF_FOLD: dict[str, Split] = {"9": "validation", "10": "test"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the table; ``condition`` is a reason where the line makes no sense."""

    file: str
    record_id: str
    patient_id: str
    condition: CardiacCondition | str
    visit: int
    official_split: Split


@dataclass(frozen=True)
class PtbXlSource:
    """The rows of ``ptbxl_database.csv`` in its order, signals at 500 or 100 Hz.

    Folds 9 and 10 are validation and test, as its authors advise; visits are counted by date.
    """

    folder: Path
    sampling_rate_hz: int
    table_digest: str
    entries: tuple[_Entry, ...]
    name: str = "ptbxl"

    @classmethod
    def open(
        cls, folder: Path, *, sampling_rate_hz: Literal[500, 100] = 500, limit: int | None = None
    ) -> Self:
        """Read the tables (first ``limit`` rows); raise SourceError where they do not fit."""
        table = _read_table(folder / TABLE_NAME, (*_COLUMNS, _FILE_COLUMN[sampling_rate_hz]))
        descriptions = _read_descriptions(folder / STATEMENTS_NAME)
        digest = hashlib.blake2b((folder / TABLE_NAME).read_bytes(), digest_size=16).hexdigest()
        entries = _entries(table, descriptions, _FILE_COLUMN[sampling_rate_hz])[:limit]
        if not entries:
            raise SourceError(f"{folder / TABLE_NAME} has no records")
        return cls(folder, sampling_rate_hz, digest, tuple(entries))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.entries)

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive); a bad record becomes a Reject."""
        return [self._read_one(entry) for entry in self.entries[start:stop]]

    def describe(self) -> dict[str, object]:
        """Return the digests of the table and of the headers of all records."""
        return {
            "name": self.name,
            "sampling_rate_hz": self.sampling_rate_hz,
            "num_records": len(self),
            "table_digest": self.table_digest,
            "records_digest": content_digest(self.folder / entry.file for entry in self.entries),
        }

    def _read_one(self, entry: _Entry) -> SourceRow | Reject:
        if isinstance(entry.condition, str):
            return Reject(entry.record_id, entry.patient_id, entry.condition)
        try:
            record = read_wfdb(
                self.folder / entry.file, record_id=entry.record_id, patient_id=entry.patient_id
            )
        except RecordError as error:
            return Reject(entry.record_id, entry.patient_id, str(error))
        return SourceRow(record, entry.condition, entry.visit, entry.official_split)


def _read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{path} has no column {', '.join(missing)} "
                    f"(found {', '.join(reader.fieldnames or ()) or 'none'})"
                )
            return list(reader)
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not a UTF-8 table") from None


def _read_descriptions(path: Path) -> dict[str, str]:
    """Return SCP code -> English description; empty where the publisher's table is not there."""
    if not path.is_file():
        return {}
    return {row[""]: row["description"] for row in _read_table(path, ("", "description"))}


def _entries(
    table: list[dict[str, str]], descriptions: Mapping[str, str], file_column: str
) -> list[_Entry]:
    visits, splits = _visits(table), _splits(table)
    return [
        _Entry(
            file=row[file_column],
            record_id=_whole(row["ecg_id"]),
            patient_id=_whole(row["patient_id"]),
            condition=_condition_or_reason(row, descriptions),
            visit=visits[row["ecg_id"]],
            official_split=splits[_whole(row["patient_id"])],
        )
        for row in table
    ]


def _whole(text: str) -> str:
    """Return an id without the ``.0`` that the published table gives it."""
    return text.strip().removesuffix(".0")


def _visits(table: list[dict[str, str]]) -> dict[str, int]:
    """Return ecg_id -> which recording of its patient it is, counted from 0 by date."""
    count: dict[str, int] = defaultdict(int)
    visits = {}
    for row in sorted(table, key=lambda row: (row["recording_date"], row["ecg_id"].zfill(12))):
        patient_id = _whole(row["patient_id"])
        visits[row["ecg_id"]] = count[patient_id]
        count[patient_id] += 1
    return visits


def _splits(table: list[dict[str, str]]) -> dict[str, Split]:
    """Return patient id -> split; the folds keep patients whole, but this does not rely on it."""
    found: dict[str, set[Split]] = defaultdict(set)
    for row in table:
        fold = _whole(row["strat_fold"])
        found[_whole(row["patient_id"])].add(_SPLIT_OF_FOLD.get(fold, "train"))
    return {patient_id: strictest(splits) for patient_id, splits in found.items()}


def _condition_or_reason(
    row: Mapping[str, str], descriptions: Mapping[str, str]
) -> CardiacCondition | str:
    try:
        return CardiacCondition(
            statements=_statements(row["scp_codes"], descriptions),
            age_years=_age_years(row["age"]),
            sex=_SEXES.get(_whole(row["sex"]), "unknown"),
        )
    except (ValueError, TypeError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        return f"record {_whole(row['ecg_id'])}: its line in {TABLE_NAME} is malformed ({reason})"


def _statements(scp_codes: str, descriptions: Mapping[str, str]) -> tuple[Statement, ...]:
    codes = ast.literal_eval(scp_codes)
    if not isinstance(codes, dict):
        raise RecordError(f"scp_codes is {scp_codes!r}, not {{code: likelihood}}")
    return without_repeats(
        scp_statement(str(code), float(likelihood), description=descriptions.get(str(code)))
        for code, likelihood in codes.items()
    )


def _age_years(text: str) -> float | None:
    """Return the age; None where empty. Over 89 is one class, which newer tables write as 300."""
    age = float(text) if text.strip() else math.nan
    if math.isnan(age):
        return None
    return OVER_89_YEARS if age > 89 else age
