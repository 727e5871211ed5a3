"""The PTB Diagnostic ECG Database: 1000 Hz, fifteen leads, several visits of a patient.

Bousseljot, Kreiseler, Schnabel 1995; https://doi.org/10.13026/C28C71.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ecgtwin.sources.archives.comments import (
    age_in,
    fields_of,
    ptb_day,
    ptb_reading,
    sex_in,
    snomed_in,
)
from ecgtwin.sources.archives.header_archive import (
    HEADER,
    Described,
    Header,
    HeaderArchive,
    count_visits,
    described,
    stems,
)
from ecgtwin.sources.archives.record_table import (
    PATIENTS_TABLE,
    RecordTable,
    find_table,
)
from ecgtwin.sources.statements import merge
from ecgtwin.sources.wfdb_header import WfdbHeader
from ecgtwin.spec.ingest import ColumnsSpec

_PATIENT = re.compile(r"patient\d+")
RECORD_NAME = re.compile(r"s\d{4}(?:_re|lre)")  # s0010_re, s0014lre


@dataclass
class PtbSource(HeaderArchive):
    """Records of PTB, by the headers' paths; visits by the date in their comments.

    The patient is the folder ``patientNNN``; in a flat copy it is what ``patients.csv`` says, and
    else each record stands for a patient of its own. vx, vy and vz are left out.
    """

    name = "ptb"
    tables = (PATIENTS_TABLE,)

    def recordings(self) -> Iterator[Described]:
        """Yield what the header of each record says; all are read before the first is known."""
        table = find_table(self.folder, self.files, ColumnsSpec())
        pairs = [_recording(header, table) for header in self.headers(self.record_names())]
        visits = count_visits(
            [recording.patient_id for recording, _ in pairs], [when for _, when in pairs]
        )
        for (recording, _), (visit, days) in zip(pairs, visits, strict=True):
            yield replace(recording, visit=visit, days_since_first=days)
        if table is not None:
            yield from table.without_record(set(stems(self.files, HEADER)))


def _recording(header: Header, table: RecordTable | None) -> tuple[Described, float | None]:
    """Return a recording and its date in seconds."""
    folders = [part for part in header.name.split("/")[:-1] if _PATIENT.fullmatch(part)]
    given = table.text(header.name, "patient_id") if table else ""
    is_taken = table is not None and header.name in table.columns["patient_id"].tolist()
    alone = f"record {header.name}" if is_taken else header.name
    patient_id = given or (folders[-1] if folders else alone)
    recording = described(header, patient_id)
    if table is not None:
        fault = recording.fault or table.fault(header.name)
        flags = (*recording.flags, *table.row_flags(header.name))
        recording = replace(recording, fault=fault, flags=flags)
    if not isinstance(header.found, WfdbHeader):
        return recording, None
    fields = fields_of(header.found.comments)
    age_years, age_flags = age_in(fields.get("age", ""))
    when, date_flags = ptb_day(fields)
    recording = replace(
        recording,
        age_years=age_years,
        sex=sex_in(fields.get("sex", "")),
        reading=merge(snomed_in(fields.get("dx", "")), ptb_reading(fields)),
        flags=(*recording.flags, *age_flags, *date_flags),
    )
    return recording, when
