"""Records on disk for the tests of the sources: simulated, so that their content is known."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.simulated import simulate_one
from ecgtwin.sources.source import Columns, Reject, Source, SourceRow, planned_rows
from ecgtwin.sources.wfdb_records import read_wfdb, write_wfdb


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


def write_formats(folder: Path, formats: Sequence[str], steps: np.ndarray) -> None:
    """Write ``rec`` with whole ``steps`` (time, signal), each signal in its format, by wfdb."""
    import wfdb

    names = list(LEADS) + [f"x{number}" for number in range(len(formats) - len(LEADS))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "rec",
            fs=500,
            units=["mV"] * len(formats),
            sig_name=names,
            d_signal=steps,
            fmt=list(formats),
            adc_gain=[200.0] * len(formats),
            baseline=[0] * len(formats),
            write_dir=str(folder),
        )


def header_by_wfdb(path: Path) -> Any:
    """Return what wfdb makes of ``<path>.hea``; None where it refuses."""
    import wfdb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return wfdb.rdheader(str(path))
        except wfdb.io.header.HeaderSyntaxError:
            return None


def record_by_wfdb(path: Path) -> Any:
    """Return the record whose header is ``<path>.hea`` as wfdb reads it."""
    import wfdb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdrecord(str(path))


def read_path(path: Path, **more: Any) -> tuple[EcgRecord, tuple[str, ...]]:
    """Read the record whose header is ``<path>.hea``; its id is its name."""
    folder = SourceFolder(str(path.parent))
    return read_wfdb(folder, path.name, record_id=path.name, patient_id="someone", **more)


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


def planned(source: Source, rows_per_block: int = 1024) -> Columns:
    """Return the whole plan of a source as one block."""
    joined: Columns = {}
    for columns in source.plan(rows_per_block):
        for name, values in columns.items():
            joined.setdefault(name, []).extend(values)
    return joined


def outcome(source: Source) -> tuple[int, int, dict[str, int], dict[str, int]]:
    """Return (rows, rows of later windows, rejects by kind, flagged rows by flag), all read."""
    rows = source.reader().read(planned_rows(planned(source), first=0))
    kept = [row for row in rows if isinstance(row, SourceRow)]
    rejects = Counter(row.kind for row in rows if isinstance(row, Reject))
    flags = Counter(flag.partition(":")[0] for row in kept for flag in row.flags)
    return len(source), sum(row.window > 0 for row in kept), dict(rejects), dict(flags)
