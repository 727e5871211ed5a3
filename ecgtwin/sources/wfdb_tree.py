"""A folder of WFDB records, in any depth, with the comments of the PhysioNet Challenges."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ecgtwin.errors import RecordError, SourceError
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.statements import snomed_statement, without_repeats
from ecgtwin.sources.wfdb_records import content_digest, read_comments, read_wfdb
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.condition import OVER_89_YEARS, CardiacCondition, Sex, Statement

PATIENTS_NAME = "patients.csv"

_OLDEST_YEARS = 120.0
_SEXES: dict[str, Sex] = {"male": "male", "m": "male", "female": "female", "f": "female"}


@dataclass(frozen=True)
class WfdbTreeSource:
    """Every header below a folder, ordered by its path, which is the record id.

    Each record is its own patient, unless ``patients.csv`` in the folder (columns ``record_id``,
    ``patient_id``) says otherwise; visits are counted in row order. Age, sex and SNOMED CT codes
    come from the header comments Age, Sex and Dx; what is absent is unknown.
    """

    folder: Path
    record_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    visits: tuple[int, ...]
    name: str = "wfdb"

    @classmethod
    def open(cls, folder: Path, *, limit: int | None = None) -> Self:
        """List the records (the first ``limit``); raise SourceError where there is none."""
        found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.hea"))
        record_ids = sorted(path.as_posix() for path in found)[:limit]
        if not record_ids:
            raise SourceError(f"{folder} holds no WFDB record (no .hea file at any depth)")
        given = _read_patients(folder / PATIENTS_NAME)
        patient_ids = [given.get(record_id, record_id) for record_id in record_ids]
        return cls(folder, tuple(record_ids), tuple(patient_ids), _count_visits(patient_ids))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.record_ids)

    def read(self, start: int, stop: int) -> list[SourceRow | Reject]:
        """Return rows ``start`` to ``stop`` (exclusive); a bad record becomes a Reject."""
        return [self._read_one(row) for row in range(start, min(stop, len(self)))]

    def describe(self) -> dict[str, object]:
        """Return the digests of the record and patient ids and of all headers."""
        return {
            "name": self.name,
            "num_records": len(self),
            "ids_digest": digest_of([self.record_ids, self.patient_ids]),
            "records_digest": content_digest(self.folder / name for name in self.record_ids),
        }

    def _read_one(self, row: int) -> SourceRow | Reject:
        record_id, patient_id = self.record_ids[row], self.patient_ids[row]
        path = self.folder / record_id
        try:
            record = read_wfdb(path, record_id=record_id, patient_id=patient_id)
            condition = condition_of(read_comments(path, record_id=record_id))
        except RecordError as error:
            return Reject(record_id, patient_id, str(error))
        return SourceRow(record, condition, self.visits[row], None)


def condition_of(comments: dict[str, str]) -> CardiacCondition:
    """Return the condition that Challenge comments (keys in lower case) state."""
    return CardiacCondition(
        statements=_statements(comments.get("dx", "")),
        age_years=_age_years(comments.get("age", "")),
        sex=_SEXES.get(comments.get("sex", "").lower(), "unknown"),
    )


def _statements(text: str) -> tuple[Statement, ...]:
    """Return the statements of comma-separated SNOMED CT codes; words are no codes."""
    codes = [code.strip() for code in text.split(",")]
    return without_repeats(snomed_statement(code) for code in codes if code.isdecimal())


def _age_years(text: str) -> float | None:
    """Return the age; None for words, NaN and the impossible ages that stand for unknown."""
    try:
        age = float(text)
    except ValueError:
        return None
    if math.isnan(age) or not 0 <= age <= _OLDEST_YEARS:
        return None
    return OVER_89_YEARS if age > 89 else age


def _read_patients(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"record_id", "patient_id"} - set(reader.fieldnames or ())
        if missing:
            raise SourceError(f"{path} has no column {', '.join(sorted(missing))}")
        return {row["record_id"]: row["patient_id"] for row in reader}


def _count_visits(patient_ids: list[str]) -> tuple[int, ...]:
    count: dict[str, int] = {}
    visits = []
    for patient_id in patient_ids:
        visits.append(count.get(patient_id, 0))
        count[patient_id] = visits[-1] + 1
    return tuple(visits)
