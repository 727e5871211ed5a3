"""MIMIC-IV-ECG in its own layout: record list, machine measurements, the patients of MIMIC-IV.

Gow et al. 2023, https://doi.org/10.13026/4nqg-sb35. Age and sex are not in it: they are known
where ``patients.csv`` of MIMIC-IV (credentialed) lies in the folder or in its ``hosp``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.archives.mimic_tables import (
    FAULTS,
    MEASURED_COLUMNS,
    PATIENT_COLUMNS,
    RECORD_COLUMNS,
    REPORTS,
    Measurements,
    Patients,
    Studies,
    measurements_of,
    patients_of,
    studies_of,
)
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
from ecgtwin.sources.statements import read_machine
from ecgtwin.spec.condition import Sex
from ecgtwin.spec.ingest import IngestSpec

RECORD_LIST = "record_list.csv"
MEASUREMENTS = "machine_measurements.csv"
PATIENTS = ("patients.csv", "hosp/patients.csv")
RATE_HZ = 500.0
CENSORED_AGE = 91.0  # what MIMIC-IV writes for every age above 89

_SEXES: dict[str, Sex] = {"F": "female", "M": "male"}
_KEPT_READINGS = 200_000  # different reports whose columns are remembered

_ReportColumns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class MimicIvEcgSource(Source):
    """The rows of ``record_list.csv`` in its order, then the lines of it that are no rows.

    A study without measurements or patient stays, with heart rate, statements, age and sex
    unknown. Visits are counted by ``ecg_time``, which is not the order of the table.
    """

    folder: SourceFolder
    settings: IngestSpec
    listed: Studies
    rows: Rows
    measurements: Measurements | None
    patients: Patients | None
    digests: Mapping[str, str | None]
    name: str = "mimic-iv-ecg"
    _known: dict[bytes, _ReportColumns] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, url: str, *, settings: IngestSpec) -> Self:
        """Read the tables; raise SourceError where one cannot be read or lacks a column."""
        folder = SourceFolder(url)
        table = open_table(folder, (RECORD_LIST,), required=RECORD_COLUMNS)
        listed = studies_of(found_table(table, folder, RECORD_LIST))
        measured = open_table(
            folder,
            (MEASUREMENTS,),
            required=MEASURED_COLUMNS,
            repeated=MEASURED_COLUMNS[2:],
        )
        persons = open_table(
            folder, PATIENTS, required=PATIENT_COLUMNS, repeated=PATIENT_COLUMNS[1:]
        )
        lines = np.zeros(len(listed.table.malformed), dtype=np.bool_)
        return cls(
            folder,
            settings,
            listed,
            Rows.of(np.concatenate([listed.faults == 0, lines]), settings),
            None if measured is None else measurements_of(measured, listed),
            None if persons is None else patients_of(persons, listed),
            {
                "record_list_digest": listed.table.digest,
                "measurements_digest": measured.digest if measured is not None else None,
                "patients_digest": persons.digest if persons is not None else None,
            },
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        """Yield the rows; see Source."""
        for start in range(0, len(self), rows_per_block):
            recordings = self.rows.recording[start : start + rows_per_block]
            windows = self.rows.window[start : start + rows_per_block]
            num_studies = len(self.listed.table)
            is_study = recordings < num_studies
            columns = self._of_studies(recordings[is_study], windows[is_study])
            lines = [
                self.listed.table.malformed[place - num_studies] for place in recordings[~is_study]
            ]
            rest = plan_columns(**line_rejects(lines, RECORD_LIST))
            yield {name: values + rest[name] for name, values in columns.items()}

    def reader(self) -> Reader:
        """Return what reads the rows."""
        from ecgtwin.sources.archives.mimic_reader import MimicReader

        return MimicReader(self.folder, self.settings)

    def describe(self) -> dict[str, object]:
        """Return the digests of the tables; None for one that is not there."""
        return {"name": self.name, "num_rows": len(self), **self.digests}

    def _of_studies(self, studies: Numbers, windows: NDArray[np.int32]) -> Columns:
        listed = self.listed
        texts = TextColumns(listed.table, studies)
        dates = zip(listed.years[studies].tolist(), texts["ecg_time"], strict=True)
        flags = [date_flags(year, text) for year, text in dates]
        rates, reports = self._measured(studies, flags)
        ages, sexes = self._persons(studies, flags)
        statements, certainties, unmapped = transposed(reports, 3)
        return plan_columns(
            record_id=ids(listed.studies[studies], texts["study_id"]),
            patient_id=ids(listed.subjects[studies], texts["subject_id"]),
            file=texts["path"],
            visit=listed.visits.number[studies].tolist(),
            days_since_first=known(listed.visits.days_since_first[studies]),
            window=windows.tolist(),
            window_start_s=window_starts_s(windows, self.settings, RATE_HZ),
            heart_rate_bpm=rates,
            age_years=ages,
            sex=sexes,
            statements=statements,
            certainties=certainties,
            unmapped=unmapped,
            flags=flags,
            **reject_columns(listed.faults[studies], FAULTS, texts, RECORD_LIST),
        )

    def _measured(
        self, studies: Numbers, flags: list[tuple[str, ...]]
    ) -> tuple[list[float | None], list[_ReportColumns]]:
        """Return heart rates and columns of the reports; say in ``flags`` where there are none."""
        found = self.measurements
        if found is None:
            return [None] * len(studies), [((), (), ())] * len(studies)
        places = found.place[studies]
        for row in np.flatnonzero(places < 0):
            flags[row] += ("measurements_missing",)
        is_there = places >= 0
        rates = np.full(len(places), np.nan)
        rates[is_there] = found.heart_rates_bpm[places[is_there]]
        reports = np.zeros((len(places), len(REPORTS)), dtype=np.int32)
        reports[is_there] = found.reports[places[is_there]]
        return known(rates), [self._report(codes, found.texts) for codes in reports]

    def _report(self, codes: NDArray[np.int32], texts: list[str]) -> _ReportColumns:
        key = codes.tobytes()
        columns = self._known.get(key)
        if columns is None:
            if len(self._known) >= _KEPT_READINGS:
                self._known.clear()
            columns = as_columns(read_machine([texts[code] for code in codes.tolist() if code]))
            self._known[key] = columns
        return columns

    def _persons(
        self, studies: Numbers, flags: list[tuple[str, ...]]
    ) -> tuple[list[float | None], list[Sex]]:
        """Return ages and sexes; say in ``flags`` what is odd about them."""
        found = self.patients
        if found is None:
            return [None] * len(studies), ["unknown"] * len(studies)
        ages: list[float | None] = []
        sexes: list[Sex] = []
        places, years = found.place[studies].tolist(), self.listed.years[studies].tolist()
        for row, (place, year) in enumerate(zip(places, years, strict=True)):
            age, odd = (None, ("patient_missing",)) if place < 0 else _age(found, place, year)
            text = "" if place < 0 else found.sex_texts[found.sexes[place]]
            if text and text not in _SEXES:
                odd += (f"sex_unreadable:{shown(text)}",)
            flags[row] += odd
            ages.append(age)
            sexes.append(_SEXES.get(text, "unknown"))
        return ages, sexes


def _age(found: Patients, place: int, year: float) -> tuple[float | None, tuple[str, ...]]:
    """Return (age in ``year``, flags).

    An anchor age of 91 stands for any above 89: before the anchor year the age is not known.
    """
    years_later = year - float(found.anchor_years[place])
    anchor_age = float(found.anchor_ages[place])
    if anchor_age >= CENSORED_AGE and years_later < 0:
        return None, ("age_censored",)
    return age_of(anchor_age + years_later)
