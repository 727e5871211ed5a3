"""WFDB record <-> EcgRecord; the only import of wfdb. Its exceptions never leave this file.

Format 16, which every large archive uses, is decoded here (and 61, its mirror image); wfdb decodes
the others.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.wfdb_header import (
    SignalLine,
    WfdbHeader,
    read_header,
    read_signal_file,
    signal_missing,
)
from ecgtwin.sources.wfdb_samples import MISSING, Recording, Stored
from ecgtwin.spec.ingest import OnFault

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # wfdb 4.3 builds a table at import by calls that pandas 3 deprecates
    import wfdb

# Samples that a group of bytes holds, and its bytes; FLAC (508, 516, 524) has no fixed size.
_PACKED = {
    "16": (1, 2), "61": (1, 2), "160": (1, 2), "80": (1, 1), "212": (2, 3), "310": (3, 4),
    "311": (3, 4), "24": (1, 3), "32": (1, 4), "8": (1, 1),
}  # fmt: skip
_PLAIN = {"16": "<i2", "61": ">i2"}  # decoded here; wfdb 4.3 writes no 61, and cannot read it
_MAX_FLAC_SAMPLES = 5 * 10**7  # of a file: a few bytes of it may stand for thousands
_LONGEST_SUM = 512  # see _checksums


def read_wfdb(
    folder: SourceFolder,
    name: str,
    *,
    record_id: str,
    patient_id: str,
    start_s: float = 0.0,
    duration_s: float | None = None,
    on_checksum: OnFault = "reject",
) -> tuple[EcgRecord, tuple[str, ...]]:
    """Return the record whose header is ``<name>.hea``, or a part of it, and what is odd about it.

    Samples are in mV, leads in standard order by name; missing samples are NaN. The checksums are
    those of the whole record. Raises RecordError, in one line that names the record.
    """
    recording = read_recording(folder, name, record_id=record_id, on_checksum=on_checksum)
    record = recording.window(patient_id, start_s=start_s, duration_s=duration_s)
    return record, recording.flags


def read_recording(
    folder: SourceFolder, name: str, *, record_id: str, on_checksum: OnFault = "reject"
) -> Recording:
    """Read a record whole; RecordError where it does not agree with its header.

    Checksum and first value are compared for every signal of the files that hold the twelve leads;
    other files are not read. A file longer than the header promises is flagged when the checksums
    of all its signals agree, and refused otherwise, since the number of signals may be wrong.
    """
    header = read_header(folder, name, record_id=record_id)
    files = list(dict.fromkeys(header.signals[place].file for place in header.leads))
    decoded = {file: _read_file(folder, name, file, header, record_id) for file in files}
    flags = [*header.flags]
    wrong = [lead for found in decoded.values() for lead in found.wrong]
    if wrong and on_checksum == "reject":
        raise RecordError(
            f"record {record_id}: the samples are not those that the header was written for "
            f"(checksum or first value of {', '.join(wrong)}; {name}.hea)",
            kind="checksum_mismatch",
            value=", ".join(wrong),
        )
    if wrong:
        flags.append(f"checksum_mismatch:{'/'.join(wrong)}")
    excesses = [found.excess_bytes for found in decoded.values()]
    flags += [f"signal_longer:{excess}" for excess in excesses if excess]
    stored, columns = _twelve(header, decoded)
    return Recording(record_id, header, stored, columns, tuple(flags))


@dataclass(frozen=True, slots=True)
class _File:
    """The signals ``places`` of a header as they are stored, (time, signal)."""

    places: tuple[int, ...]
    stored: Stored
    wrong: tuple[str, ...]  # signals whose checksum or first value is another
    excess_bytes: int


def _twelve(header: WfdbHeader, files: dict[str, _File]) -> tuple[Stored, tuple[int, ...]]:
    if len(files) == 1:
        (only,) = files.values()
        return only.stored, tuple(only.places.index(place) for place in header.leads)
    leads = []
    for place in header.leads:
        found = files[header.signals[place].file]
        leads.append(found.stored[:, found.places.index(place)])
    return np.stack(leads, axis=1), tuple(range(len(LEADS)))


def _read_file(
    folder: SourceFolder, name: str, file: str, header: WfdbHeader, record_id: str
) -> _File:
    beside = file if "/" not in name else f"{name.rpartition('/')[0]}/{file}"
    data = read_signal_file(folder, beside, record_id=record_id)
    places = tuple(place for place, line in enumerate(header.signals) if line.file == file)
    signals = [header.signals[place] for place in places]
    excess = _excess_bytes(len(data), signals, header.num_frames, record_id)
    if signals[0].format in _PLAIN and all(line.per_frame == 1 for line in signals):
        stored = _decode_16(data, signals, header.num_frames)
        sums, firsts = _checksums(stored), stored[0]
    else:
        each = _decode_by_wfdb(data, signals, header.num_frames, record_id)
        sums = np.array([signal.sum() for signal in each])
        firsts = np.array([signal[0] for signal in each])
        whole = [len(signal) == header.num_samples for signal in each]
        stored = np.stack(list(compress(each, whole)), axis=1)
        places = tuple(compress(places, whole))
    wrong = tuple(_wrong(signals, sums, firsts))
    if excess and any(line.checksum is None for line in signals):
        raise RecordError(
            f"record {record_id}: {file} has {excess} bytes more than the header promises, which "
            "gives no checksums: is a signal or a part of the samples not in the header?",
            kind="signal_longer",
            value=f"{len(data)} bytes",
        )
    return _File(places, stored, wrong, excess)


def check_sizes(
    header: WfdbHeader, size_of: Callable[[str], int | None], *, record_id: str
) -> None:
    """Raise RecordError where a signal file is not there, or too short for its header.

    ``size_of`` a file's name is its bytes, None where it is absent. A header alone may promise
    anything.
    """
    for file in dict.fromkeys(header.signals[place].file for place in header.leads):
        size = size_of(file)
        if size is None:
            raise signal_missing(file, record_id)
        signals = [line for line in header.signals if line.file == file]
        _excess_bytes(size, signals, header.num_frames, record_id)


def _excess_bytes(
    found: int, signals: Sequence[SignalLine], num_frames: int, record_id: str
) -> int:
    """Return how many bytes are too many; RecordError where there are too few."""
    first = signals[0]
    if first.format not in MISSING:
        raise RecordError(
            f"record {record_id}: signal format {first.format} is unknown "
            f"(allowed: {', '.join(sorted(MISSING, key=int))})",
            kind="format_unknown",
            value=first.format,
        )
    count = num_frames * sum(line.per_frame for line in signals)
    if first.format not in _PACKED:
        if count > _MAX_FLAC_SAMPLES:
            raise RecordError(
                f"record {record_id}: {count} samples are too many for one FLAC file",
                kind="header_malformed",
                value=count,
            )
        return 0
    samples, size = _PACKED[first.format]
    groups, rest = divmod(count, samples)
    needed = first.offset + groups * size + (min(rest + 1, size) if rest else 0)
    if found < needed:
        raise RecordError(
            f"record {record_id}: the signal file does not fit the header; found {first.file} of "
            f"{found} bytes, {needed} are needed for {num_frames} samples a lead: "
            "is it truncated?",
            kind="signal_truncated",
            value=f"{found} bytes",
        )
    # a packed group may be filled up
    return max(found - first.offset - (groups + bool(rest)) * size, 0)


def _decode_16(data: bytes, signals: Sequence[SignalLine], num_frames: int) -> Stored:
    """Return (time, signal) of one file of whole 16-bit frames."""
    first = signals[0]
    count = num_frames * len(signals)
    steps = np.frombuffer(data, _PLAIN[first.format], count, first.offset)
    return steps.astype(np.int16, copy=False).reshape(-1, len(signals))


def _decode_by_wfdb(
    data: bytes, signals: Sequence[SignalLine], num_frames: int, record_id: str
) -> list[Stored]:
    """Return each signal of one file, decoded by wfdb from a folder that holds nothing else."""
    lines = [f"r {len(signals)} 250 {num_frames}"]
    lines += [
        f"s.dat {line.format}x{line.per_frame}+{line.offset} 1(0)/mV 0 0 {line.first or 0} 0 0 {n}"
        for n, line in enumerate(signals)
    ]
    with tempfile.TemporaryDirectory(prefix="ecgtwin-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # see the import
        Path(place, "r.hea").write_text("\n".join(lines) + "\n")
        Path(place, "s.dat").write_bytes(data)
        try:
            record = wfdb.rdrecord(f"{place}/r", physical=False, smooth_frames=False)
        except Exception as error:  # wfdb decodes by index: any kind comes out of it
            raise _undecodable(signals[0].file, _reason(error), record_id) from None
    found = [np.asarray(signal) for signal in record.e_d_signal]
    if [len(signal) for signal in found] != [num_frames * line.per_frame for line in signals]:
        raise _undecodable(signals[0].file, "fewer samples than the header promises", record_id)
    return found


def _undecodable(file: str, reason: str, record_id: str) -> RecordError:
    return RecordError(
        f"record {record_id}: {file} cannot be decoded ({reason})",
        kind="signal_malformed",
        value=reason[:60],
    )


def _wrong(signals: Sequence[SignalLine], sums: Stored, firsts: Stored) -> Iterator[str]:
    """Yield the signals that differ from their header in checksum or first value."""
    for line, found, first in zip(signals, sums.tolist(), firsts.tolist(), strict=True):
        is_right = line.checksum is None or (line.checksum - found) % 2**16 == 0
        if not is_right or line.first not in (None, first):
            yield line.name


def _checksums(stored: Stored) -> Stored:
    """Return the sum (signal,) of all samples, right in its last 16 bits."""
    # long rows first: numpy adds whole rows, and twelve numbers are too few to be quick
    count, width = stored.shape
    long = count // _LONGEST_SUM * _LONGEST_SUM
    kind: Any = stored.dtype
    rows = stored[:long].reshape(-1, _LONGEST_SUM * width).sum(axis=0, dtype=kind)
    total: Stored = rows.reshape(-1, width).sum(axis=0, dtype=kind)
    total += stored[long:].sum(axis=0, dtype=kind)
    return total


def write_wfdb(record: EcgRecord, folder: Path, *, comments: Iterable[str] = ()) -> Path:
    """Write ``record`` as 16-bit WFDB, 1 uV a step, named by its record id; return its path.

    Values beyond 32.767 mV are an error.
    """
    largest_mv = float(np.nanmax(np.abs(record.samples_mv), initial=0.0))
    if largest_mv > 32.767:
        raise RecordError(
            f"record {record.record_id}: {largest_mv:.1f} mV does not fit 16 bits at 1 uV a step",
            kind="amplitude_high",
            value=f"{largest_mv:.1f}",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # see the import
        wfdb.wrsamp(
            record.record_id,
            fs=record.sampling_rate_hz,
            units=["mV"] * len(LEADS),
            sig_name=list(LEADS),
            p_signal=np.asarray(record.samples_mv, dtype=np.float64).T,
            fmt=["16"] * len(LEADS),
            adc_gain=[1000.0] * len(LEADS),
            baseline=[0] * len(LEADS),
            comments=list(comments),
            write_dir=str(folder),
        )
    return folder / record.record_id


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
