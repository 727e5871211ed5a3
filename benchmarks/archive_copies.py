"""A PTB-XL folder of any size, made of the recordings of a small one; no two signals are alike.

Each copy of a recording begins elsewhere, has its leads in other places and some upside down: as
much to read and to judge as a real one, and no duplicate of it.
"""

import csv
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.leads import LEADS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb uses what pandas 3 deprecates
    import wfdb

Steps = NDArray[np.int16]

TABLES = ("ptbxl_database.csv", "scp_statements.csv")
_PATIENTS = 100_000  # between the numbers of a person's copies
_SUFFIX = {500: "hr", 100: "lr"}


def write_archive(source: Path, folder: Path, *, num_records: int, rate_hz: int) -> list[Path]:
    """Write ``num_records`` of 500 or 100 Hz below ``folder``; return their paths, table order.

    ``source`` is a PTB-XL folder with recordings of 500 Hz, of which as many are used as there are.
    """
    folder.mkdir(parents=True)
    (folder / TABLES[1]).write_bytes((source / TABLES[1]).read_bytes())
    rows, originals = _originals(source, rate_hz, num_records)
    paths = []
    with (folder / TABLES[0]).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for number in range(num_records):
            copy, place = divmod(number, len(rows))
            ecg_id = number + 1
            folder_name = f"records{rate_hz}/{ecg_id // 1000 * 1000:05d}"
            name = f"{folder_name}/{ecg_id:05d}_{_SUFFIX[rate_hz]}"
            patient = int(float(rows[place]["patient_id"])) + copy * _PATIENTS
            changed = {"ecg_id": ecg_id, "patient_id": patient}
            writer.writerow(rows[place] | changed | {"filename_hr": name, "filename_lr": name})
            paths.append(_write(folder / name, _copy(originals[place], copy), rate_hz))
    return paths


def _originals(source: Path, rate_hz: int, most: int) -> tuple[list[dict[str, str]], list[Steps]]:
    """Return the rows of the table whose recordings are there, and their samples (time, lead)."""
    rows, originals = [], []
    for row in _rows(source / TABLES[0]):
        path = source / row["filename_hr"]
        if len(rows) < most and path.with_name(path.name + ".hea").is_file():
            steps = wfdb.rdrecord(str(path), physical=False).d_signal
            if rate_hz == 100:
                steps = steps.reshape(-1, 5, steps.shape[1]).mean(axis=1)
            rows.append(row)
            originals.append(np.round(steps).astype(np.int16))
    return rows, originals


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        yield from islice(csv.DictReader(file), 1000)


def _copy(steps: Steps, copy: int) -> Steps:
    """Return (time, lead) begun elsewhere, leads moved, some inverted; copy 0 is unchanged."""
    if copy == 0:
        return steps
    signs = np.random.default_rng(copy).choice(np.array([-1, 1], dtype=np.int16), steps.shape[1])
    begun = np.roll(steps, 311 * copy % len(steps), axis=0)
    return np.ascontiguousarray(np.roll(begun, copy, axis=1) * signs)


def _write(path: Path, steps: Steps, rate_hz: int) -> Path:
    """Write one record as PTB-XL does: format 16, 1 uV a step, first values and checksums."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sums = steps.sum(axis=0, dtype=np.int64).astype(np.int16).tolist()
    lines = [f"{path.name} {len(LEADS)} {rate_hz} {len(steps)}"]
    lines += [
        f"{path.name}.dat 16 1000.0(0)/mV 16 0 {first} {total} 0 {lead.upper()}"
        for lead, first, total in zip(LEADS, steps[0].tolist(), sums, strict=True)
    ]
    path.with_name(path.name + ".hea").write_text("\n".join(lines) + "\n")
    path.with_name(path.name + ".dat").write_bytes(steps.astype("<i2").tobytes())
    return path
