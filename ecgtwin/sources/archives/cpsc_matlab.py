"""The CPSC 2018 records as first published: MATLAB structs ``ECG{sex, age, data}``, no header.

Liu et al. 2018, https://doi.org/10.1166/jmihi.2018.2442: 500 Hz, mV, leads I, II, III, aVR, aVL,
aVF, V1..V6. Parsed here rather than by ``scipy.io.loadmat``, which believes every size in the file:
a damaged one may ask for all memory. MAT-File Format, MathWorks, level 5.
"""

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.wfdb_header import read_signal_file
from ecgtwin.sources.wfdb_samples import window_bounds

RATE_HZ = 500.0
SUFFIX = ".mat"

_MAGIC = b"MATLAB 5.0 MAT-file"
_HEADER_BYTES = 128
_MAX_BYTES = 2**27  # unpacked: more than an hour
_MAX_MV = 1e6
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHAR = 2, 4
_COMPLEX = 0x0800
_DTYPES = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8", 16: "<u1", 17: "<u2",
}  # fmt: skip

Real = NDArray[np.float64]


class _MalformedError(ValueError):
    """The bytes are not what the format allows."""


@dataclass(frozen=True, slots=True)
class CpscRecording:
    """One record: ``samples_mv`` (12, time), and what the struct says of the person."""

    record_id: str
    samples_mv: Real
    age: str
    sex: str
    flags: tuple[str, ...] = ()

    @property
    def num_samples(self) -> int:
        """Return the length of a lead."""
        return int(self.samples_mv.shape[1])

    def window(
        self, patient_id: str, *, start_s: float = 0.0, duration_s: float | None = None
    ) -> EcgRecord:
        """Return the samples from ``start_s`` on, for ``duration_s`` where there are so many."""
        start, stop = window_bounds(self.num_samples, RATE_HZ, start_s, duration_s)
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            samples_mv = self.samples_mv[:, start:stop].astype(np.float32)
        return EcgRecord(samples_mv, RATE_HZ, patient_id, self.record_id)


def read_cpsc(folder: SourceFolder, name: str, *, record_id: str) -> CpscRecording:
    """Read ``name``; RecordError, in one line, when it is anything else than such a record."""
    data = read_signal_file(folder, name, record_id=record_id)
    return parse_cpsc(data, name=name, record_id=record_id)


