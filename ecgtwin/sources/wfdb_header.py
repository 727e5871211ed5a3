"""WFDB headers of one segment, parsed strictly.

The format is that of https://wfdb.io/spec/header-files.html. ``wfdb.rdheader`` takes 3.9 ms for a
12-lead header, nine tenths of the time to read a record; this takes a fiftieth, and an archive has
800,000 of them. It is stricter where a wrong signal would follow: a rate, a number of samples and a
gain must be written, and nothing else than ASCII may stand outside comments.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ecgtwin.errors import RecordError, StoreError
from ecgtwin.signals.leads import LEADS, canonical_lead
from ecgtwin.sources.files import SourceFolder

MAX_HEADER_BYTES = 2**20
MIN_RATE_HZ, MAX_RATE_HZ = 10.0, 100_000.0
MAX_SIGNALS = 64
MAX_SAMPLES = 10**9  # of a lead
MIN_STEPS_PER_MV, MAX_STEPS_PER_MV = 1e-3, 1e9

HEADER_REPAIRED = "header_repaired"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_RECORD = re.compile(
    rf"(?P<name>[-\w]+)(?P<suffix>\.(?:mat|dat|hea))?(?P<segments>/\d+)?"
    rf"[ \t]+(?P<signals>\d+)"
    rf"(?:[ \t]+(?P<rate>{_NUMBER}|[+-]?inf|nan)(?:/{_NUMBER}(?:\({_NUMBER}\))?)?"
    rf"(?:[ \t]+(?P<samples>\d+)(?:[ \t]+.*)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_SIGNAL = re.compile(
    rf"(?P<file>\S+)[ \t]+(?P<format>\d+)"
    rf"(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:[ \t]+(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?\d+)\))?(?:/(?P<units>\S+))?"
    rf"(?:[ \t]+[+-]?\d+"  # resolution
    rf"(?:[ \t]+(?P<zero>[+-]?\d+)"
    rf"(?:[ \t]+(?P<first>[+-]?\d+)"
    rf"(?:[ \t]+(?P<checksum>[+-]?\d+)"
    rf"(?:[ \t]+[+-]?\d+)?)?)?)?)?)?"  # block size
    rf"(?:[ \t]+(?P<description>.*))?",
    re.ASCII,
)
_FILE = re.compile(r"[-\w.+=@ ]{1,200}", re.ASCII)
_MV_PER_UNIT = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_MAX_DIGITS = 18  # of a whole number
_SHOWN = 60  # characters of what was found


@dataclass(frozen=True, slots=True)
class SignalLine:
    """How one signal is stored; ``first`` and ``checksum`` are None where the header gives none.

    A sample in mV is ``(stored - baseline) / steps_per_mv``.
    """

    file: str
    format: str
    per_frame: int
    skew: int  # the signal is late by so many samples
    offset: int  # bytes before the first sample
    gain: float  # steps per unit
    baseline: int
    units: str
    first: int | None
    checksum: int | None
    name: str

    @property
    def steps_per_mv(self) -> float:
        """Return how many steps are 1 mV; NaN in a unit that is no voltage."""
        return self.gain / _MV_PER_UNIT.get(self.units.lower(), math.nan)


@dataclass(frozen=True, slots=True)
class WfdbHeader:
    """One header. ``leads`` says where each of ``LEADS`` stands in ``signals``."""

    signals: tuple[SignalLine, ...]
    leads: tuple[int, ...]
    rate_hz: float  # of the twelve leads
    num_frames: int
    num_samples: int  # of each of the twelve leads
    comments: tuple[str, ...]  # without the ``#``
    flags: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.rate_hz


def read_header(folder: SourceFolder, name: str, *, record_id: str) -> WfdbHeader:
    """Read ``<name>.hea``. Raises RecordError, in one line that names the record."""
    try:
        data = folder.read(f"{name}.hea")
    except FileNotFoundError:
        raise header_missing(name, record_id) from None
    except StoreError as error:
        raise unreadable(folder, f"{name}.hea", error, record_id) from None
    return parse_header(data, name=name, record_id=record_id)


def header_missing(name: str, record_id: str) -> RecordError:
    """Return the error of a record without header."""
    return RecordError(
        f"record {record_id}: the header is missing ({name}.hea)",
        kind="header_missing",
        value=f"{name}.hea",
    )


def signal_missing(file: str, record_id: str) -> RecordError:
    """Return the error of a record without signal file."""
    return RecordError(
        f"record {record_id}: the signal file is missing ({file})",
        kind="signal_missing",
        value=file,
    )


def unreadable(
    folder: SourceFolder, file: str, error: StoreError, record_id: str
) -> RecordError | StoreError:
    """Return the error of a file that is there; a store out of reach is no fault of a record."""
    if folder.is_remote:
        return error
    cause = error.__cause__
    reason = cause.strerror if isinstance(cause, OSError) else str(error)
    return RecordError(
        f"record {record_id}: {_shown(file)} cannot be read ({_shown(reason or 'unknown')})",
        kind="file_unreadable",
        value=_shown(file),
    )


def read_signal_file(folder: SourceFolder, name: str, *, record_id: str) -> bytes:
    """Return the content of a signal file. Raises RecordError, in one line."""
    try:
        return folder.read(name)
    except FileNotFoundError:
        raise signal_missing(name.rpartition("/")[2], record_id) from None
    except StoreError as error:
        raise unreadable(folder, name, error, record_id) from None


def parse_header(data: bytes, *, name: str, record_id: str) -> WfdbHeader:
    """Return what the header ``<name>.hea`` says; RecordError when it may not be believed.

    A record name with the suffix of its signal file (``E07938.mat 12 500 ...``, as in the Georgia
    records of the PhysioNet Challenge 2020) is repaired and flagged.
    """
    lines, comments = _split(data, name, record_id)
    match = _RECORD.fullmatch(lines[0]) if lines else None
    if match is None:
        raise _malformed(
            record_id,
            name,
            "its first line must be NAME LEADS RATE SAMPLES, then one line per lead",
            lines[0] if lines else "nothing",
        )
    if match["segments"]:
        raise RecordError(
            f"record {record_id}: the record has several segments (header {name}.hea); "
            "only single-segment records are read",
            kind="several_segments",
            value=match["segments"][1:],
        )
    frames_hz, num_frames = _rate_and_length(match, record_id, name)
    if not len(lines) - 1 == _whole(match["signals"]) <= MAX_SIGNALS:
        raise _malformed(
            record_id,
            name,
            f"it lists {len(lines) - 1} signals; as many as its first line says are needed, "
            f"at most {MAX_SIGNALS}",
            lines[0],
        )
    signals = tuple(_signal(line, record_id, name) for line in lines[1:])
    leads = _lead_places(signals, record_id)
    per_frame = _check(signals, leads, record_id, name)
    if num_frames * per_frame > MAX_SAMPLES or frames_hz * per_frame > MAX_RATE_HZ:
        raise _malformed(record_id, name, f"{per_frame} samples a frame are too many", lines[1])
    return WfdbHeader(
        signals=signals,
        leads=leads,
        rate_hz=frames_hz * per_frame,
        num_frames=num_frames,
        num_samples=num_frames * per_frame,
        comments=comments,
        flags=(HEADER_REPAIRED,) if match["suffix"] else (),
    )


def _split(data: bytes, name: str, record_id: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines and the comments, blank ones left out."""
    if len(data) > MAX_HEADER_BYTES:
        raise _malformed(record_id, name, f"it has {len(data)} bytes", f"{len(data)} bytes")
    lines, comments = [], []
    for raw in data.replace(b"\r", b"\n").split(b"\n"):
        line = raw.strip(b" \t")
        if line.startswith(b"#"):
            comments.append(line.decode("utf-8", "replace").replace("\0", "\ufffd")[1:].strip())
        elif not line.isascii():
            raise RecordError(
                f"record {record_id}: the header is not ASCII ({name}.hea), so its units cannot "
                "be trusted; write microvolts as uV",
                kind="header_malformed",
                value=_shown(line.decode("utf-8", "replace")),
            )
        elif line:
            lines.append(line.decode())
    return lines, tuple(comments)


