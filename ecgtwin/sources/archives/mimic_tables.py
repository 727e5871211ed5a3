"""The tables of MIMIC-IV-ECG as arrays over the studies: one entry per line of the record list."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.archives.recordings import (
    SAFE_PATH,
    Fault,
    Numbers,
    Visits,
    duplicates,
    first_fault,
)
from ecgtwin.store.csv_tables import CsvTable

RECORD_COLUMNS = ("subject_id", "study_id", "ecg_time", "path")
REPORTS = tuple(f"report_{number}" for number in range(18))
MEASURED_COLUMNS = ("subject_id", "study_id", "rr_interval", *REPORTS)
PATIENT_COLUMNS = ("subject_id", "gender", "anchor_age", "anchor_year")

MIN_RR_MS, MAX_RR_MS = 300.0, 1500.0  # 29999, 0, 65535 and the like mean unknown

_SUBJECT_DIGITS, _STUDY_DIGITS = 8, 10

# Why a row is rejected before its signal is read: kind, column, what is wrong. 0 is nothing.
FAULTS: tuple[Fault, ...] = (
    ("", "study_id", ""),
    ("row_malformed", "subject_id", "is not a number of at most 8 digits"),
    ("row_malformed", "study_id", "is not a number of at most 10 digits"),
    ("row_malformed", "path", "is not a path inside the archive"),
    ("row_malformed", "path", "names another subject_id"),
    ("row_malformed", "path", "names another study_id"),
    ("duplicate_record", "study_id", "stands on an earlier line already"),
)


@dataclass(frozen=True, slots=True)
class Studies:
    """The lines of the record list; ``years`` of ecg_time, NaN where it is unreadable."""

    table: CsvTable
    subjects: Numbers
    studies: Numbers
    years: NDArray[np.float64]
    faults: NDArray[np.int8]
    visits: Visits


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the machine said; ``place`` is the line of each study, -1 where it has none."""

    place: Numbers
    heart_rates_bpm: NDArray[np.float64]  # of each line, NaN where unknown
    reports: NDArray[np.int32]  # (line, 18) into texts
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Patients:
    """What MIMIC-IV says of persons; ``place`` is the line of each study, -1 where it has none."""

    place: Numbers
    anchor_ages: NDArray[np.float64]
    anchor_years: NDArray[np.float64]
    sexes: NDArray[np.int32]  # into sex_texts
    sex_texts: list[str]


def studies_of(table: CsvTable) -> Studies:
    """Return the studies of the record list, each with what is wrong with its line."""
    subjects = table.whole_numbers("subject_id", max_digits=_SUBJECT_DIGITS)
    studies = table.whole_numbers("study_id", max_digits=_STUDY_DIGITS)
    path_subjects = table.captured_numbers("path", rf"/p(?P<number>[0-9]{{{_SUBJECT_DIGITS}}})/")
    path_studies = table.captured_numbers("path", r"/s(?P<number>[0-9]{1,10})/")
    wrong = (
        subjects < 0,
        studies < 0,
        ~table.matches("path", SAFE_PATH),
        (path_subjects >= 0) & (path_subjects != subjects),
        (path_studies >= 0) & (path_studies != studies),
    )
    faults = first_fault(wrong)
    sound = np.flatnonzero(faults == 0)
    faults[sound[duplicates(studies[sound])]] = len(wrong) + 1
    seconds = table.seconds("ecg_time")
    visits = Visits.by_date(subjects, seconds, faults == 0)
    return Studies(table, subjects, studies, _years(seconds), faults, visits)


def _years(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    readable = ~np.isnan(seconds)
    years = np.full(len(seconds), np.nan)
    years[readable] = seconds[readable].astype("datetime64[s]").astype("datetime64[Y]").astype(int)
    return years + 1970


def measurements_of(table: CsvTable, listed: Studies) -> Measurements:
    """Join the machine's measurements on subject and study; the first of equal lines counts."""
    keys = _keys(
        table.whole_numbers("subject_id", max_digits=_SUBJECT_DIGITS),
        table.whole_numbers("study_id", max_digits=_STUDY_DIGITS),
    )
    rr_ms = table.numbers("rr_interval")
    is_known = (rr_ms >= MIN_RR_MS) & (rr_ms <= MAX_RR_MS)
    rates = np.divide(60_000.0, rr_ms, out=np.full(len(rr_ms), np.nan), where=is_known)
    texts: dict[str, int] = {"": 0}
    reports = np.empty((len(table), len(REPORTS)), dtype=np.int32)
    for place, column in enumerate(REPORTS):
        codes, values = table.coded(column)
        numbers = np.array([texts.setdefault(value, len(texts)) for value in values], np.int32)
        reports[:, place] = numbers[codes]
    places = _places(keys, _keys(listed.subjects, listed.studies))
    return Measurements(places, rates, reports, list(texts))


def patients_of(table: CsvTable, listed: Studies) -> Patients:
    """Join the patients of MIMIC-IV on the subject; the first of equal lines counts."""
    subjects = table.whole_numbers("subject_id", max_digits=_SUBJECT_DIGITS)
    sexes, texts = table.coded("gender")
    return Patients(
        _places(subjects, listed.subjects),
        table.numbers("anchor_age"),
        table.numbers("anchor_year"),
        sexes,
        texts,
    )


def _keys(subjects: Numbers, studies: Numbers) -> Numbers:
    """Return one number for both; -1 where one of them is none."""
    keys: Numbers = subjects * 10**_STUDY_DIGITS + studies
    return np.where((subjects < 0) | (studies < 0), -1, keys)


def _places(keys: Numbers, wanted: Numbers) -> Numbers:
    """Return where each wanted key first stands; -1 where it does not, or is -1 itself."""
    known_keys, first = np.unique(keys, return_index=True)
    if not len(known_keys):
        return np.full(len(wanted), -1)
    near = np.minimum(np.searchsorted(known_keys, wanted), len(known_keys) - 1)
    return np.where((known_keys[near] == wanted) & (wanted >= 0), first[near], -1)