def parse_cpsc(data: bytes, *, name: str, record_id: str) -> CpscRecording:
    """Return the record that the bytes of ``name`` hold; see ``read_cpsc``."""
    if not data.startswith(_MAGIC):
        raise RecordError(
            f"record {record_id}: {name} has no header beside it ({record_id}.hea), and is no "
            "MATLAB 5 file that could do without",
            kind="header_missing",
            value=f"{record_id}.hea",
        )
    try:
        fields = _fields(data)
        samples_mv = _numbers(fields["data"])
        if samples_mv.shape[:1] != (len(LEADS),) or not samples_mv.size:
            raise _MalformedError(f"data has shape {samples_mv.shape}, not (12, samples)")
        if (np.abs(samples_mv) > _MAX_MV).any():
            raise _MalformedError(f"data holds samples beyond {_MAX_MV:g} mV")
        age, sex = _word(fields["age"]), _word(fields["sex"])
    except (_MalformedError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise RecordError(
            f"record {record_id}: {name} is not a struct ECG of sex, age and data ({reason})",
            kind="signal_malformed",
            value=reason[:60],
        ) from None
    empty = [LEADS[lead] for lead in np.flatnonzero(np.isnan(samples_mv).all(axis=1))]
    if empty:
        raise RecordError(
            f"record {record_id}: no sample is a number (all NaN) in lead {', '.join(empty)}",
            kind="lead_empty",
            value=", ".join(empty),
        )
    return CpscRecording(record_id, samples_mv, age, sex)


def _fields(data: bytes) -> dict[str, bytes]:
    """Return the matrix elements of the one variable, by the name of its field."""
    if data[124:128] != b"\x00\x01IM":
        raise _MalformedError("not a little-endian file of version 1")
    kind, content, rest = _element(data[_HEADER_BYTES:], "the file")
    if kind == _COMPRESSED:
        unpacking = zlib.decompressobj()
        unpacked = unpacking.decompress(content, _MAX_BYTES)
        if not unpacking.eof:
            raise _MalformedError(f"cut, or longer than {_MAX_BYTES} bytes")
        kind, content, _ = _element(unpacked, "the variable")
    if kind != _MATRIX or rest.strip(b"\0"):
        raise _MalformedError("not one variable")
    class_of, shape, name, rest = _matrix(content)
    if (class_of, shape, name) != (_STRUCT, (1, 1), b"ECG"):
        raise _MalformedError(f"the variable is {name[:20]!r} of class {class_of}, shape {shape}")
    _, width_bytes, rest = _element(rest, "the length of names")
    _, names, rest = _element(rest, "the names")
    (width,) = struct.unpack("<i", width_bytes)
    if not 0 < width <= 64 or len(names) % width or len(names) > 64 * width:
        raise _MalformedError("the names of the fields are cut")
    found = {}
    for start in range(0, len(names), width):
        field = names[start : start + width].rstrip(b"\0").decode("latin-1")
        kind, found[field], rest = _element(rest, f"field {field!r}")
        if kind != _MATRIX:
            raise _MalformedError(f"field {field!r} is no matrix")
    missing = {"sex", "age", "data"} - set(found)
    if missing:
        raise _MalformedError(f"no field {', '.join(sorted(missing))}")
    return found


def _element(data: bytes, what: str) -> tuple[int, bytes, bytes]:
    """Return (type, content, what follows) of the element that ``data`` begins with."""
    if len(data) < 8:
        raise _MalformedError(f"the end comes before {what}")
    kind, size = struct.unpack_from("<II", data)
    if kind >> 16:  # a small element: type and size in four bytes, up to four bytes of content
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _MalformedError(f"{what} has an impossible size")
        return kind, data[4 : 4 + size], data[8:]
    if size > len(data) - 8:
        raise _MalformedError(f"the end comes within {what}")
    padded = size if kind == _COMPRESSED else size + -size % 8
    return kind, data[8 : 8 + size], data[8 + padded :]


def _matrix(content: bytes) -> tuple[int, tuple[int, ...], bytes, bytes]:
    """Return (class, shape, name, the elements of the content)."""
    _, flags, rest = _element(content, "the flags")
    _, dimensions, rest = _element(rest, "the shape")
    _, name, rest = _element(rest, "the name")
    if len(flags) != 8 or len(dimensions) != 8:
        raise _MalformedError("no matrix of two dimensions")
    (word,) = struct.unpack_from("<I", flags)
    if word & _COMPLEX:
        raise _MalformedError("complex numbers")
    return word & 0xFF, struct.unpack("<ii", dimensions), name, rest


def _numbers(content: bytes) -> Real:
    """Return a real matrix as float64."""
    _, shape, _, rest = _matrix(content)
    kind, values, _ = _element(rest, "the values")
    if kind not in _DTYPES:
        raise _MalformedError(f"values of type {kind}")
    dtype = np.dtype(_DTYPES[kind])
    if min(shape) < 0 or len(values) != math.prod(shape) * dtype.itemsize:
        raise _MalformedError(f"{len(values)} bytes do not fill shape {shape}")
    numbers = np.frombuffer(values, dtype).astype(np.float64)
    return numbers.reshape(shape, order="F")


def _word(content: bytes) -> str:
    """Return a text, or the one number that stands in its place."""
    class_of, _, _, _ = _matrix(content)
    values = _numbers(content).ravel(order="F")
    if class_of == _CHAR:
        if len(values) > 64 or ((values < 0) | (values > 0xFFFF)).any():
            raise _MalformedError("a text that is none")
        return "".join(chr(int(value)) for value in values)
    return f"{values[0]:g}" if len(values) == 1 else ""
