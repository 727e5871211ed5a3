"""What archives share whose headers say most: recordings planned from them, windows, reading."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, islice
from typing import ClassVar, Self

from ecgtwin.errors import RecordError, SourceError, StoreError
from ecgtwin.sources.archives.cpsc_matlab import SUFFIX as CPSC_SUFFIX
from ecgtwin.sources.archives.cpsc_matlab import CpscRecording, read_cpsc
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.source import Columns, PlannedRow, Reject, Source, SourceRow, plan_columns
from ecgtwin.sources.statements import Reading
from ecgtwin.sources.wfdb_header import WfdbHeader, header_missing, parse_header, unreadable
from ecgtwin.sources.wfdb_records import check_sizes, read_recording
from ecgtwin.sources.wfdb_samples import Recording
from ecgtwin.spec.condition import Sex
from ecgtwin.spec.ingest import IngestSpec

HEADER = ".hea"

_NOTHING_SAID = Reading()

Listing = Sequence[tuple[str, int]]  # name and size of files


@dataclass(frozen=True, slots=True)
class Described:
    """What header and tables say of one recording; ``fault`` where it cannot be used.

    ``file`` is the name of the header without suffix, or of a file that needs none.
    """

    record_id: str
    file: str
    patient_id: str
    visit: int = 0
    days_since_first: float | None = None
    official_split: str | None = None
    age_years: float | None = None
    sex: Sex = "unknown"
    heart_rate_bpm: float | None = None
    reading: Reading = _NOTHING_SAID
    flags: tuple[str, ...] = ()
    num_samples: int = 0
    rate_hz: float = 0.0
    content: str = ""  # digest of what was read of it
    fault: RecordError | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """A header as it lies on disk, and as it is understood; ``fault`` of the files it names."""

    name: str
    data: bytes
    found: WfdbHeader | RecordError
    fault: RecordError | None = None


@dataclass
class HeaderArchive(Source):
    """Recordings named by the ``.hea`` files below a folder; ``files`` are all that lie there.

    The record id is the path of the header without suffix.
    """

    tables: ClassVar[tuple[str, ...]] = ()  # that may lie in the folder and are read

    folder: SourceFolder
    settings: IngestSpec
    files: Listing
    _num_rows: int | None = field(default=None, init=False, repr=False)
    _headers_digest: str | None = field(default=None, init=False, repr=False)

    @classmethod
    def open(cls, url: str, *, settings: IngestSpec) -> Self:
        """List the folder; SourceError where there is no recording."""
        folder = SourceFolder(url)
        archive = cls(folder, settings, folder.tree())
        if not archive.record_names():
            raise SourceError(f"{url} holds {archive.wanted()}")
        return archive

    @classmethod
    def wanted(cls) -> str:
        """Return what a folder without recordings lacks, in words."""
        return "no WFDB record (no .hea file at any depth)"

    def record_names(self) -> list[str]:
        """Return the headers' names without suffix, at most the limit, in order."""
        return stems(self.files, HEADER)[: self.settings.limit]

    @abstractmethod
    def recordings(self) -> Iterator[Described]:
        """Yield what is known of each recording, from ``headers``."""

    def headers(self, names: Iterable[str]) -> Iterator[Header]:
        """Yield the header of each name, in order."""
        yield from self.folder.map(self._header, names)

    def plan(self, rows_per_block: int) -> Iterator[Columns]:
        """Yield the rows in order; whole windows only of what is longer than one."""
        waiting: list[tuple[Described, int, float]] = []
        count, digest = 0, hashlib.blake2b(digest_size=16)
        for recording in islice(self.recordings(), self.settings.limit):
            digest.update(f"{recording.record_id}\0{recording.content}\n".encode())
            for window, start_s in enumerate(window_starts(recording, self.settings)):
                waiting.append((recording, window, start_s))
                count += 1
                if len(waiting) == rows_per_block:
                    yield _columns(waiting)
                    waiting = []
        if waiting:
            yield _columns(waiting)
        self._num_rows, self._headers_digest = count, digest.hexdigest()

    def __len__(self) -> int:
        """Return the number of rows; reads all headers once."""
        self._survey()
        assert self._num_rows is not None
        return self._num_rows

    def describe(self) -> dict[str, object]:
        """Return digests of the names and sizes of the files, and of what headers and tables say.

        A WFDB header holds a checksum of every signal, so it stands for the samples too.
        """
        self._survey()
        names = self.record_names()
        return {
            "name": self.name,
            "num_recordings": len(names),
            "files_digest": files_digest(self.files, names),
            "records_digest": self._headers_digest,
            "tables": self._table_digests(),
        }

    def reader(self) -> "WindowReader":
        """Return what reads the rows."""
        return WindowReader(self.folder, self.settings)

    def _table_digests(self) -> dict[str, str]:
        there = [name for name, _ in self.files if name in self.tables]
        return {name: content_digest(self.folder.read(name)) for name in there}

    def _survey(self) -> None:
        if self._num_rows is None:
            for _ in self.plan(1024):
                pass

    def _header(self, name: str) -> Header:
        if (shown := printable(name)) != name:
            return Header(shown, b"", unprintable(shown))
        file = f"{name}{HEADER}"
        try:
            data = self.folder.read(file)
        except FileNotFoundError:
            return Header(name, b"", header_missing(name, name))
        except StoreError as error:
            fault = unreadable(self.folder, file, error, name)
            if isinstance(fault, RecordError):
                return Header(name, b"", fault)
            raise
        try:
            found = parse_header(data, name=name, record_id=name)
        except RecordError as error:
            return Header(name, data, error)
        return Header(name, data, found, self._file_fault(name, found))

    def _file_fault(self, name: str, header: WfdbHeader) -> RecordError | None:
        beside = f"{name.rpartition('/')[0]}/".removeprefix("/")
        try:
            check_sizes(header, lambda file: self._sizes.get(beside + file), record_id=name)
        except RecordError as error:
            return error
        return None

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {name: size for name, size in self.files if not name.endswith(HEADER)}


