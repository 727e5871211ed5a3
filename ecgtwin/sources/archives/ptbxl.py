"""PTB-XL in its own layout: table, SCP codes, reports, demographics, folds, visits.

Wagner et al. 2020, https://doi.org/10.1038/s41597-020-0495-6.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.archives.ptbxl_lines import FAULTS, Lines, lines_of
from ecgtwin.sources.archives.recordings import (
    Numbers,
    Rows,
    TextColumns,
    age_of,
    as_columns,
    date_flags,
    found_table,
    ids,
    known,
    line_rejects,
    open_table,
    reject_columns,
    shown,
    transposed,
    window_starts_s,
)
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.source import Columns, Reader, Source, plan_columns
from ecgtwin.sources.statements import Reading, merge, read_report, read_scp
from ecgtwin.spec.condition import Sex
from ecgtwin.spec.ingest import IngestSpec

TABLE = "ptbxl_database.csv"
DESCRIPTIONS = "scp_statements.csv"
OVER_89_CODE = 300.0  # of an age, in versions after 1.0.1

_FILE_COLUMN = {500: "filename_hr", 100: "filename_lr"}
_REQUIRED = ("ecg_id", "patient_id", "age", "sex", "recording_date", "scp_codes", "strat_fold")
_NOISES = ("baseline_drift", "static_noise", "burst_noise", "electrodes_problems")
_STAGES = ("infarction_stadium1", "infarction_stadium2")
_OPTIONAL = ("report", "validated_by_human", "extra_beats", "pacemaker", *_NOISES, *_STAGES)
_SEXES: dict[str, Sex] = {"0": "male", "1": "female"}
_PACED = "ja, pacemaker"  # stands beside code PACE in every record of version 1.0.1
_EXTRA_BEATS = ("PVC", "PAC", "PRC(S)", "BIGU", "TRIGU")


@dataclass(frozen=True)
class PtbXlSource(Source):
    """The rows of ``ptbxl_database.csv`` in its order, then the lines of it that are no rows.

    Folds 9 and 10 are validation and test, as its authors advise; visits are counted by date.
    """

    folder: SourceFolder
    settings: IngestSpec
    lines: Lines
    rows: Rows
    descriptions: Mapping[str, str]  # of SCP codes
    name: str = "ptbxl"

    @classmethod
    def open(cls, url: str, *, settings: IngestSpec, table: str = TABLE) -> Self:
        """Read the tables; raise SourceError where they cannot be read or lack a column.

        ``table`` is the name of the main one, should it go by another.
        """
        folder = SourceFolder(url)
        file_column = _FILE_COLUMN[settings.ptbxl_rate_hz]
        read = open_table(folder, (table,), required=(*_REQUIRED, file_column), optional=_OPTIONAL)
        lines = lines_of(found_table(read, folder, table), file_column)
        of_lines = np.zeros(len(lines.table.malformed), dtype=np.bool_)
        rows = Rows.of(np.concatenate([lines.faults == 0, of_lines]), settings)
        return cls(folder, settings, lines, rows, _descriptions(folder))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        """Yield the rows; see Source."""
        malformed, num_lines = self.lines.table.malformed, len(self.lines.table)
        for start in range(0, len(self), rows_per_block):
            places = self.rows.recording[start : start + rows_per_block]
            windows = self.rows.window[start : start + rows_per_block]
            is_line = places < num_lines
            columns = self._columns(places[is_line], windows[is_line])
            rest = plan_columns(
                **line_rejects([malformed[place - num_lines] for place in places[~is_line]], TABLE)
            )
            yield {name: values + rest[name] for name, values in columns.items()}

    def reader(self) -> Reader:
        """Return what reads the rows."""
        from ecgtwin.sources.archives.header_archive import WindowReader

        return WindowReader(self.folder, self.settings)

    def describe(self) -> dict[str, object]:
        """Return the rate of the files that are read, and the digest of the table."""
        return {
            "name": self.name,
            "num_rows": len(self),
            "rate_hz": self.settings.ptbxl_rate_hz,
            "table_digest": self.lines.table.digest,
        }

    def _columns(self, places: Numbers, windows: NDArray[np.int32]) -> Columns:
        lines = self.lines
        texts = TextColumns(
            lines.table, places, names={"filename": _FILE_COLUMN[self.settings.ptbxl_rate_hz]}
        )
        readings = [self._reading(texts, row, place) for row, place in enumerate(places.tolist())]
        codes, certainties, unmapped = transposed([as_columns(reading) for reading in readings], 3)
        ages, age_flags = transposed([_age(text) for text in texts["age"]], 2)
        dates = zip(lines.dates_s[places].tolist(), texts["recording_date"], strict=True)
        return plan_columns(
            record_id=ids(lines.ecg_ids[places], texts["ecg_id"]),
            patient_id=ids(lines.patients[places], texts["patient_id"]),
            file=texts["filename"],
            visit=lines.visits.number[places].tolist(),
            days_since_first=known(lines.visits.days_since_first[places]),
            window=windows.tolist(),
            window_start_s=window_starts_s(windows, self.settings, self.settings.ptbxl_rate_hz),
            official_split=[
                lines.splits.get(patient) for patient in lines.patients[places].tolist()
            ],
            age_years=ages,
            sex=[_SEXES.get(_whole(text), "unknown") for text in texts["sex"]],
            statements=codes,
            certainties=certainties,
            unmapped=unmapped,
            flags=[
                (*date_flags(seconds, text), *age_flags[row], *_flags(texts, row))
                for row, (seconds, text) in enumerate(dates)
            ],
            **reject_columns(lines.faults[places], FAULTS, texts, TABLE),
        )

    def _reading(self, texts: TextColumns, row: int, place: int) -> Reading:
        """Return codes and report as one; the codes, mostly checked by a person, come first.

        What the report says of a statement that the codes make already, with another certainty,
        does not count.
        """
        codes = dict(self.lines.codes[place] or {})
        if texts["pacemaker"][row] == _PACED:
            codes.setdefault("PACE", 0.0)
        coded, report = read_scp(codes), read_report(texts["report"][row])
        given = {statement.code for statement in coded.statements}
        more = tuple(statement for statement in report.statements if statement.code not in given)
        coded = Reading(
            coded.statements,
            tuple(
                f"{code}: {self.descriptions[code]}" if code in self.descriptions else code
                for code in coded.unmapped
            ),
        )
        reading = merge(coded, Reading(more, report.unmapped))
        return Reading(reading.statements, (*reading.unmapped, *_notes(texts, row, reading)))


def _notes(texts: TextColumns, row: int, reading: Reading) -> Iterator[str]:
    """Yield what other columns say and no statement does: stage of an infarction, extra beats."""
    for column in _STAGES:
        if (text := texts[column][row]) and text != "unknown":
            yield f"infarction {text.lower()}"
    extra = texts["extra_beats"][row]
    if extra and not any(statement.code in _extra_beats() for statement in reading.statements):
        yield f"extra beats {extra}"


@cache
def _extra_beats() -> frozenset[str]:
    coded = read_scp(dict.fromkeys(_EXTRA_BEATS, 0.0))
    return frozenset(statement.code for statement in coded.statements)


def _flags(texts: TextColumns, row: int) -> Iterator[str]:
    """Yield what the table says of the recording's quality and of its own reliability."""
    for column in _NOISES:
        if where := _places_named(texts[column][row]):
            yield f"{column}:{where}"
    if texts["validated_by_human"][row].lower() == "false":
        yield "not_validated"
    if (paced := texts["pacemaker"][row]) and paced != _PACED:
        yield f"pacemaker_unsure:{shown(paced)}"
    if (sex := texts["sex"][row]) and _whole(sex) not in _SEXES:
        yield f"sex_unreadable:{shown(sex)}"


def _places_named(text: str) -> str:
    """Return the leads that a noise column names, without the commas and blanks around them."""
    named = [part.strip() for part in text.split(",") if part.strip()]
    return shown(",".join("all" if part == "alles" else part for part in named))


def _age(text: str) -> tuple[float | None, tuple[str, ...]]:
    try:
        years = float(text or "nan")
    except ValueError:
        return None, (f"age_unreadable:{shown(text)}",)
    return age_of(years, over_89=OVER_89_CODE)


def _whole(text: str) -> str:
    """Return a number without the ``.0`` that the published table gives it."""
    return text.removesuffix(".0")


def _descriptions(folder: SourceFolder) -> dict[str, str]:
    """Return SCP code -> English description; empty where the publisher's table is not there."""
    table = open_table(folder, (DESCRIPTIONS,), required=("", "description"))
    if table is None:
        return {}
    return dict(zip(table.texts(""), table.texts("description"), strict=True))
