"""MIMIC-IV-ECG made up in its true layout: tables, paths, headers, interleaved 16-bit samples."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
REPORTS = tuple(f"report_{number}" for number in range(18))
MEASURED_COLUMNS = (
    "subject_id", "study_id", "cart_id", "ecg_time", *REPORTS, "bandwidth", "filtering",
    "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis",
    "t_axis",
)  # fmt: skip
PATIENT_COLUMNS = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")
SUBJECT = 10000032

Line = Mapping[str, object]


def write_archive(
    folder: Path,
    studies: Sequence[Line],
    measured: Sequence[Line] | None = None,
    patients: Sequence[Line] | None = None,
) -> Path:
    """Write the tables; what a line does not say is as usual. ``measured`` is all usual if None."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_study(number) | dict(line) for number, line in enumerate(studies)]
    write_csv(folder / "record_list.csv", RECORD_COLUMNS, rows)
    if measured is None:
        keys = ("subject_id", "study_id", "ecg_time")
        measured = [{key: row[key] for key in keys} for row in rows]
    usual = {"report_0": "Sinus rhythm", "rr_interval": 800, "p_onset": 40, "qrs_axis": 29999}
    named = [_study(number) | usual | dict(line) for number, line in enumerate(measured)]
    write_csv(folder / "machine_measurements.csv", MEASURED_COLUMNS, named)
    if patients is not None:
        write_csv(folder / "patients.csv", PATIENT_COLUMNS, patients)
    return folder


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Line]) -> None:
    """Write the columns of the rows that the table has; empty where a row lacks one."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def study_path(subject: int, study: int) -> str:
    """Return where MIMIC-IV-ECG 1.0 keeps a study."""
    return f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"


def write_recording(folder: Path, path: str, samples: NDArray[np.int16], subject: int) -> None:
    """Write steps (12, time) of 5 uV in MIMIC's order of leads, with header, sums and comment."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name(target.name + ".dat").write_bytes(samples.T.astype("<i2").tobytes())
    name = target.name
    lines = [f"{name} {len(LEADS)} 500 {samples.shape[1]} 08:44:00 23/07/2180"]
    for lead, steps in zip(LEADS, samples, strict=True):
        checksum = int(steps.astype(np.int64).sum()) % 2**16
        lines.append(f"{name}.dat 16 200.0(0)/mV 16 0 {steps[0]} {checksum} 0 {lead}")
    lines.append(f"# <subject_id>: {subject}")
    target.with_name(name + ".hea").write_text("\n".join(lines) + "\n")


def _study(number: int) -> dict[str, object]:
    study = 40_000_000 + number
    return {
        "subject_id": SUBJECT,
        "study_id": study,
        "file_name": study,
        "ecg_time": f"2180-07-{number % 28 + 1:02d} 08:44:00",
        "path": study_path(SUBJECT, study),
    }