def _rate_and_length(match: re.Match[str], record_id: str, name: str) -> tuple[float, int]:
    """Return frames per second and how many there are; neither is guessed."""
    written = match["rate"]
    rate_hz = float(written) if written else math.nan
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise RecordError(
            f"record {record_id}: the sampling rate is {written or 'not written'}; it must be "
            f"{MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz (header {name}.hea)",
            kind="rate_invalid",
            value=written,
        )
    samples = _whole(match["samples"] or "0")
    if not 0 < samples <= MAX_SAMPLES:
        raise _malformed(
            record_id, name, f"a record has 1 to {MAX_SAMPLES} samples", match["samples"] or "none"
        )
    return rate_hz, samples


def _signal(line: str, record_id: str, name: str) -> SignalLine:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        raise _malformed(record_id, name, "a signal line must begin with FILE FORMAT GAIN", line)
    if not _FILE.fullmatch(match["file"]) or set(match["file"]) == {"."}:
        raise _malformed(record_id, name, "a signal file must lie beside its header", match["file"])
    if any(len(match[field] or "") > _MAX_DIGITS for field in _WHOLE):
        raise _malformed(record_id, name, "a number is absurdly long", line)
    zero = int(match["zero"] or 0)
    return SignalLine(
        file=match["file"],
        format=match["format"],
        per_frame=int(match["per_frame"] or 1),
        skew=int(match["skew"] or 0),
        offset=int(match["offset"] or 0),
        gain=float(match["gain"] or 0),
        baseline=int(match["baseline"]) if match["baseline"] else zero,
        units=match["units"] or "mV",
        first=int(match["first"]) if match["first"] else None,
        checksum=int(match["checksum"]) if match["checksum"] else None,
        name=match["description"] or "",
    )


