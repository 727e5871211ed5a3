"""Reads recordings of MIMIC-IV-ECG, whose headers say whose they are."""

from dataclasses import dataclass

from ecgtwin.errors import RecordError
from ecgtwin.sources.archives.cpsc_matlab import CpscRecording
from ecgtwin.sources.archives.header_archive import WindowReader
from ecgtwin.sources.archives.recordings import shown
from ecgtwin.sources.source import PlannedRow
from ecgtwin.sources.wfdb_samples import Recording

_SUBJECT = "<subject_id>"


@dataclass(frozen=True, slots=True)
class MimicReader(WindowReader):
    """Reads planned rows; a recording whose header names another subject is a reject."""

    def _recording(self, row: PlannedRow) -> Recording | CpscRecording:
        recording = WindowReader._recording(self, row)
        for comment in recording.header.comments if isinstance(recording, Recording) else ():
            name, _, value = (part.strip() for part in comment.partition(":"))
            if name == _SUBJECT and value != row.patient_id:
                raise RecordError(
                    f"record {row.record_id}: its header names subject {shown(value)}, the record "
                    f"list {row.patient_id}",
                    kind="patient_mismatch",
                    value=shown(value),
                )
        return recording