@dataclass(frozen=True, slots=True)
class WindowReader:
    """Reads planned rows; a file is read once for all its windows that are wanted together."""

    folder: SourceFolder
    settings: IngestSpec

    def read(self, rows: Sequence[PlannedRow]) -> list[SourceRow | Reject]:
        """Return one entry per row, in order; a bad recording becomes a Reject."""
        together = [list(group) for _, group in groupby(rows, _recording_of)]
        return [entry for found in self.folder.map(self._read, together) for entry in found]

    def _read(self, rows: Sequence[PlannedRow]) -> list[SourceRow | Reject]:
        planned = [row.reject for row in rows if row.reject is not None]
        if planned:
            return list(planned)
        try:
            recording = self._recording(rows[0])
        except RecordError as error:
            return [_reject(row, error) for row in rows]
        return [self._window(row, recording) for row in rows]

    def _recording(self, row: PlannedRow) -> Recording | CpscRecording:
        if row.file.endswith(CPSC_SUFFIX):
            return read_cpsc(self.folder, row.file, record_id=row.record_id)
        checksum = self.settings.quality.checksum
        return read_recording(self.folder, row.file, record_id=row.record_id, on_checksum=checksum)

    def _window(self, row: PlannedRow, recording: Recording | CpscRecording) -> SourceRow | Reject:
        try:
            record = recording.window(
                row.patient_id, start_s=row.window_start_s, duration_s=self.settings.window_s
            )
        except RecordError as error:
            return _reject(row, error)
        return row.with_record(record, flags=[f for f in recording.flags if f not in row.flags])


def _recording_of(row: PlannedRow) -> tuple[str, bool]:
    return row.record_id, row.reject is None


def _reject(row: PlannedRow, error: RecordError) -> Reject:
    return Reject(row.record_id, row.patient_id, str(error), error.kind, error.value)