_WHOLE = ("format", "per_frame", "skew", "offset", "baseline", "zero", "first", "checksum")


def _lead_places(signals: Sequence[SignalLine], record_id: str) -> tuple[int, ...]:
    """Return where each of ``LEADS`` stands; every one must be there once."""
    places: dict[str, int] = {}
    for place, signal in enumerate(signals):
        lead = canonical_lead(signal.name)
        if lead in places:
            raise RecordError(
                f"record {record_id}: lead {lead} is there twice",
                kind="lead_duplicate",
                value=lead,
            )
        if lead is not None:
            places[lead] = place
    missing = [lead for lead in LEADS if lead not in places]
    if missing:
        found = ", ".join(_shown(signal.name) for signal in signals)[: 4 * _SHOWN]
        raise RecordError(
            f"record {record_id}: leads {', '.join(missing)} are missing (found {found}); "
            "a twelve-lead record is needed",
            kind="lead_missing",
            value=", ".join(missing),
        )
    return tuple(places[lead] for lead in LEADS)


def _check(signals: Sequence[SignalLine], leads: Sequence[int], record_id: str, name: str) -> int:
    """Refuse what cannot be read as twelve leads in mV; return their samples per frame."""
    stored: dict[str, tuple[str, int]] = {}
    for signal in signals:
        same = (signal.format, signal.offset)
        if stored.setdefault(signal.file, same) != same:
            raise _malformed(record_id, name, "the signals of a file differ in format", signal.file)
    for lead, place in zip(LEADS, leads, strict=True):
        _check_voltage(signals[place], lead, record_id, name)
    rates = {signals[place].per_frame for place in leads}
    if len(rates) > 1 or not 0 < min(rates) <= MAX_SAMPLES:
        raise _malformed(
            record_id, name, "the twelve leads differ in their samples a frame", str(sorted(rates))
        )
    return rates.pop()


def _check_voltage(signal: SignalLine, lead: str, record_id: str, name: str) -> None:
    """Refuse what has no known voltage: the specification's gain of 200 for none is a guess."""
    if math.isnan(signal.steps_per_mv):
        units = _shown(signal.units)
        raise RecordError(
            f"record {record_id}: lead {lead} is in {units}; allowed: nV, uV, mV, V",
            kind="unit_unknown",
            value=units,
        )
    if not MIN_STEPS_PER_MV <= signal.steps_per_mv <= MAX_STEPS_PER_MV:
        raise RecordError(
            f"record {record_id}: the gain of lead {lead} is {signal.gain:g} steps per "
            f"{signal.units}; without a possible gain its voltage is not known "
            f"(header {name}.hea)",
            kind="gain_invalid",
            value=f"{signal.gain:g}",
        )


def _whole(text: str) -> int:
    """Return a whole number; one too long to be meant becomes absurdly large."""
    return int(text) if len(text) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _shown(text: str) -> str:
    """Return what was found as printable ASCII on one line."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return cut if cut.isascii() and cut.isprintable() else ascii(cut)[1:-1]


def _malformed(record_id: str, name: str, rule: str, found: str) -> RecordError:
    return RecordError(
        f"record {record_id}: the header is not WFDB ({name}.hea, found {_shown(found)!r}); {rule}",
        kind="header_malformed",
        value=_shown(found),
    )
