"""Records on disk for the tests of the sources: simulated, so that their content is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.simulated import simulate_one
from ecgtwin.sources.wfdb_records import write_wfdb


def simulated_record(person: int = 0, heart_rate_bpm: float = 72.0) -> EcgRecord:
    """Return ten seconds of sinus rhythm at 500 Hz."""
    row = simulate_one(
        seed=5, person=person, visit=0, state="sinus rhythm", heart_rate_bpm=heart_rate_bpm
    )
    return replace(row.record, record_id=f"rec{person}", patient_id=f"pat{person}")


def write_tree(folder: Path, num_records: int) -> list[EcgRecord]:
    """Write rec0, rec1, ... at 60, 64, ... bpm into ``folder``; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [simulated_record(person, 60.0 + 4 * person) for person in range(num_records)]
    for record in records:
        write_wfdb(record, folder, comments=["Age: 61", "Sex: Female", "Dx: 426783006"])
    return records


def edit_header(path: Path, old: str, new: str) -> None:
    """Replace ``old`` in a header, wherever it stands."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def with_empty_lead(record: EcgRecord, lead: int) -> EcgRecord:
    """Return the record with NaN in all of one lead."""
    samples_mv = record.samples_mv.copy()
    samples_mv[lead] = np.nan
    return replace(record, samples_mv=samples_mv)