def printable(name: str) -> str:
    """Return the name as text that fits a line; the same where it does already."""
    return name if name.isprintable() else ascii(name)[1:-1]


def unprintable(shown: str) -> RecordError:
    """Return the error of a file whose name no table can hold."""
    return RecordError(
        f"record {shown}: its file name holds characters that are no text; rename it",
        kind="name_malformed",
        value=shown,
    )


def stems(files: Listing, suffix: str) -> list[str]:
    """Return the names that end with ``suffix``, without it, sorted."""
    return sorted(name.removesuffix(suffix) for name, _ in files if name.endswith(suffix))


def files_digest(files: Listing, names: Iterable[str]) -> str:
    """Return a digest of the name and size of every file that belongs to one of ``names``."""
    digest, wanted = hashlib.blake2b(digest_size=16), set(names)
    for name, size in files:
        folder, slash, file = name.rpartition("/")
        if f"{folder}{slash}{file.partition('.')[0]}" in wanted or name in wanted:
            digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content_digest(data: bytes) -> str:
    """Return the digest of a file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def count_visits(
    patients: Sequence[str], seconds: Sequence[float | None]
) -> list[tuple[int, float | None]]:
    """Return (visit, days since the first) of each recording, by date, then in the order given.

    Recordings without a date come after those of the patient that have one.
    """
    late = [math.inf if when is None else when for when in seconds]
    first: dict[str, float | None] = {}
    count: dict[str, int] = {}
    found: list[tuple[int, float | None]] = [(0, None)] * len(patients)
    for place in sorted(range(len(patients)), key=late.__getitem__):
        patient, when = patients[place], seconds[place]
        start = first.setdefault(patient, when)
        days = None if when is None or start is None else (when - start) / 86400
        found[place] = (count.get(patient, 0), days)
        count[patient] = found[place][0] + 1
    return found


def described(header: Header, patient_id: str) -> Described:
    """Return the recording of a header: its length, its flags, or what is wrong with it."""
    content = content_digest(header.data)
    recording = Described(header.name, header.name, patient_id, content=content)
    if isinstance(header.found, RecordError):
        return replace(recording, fault=header.found)
    return replace(
        recording,
        flags=header.found.flags,
        num_samples=header.found.num_samples,
        rate_hz=header.found.rate_hz,
        fault=header.fault,
    )


def window_starts(recording: Described, settings: IngestSpec) -> list[float]:
    """Return where the windows begin, in seconds, each at a sample; one of what is too short."""
    if recording.fault is not None or settings.windows == "first":
        return [0.0]
    length = settings.window_s * recording.rate_hz
    count = max(1, math.floor(recording.num_samples / length + 1e-9))
    count = min(count, settings.max_windows or count)
    return [math.floor(window * length + 1e-6) / recording.rate_hz for window in range(count)]


def _columns(rows: Sequence[tuple[Described, int, float]]) -> Columns:
    found = [recording for recording, _, _ in rows]
    faults = [recording.fault for recording in found]
    statements = [recording.reading.statements for recording in found]
    return plan_columns(
        record_id=[recording.record_id for recording in found],
        file=[recording.file for recording in found],
        patient_id=[recording.patient_id for recording in found],
        visit=[recording.visit for recording in found],
        days_since_first=[recording.days_since_first for recording in found],
        window=[window for _, window, _ in rows],
        window_start_s=[start_s for _, _, start_s in rows],
        official_split=[recording.official_split for recording in found],
        age_years=[recording.age_years for recording in found],
        sex=[recording.sex for recording in found],
        heart_rate_bpm=[recording.heart_rate_bpm for recording in found],
        statements=[[statement.code for statement in given] for given in statements],
        certainties=[[statement.certainty for statement in given] for given in statements],
        unmapped=[list(recording.reading.unmapped) for recording in found],
        flags=[list(recording.flags) for recording in found],
        reason_kind=[fault and fault.kind for fault in faults],
        reason=[fault and str(fault) for fault in faults],
        reason_value=[fault and fault.value for fault in faults],
    )
