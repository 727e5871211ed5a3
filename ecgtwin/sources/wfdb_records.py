"""WFDB record <-> EcgRecord; the only import of wfdb. Its exceptions never leave this file."""

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS, lead_positions
from ecgtwin.signals.record import EcgRecord

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # wfdb 4.3 builds a table at import by calls that pandas 3 deprecates
    import wfdb

_MV_PER_UNIT = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_SIGNAL_SUFFIXES = (".dat", ".mat")


def read_wfdb(path: Path, *, record_id: str, patient_id: str) -> EcgRecord:
    """Read the record whose header is ``<path>.hea``, in mV, leads in standard order.

    Isolated missing samples stay NaN. Raises RecordError, in one line that names the record.
    """
    header = _header(path, record_id)
    names, units = list(header.sig_name or []), list(header.units or [])
    try:
        positions = lead_positions(names)
    except RecordError as error:
        raise RecordError(f"record {record_id}: {error}") from None
    rate_hz = float(header.fs)
    if not 0 < rate_hz < np.inf:
        raise RecordError(
            f"record {record_id}: the sampling rate is {header.fs} Hz; it must be above 0 "
            f"(header {path.name}.hea)"
        )
    factors = _factors(record_id, [units[position] for position in positions])

    samples_mv = _samples(path, record_id, positions, header.sig_len) * factors[:, None]
    empty = [LEADS[lead] for lead in np.flatnonzero(np.isnan(samples_mv).all(axis=1))]
    if empty:
        raise RecordError(
            f"record {record_id}: no sample is a number (all NaN) in lead {', '.join(empty)}"
        )
    return EcgRecord(samples_mv.astype(np.float32), rate_hz, patient_id, record_id)


def read_comments(path: Path, *, record_id: str) -> dict[str, str]:
    """Return the ``key: value`` comments of a header, keys in lower case."""
    pairs = (line.partition(":") for line in _header(path, record_id).comments)
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def write_wfdb(record: EcgRecord, folder: Path, *, comments: Iterable[str] = ()) -> Path:
    """Write ``record`` as 16-bit WFDB, 1 uV a step, named by its record id; return its path.

    Values beyond 32.767 mV are an error.
    """
    largest_mv = float(np.nanmax(np.abs(record.samples_mv), initial=0.0))
    if largest_mv > 32.767:
        raise RecordError(
            f"record {record.record_id}: {largest_mv:.1f} mV does not fit 16 bits at 1 uV a step"
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


def content_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the headers, and the sizes of the signal files beside them.

    A WFDB header holds a checksum of every signal, so it stands for the samples too.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        header = path.with_name(path.name + ".hea")
        content = header.read_bytes() if header.is_file() else b"absent"
        sizes = [_size(path.with_name(path.name + suffix)) for suffix in _SIGNAL_SUFFIXES]
        for field in (path.name.encode(), content, repr(sizes).encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _header(path: Path, record_id: str) -> wfdb.Record:
    try:
        header = wfdb.rdheader(str(path))
    except FileNotFoundError:
        raise RecordError(
            f"record {record_id}: the header is missing ({path.name}.hea in {path.parent})"
        ) from None
    except Exception as error:  # wfdb parses by index and key: any kind comes out of it
        raise RecordError(
            f"record {record_id}: the header is not WFDB ({path.name}.hea, {_reason(error)}); "
            "its first line must be NAME LEADS RATE SAMPLES, then one line per lead"
        ) from None
    if _has_foreign_characters(path):
        raise RecordError(
            f"record {record_id}: the header is not ASCII ({path.name}.hea), so its units cannot "
            "be trusted; write microvolts as uV"
        )
    if not isinstance(header, wfdb.Record):
        raise RecordError(
            f"record {record_id}: the record has several segments (header {path.name}.hea); "
            "only single-segment records are read"
        )
    return header


def _has_foreign_characters(path: Path) -> bool:
    """Say whether a line that is no comment has them: wfdb drops them, and reads a micro-V as V."""
    lines = path.with_name(path.name + ".hea").read_bytes().splitlines()
    return any(not line.isascii() for line in lines if not line.lstrip().startswith(b"#"))


def _samples(
    path: Path, record_id: str, positions: list[int], num_samples: int | None
) -> NDArray[np.float64]:
    """Return (12, time) in the units of the header."""
    try:
        record = wfdb.rdrecord(str(path), channels=positions)
    except FileNotFoundError as error:
        name = Path(error.filename or f"{path.name}.dat").name
        raise RecordError(
            f"record {record_id}: the signal file is missing ({name} in {path.parent})"
        ) from None
    except Exception as error:  # see _header
        sizes = _sizes_found(path)
        raise RecordError(
            f"record {record_id}: the signal file does not fit the header ({_reason(error)}); "
            f"found {sizes or 'no signal file of that name'}, {path.name}.hea promises "
            f"{num_samples} samples a lead: is it truncated?"
        ) from None
    signal: NDArray[np.float64] = record.p_signal.T
    return signal


def _sizes_found(path: Path) -> str:
    found = [path.with_name(path.name + suffix) for suffix in _SIGNAL_SUFFIXES]
    return ", ".join(f"{file.name} of {_size(file)} bytes" for file in found if file.is_file())


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _factors(record_id: str, units: list[str]) -> NDArray[np.float64]:
    unknown = sorted({unit for unit in units if unit.lower() not in _MV_PER_UNIT})
    if unknown:
        raise RecordError(
            f"record {record_id}: leads are in {', '.join(unknown)}; allowed: nV, uV, mV, V"
        )
    return np.array([_MV_PER_UNIT[unit.lower()] for unit in units])
