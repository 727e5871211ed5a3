"""The lines of PTB-XL's table as arrays: ids, SCP codes, splits, visits, what is wrong."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.archives.ptbxl_persons import SPLIT_OF_FOLD
from ecgtwin.sources.archives.recordings import (
    SAFE_PATH,
    Fault,
    Numbers,
    Visits,
    duplicates,
    first_fault,
)
from ecgtwin.sources.splits import strictest
from ecgtwin.spec.patients import Split
from ecgtwin.store.csv_tables import CsvTable

_NUM_FOLDS = 10
_CODE = re.compile(r"""\s*(['"])([^'"]{1,40})\1\s*:\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*""")

# Why a row is rejected before its signal is read; 0 is nothing.
FAULTS: tuple[Fault, ...] = (
    ("", "ecg_id", ""),
    ("row_malformed", "ecg_id", "is not a whole number"),
    ("row_malformed", "patient_id", "is not a whole number"),
    ("row_malformed", "strat_fold", "is not a number from 1 to 10"),
    ("row_malformed", "scp_codes", "is not {'CODE': likelihood in percent, ...}"),
    ("row_malformed", "filename", "is not a path inside the archive"),
    ("row_malformed", "filename", "is the recording of another ecg_id"),
    ("duplicate_record", "ecg_id", "stands on an earlier line already"),
)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of the table as arrays; ``splits``: the strictest that a patient's folds ask for.

    Ids are -1, dates NaN and codes None where they make no sense.
    """

    table: CsvTable
    ecg_ids: Numbers
    patients: Numbers
    codes: list[dict[str, float] | None]
    splits: Mapping[int, Split]
    dates_s: NDArray[np.float64]
    faults: NDArray[np.int8]
    visits: Visits


def lines_of(table: CsvTable, file_column: str) -> Lines:
    """Return the lines of ``ptbxl_database.csv``; ``file_column`` names the recordings."""
    ecg_ids, patients = table.whole_numbers("ecg_id"), table.whole_numbers("patient_id")
    folds = table.whole_numbers("strat_fold")
    codes = [codes_of(text) for text in table.texts("scp_codes")]
    of_file = table.captured_numbers(file_column, r"(?:^|/)(?P<number>[0-9]{5})_[hl]r$")
    wrong = (
        ecg_ids < 0,
        patients < 0,
        (folds < 1) | (folds > _NUM_FOLDS),
        np.array([found is None for found in codes], dtype=np.bool_),
        ~table.matches(file_column, SAFE_PATH),
        (of_file >= 0) & (of_file != ecg_ids),
    )
    faults = first_fault(wrong)
    sound = np.flatnonzero(faults == 0)
    faults[sound[duplicates(ecg_ids[sound])]] = len(wrong) + 1
    dates_s = table.seconds("recording_date")
    visits = Visits.by_date(patients, dates_s, faults == 0)
    splits = _splits(patients, folds)
    return Lines(table, ecg_ids, patients, codes, splits, dates_s, faults, visits)


def codes_of(text: str) -> dict[str, float] | None:
    """Return SCP code -> likelihood in percent from ``{'NORM': 100.0, 'SR': 0.0}``.

    None where it is something else. Never evaluated as Python: a table is data.
    """
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    found = {}
    for part in text[1:-1].split(",") if text[1:-1].strip() else ():
        match = _CODE.fullmatch(part)
        if match is None or float(match[3]) > 100:
            return None
        found[match[2]] = float(match[3])
    return found


def _splits(patients: Numbers, folds: Numbers) -> dict[int, Split]:
    """Return patient -> split; the folds keep patients whole, but this does not rely on it."""
    found: dict[int, set[Split]] = defaultdict(set)
    for patient, fold in zip(patients.tolist(), folds.tolist(), strict=True):
        found[patient].add(SPLIT_OF_FOLD.get(fold, "train"))
    return {patient: strictest(splits) for patient, splits in found.items()}
