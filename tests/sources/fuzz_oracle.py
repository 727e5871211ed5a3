"""What a WFDB record says, read from its bytes in the simplest way; shares no code with ecgtwin.

Written from https://wfdb.io/spec/header-files.html and signal-files.html. It is no judge of what to
refuse: it says what the samples are, or raises ``ValueError`` where the bytes do not say it.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_NAME = re.compile(rf"(?:lead[\s_:-]*)?({'|'.join(LEADS)})[\s_:]*", re.IGNORECASE | re.ASCII)
_MV = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_GAIN = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(([+-]?\d+)\))?(?:/(\S+))?", re.ASCII
)
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_BITS = {16: 16, 61: 16, 160: 16, 80: 8, 212: 12, 310: 10, 311: 10, 24: 24, 32: 32}
_FLAC = {508: 8, 516: 16, 524: 24}


@dataclass(frozen=True)
class Said:
    """Twelve leads (12, time) in mV, NaN where a sample is missing; whether all sums agree."""

    samples_mv: np.ndarray
    rate_hz: float
    checksums_hold: bool
    num_checksums: int  # of the twelve leads


def said(header: bytes, files: Mapping[str, bytes]) -> Said:
    """Return what the bytes of a header and its signal files say."""
    lines = [line.strip() for line in re.split(rb"[\r\n]+", header)]
    lines = [line.decode("ascii") for line in lines if line and not line.startswith(b"#")]
    first = lines[0].split()
    rate_hz, num_frames = float(first[2].split("/")[0]), int(first[3])
    signals = [_signal(line) for line in lines[1 : 1 + int(first[1])]]
    leads: dict[str, np.ndarray] = {}
    holds, sums = True, 0
    for place, signal in enumerate(signals):
        lead = _lead(signal["name"])
        if lead is None:
            continue
        if lead in leads:
            raise ValueError(f"{lead} twice")
        together = [other for other in signals if other["file"] == signal["file"]]
        at = [other is signal for other in signals if other["file"] == signal["file"]].index(True)
        stored = _stored(files[signal["file"]], together, num_frames)[at]
        if signal["checksum"] is not None:
            sums += 1
            holds &= (int(stored.sum()) - signal["checksum"]) % 65536 == 0
        leads[lead] = _to_mv(stored, signal)
        rate = rate_hz * signal["per_frame"]
        assert place < len(signals)
    samples_mv = np.stack([leads[lead] for lead in LEADS])
    return Said(samples_mv, rate, holds, sums)


def _lead(name: str) -> str | None:
    match = _NAME.fullmatch(name.strip())
    return {lead.lower(): lead for lead in LEADS}[match[1].lower()] if match else None


def _signal(line: str) -> dict[str, Any]:
    """Return the fields of a signal line; what is not written is None."""
    file, form, *rest = re.split(r"[ \t]+", line)
    code, per_frame, skew, offset = _FORMAT.fullmatch(form).groups()  # type: ignore[union-attr]
    written = _GAIN.fullmatch(rest[0]) if rest else None
    gain, baseline, units = written.groups() if written else ("nan", None, None)
    rest = rest[1:] if written else rest
    numbers = []
    while rest and len(numbers) < 5 and re.fullmatch(r"[+-]?\d+", rest[0], re.ASCII):
        numbers.append(int(rest.pop(0)[:100]))
    _, zero, first, checksum, _ = [*numbers, *[None] * (5 - len(numbers))]
    return {
        "file": file,
        "format": int(code),
        "per_frame": int(per_frame or 1),
        "skew": int(skew or 0),
        "offset": int(offset or 0),
        "gain": float(gain),
        "baseline": int(baseline[:100]) if baseline else (zero or 0),
        "units": units or "mV",
        "first": first or 0,
        "checksum": checksum,
        "name": " ".join(rest),
    }


def _stored(data: bytes, signals: list[dict[str, Any]], num_frames: int) -> list[np.ndarray]:
    """Return the whole numbers of each signal of one file."""
    form, widths = signals[0]["format"], [signal["per_frame"] for signal in signals]
    if any(signal["format"] != form for signal in signals):
        raise ValueError("two formats in one file")
    count = num_frames * sum(widths)
    if form in _FLAC:
        return _flac(data, form, widths, num_frames)
    numbers = _numbers(data[signals[0]["offset"] :], form)
    if len(numbers) < count:
        raise ValueError("too few bytes")
    frames = numbers[:count].reshape(num_frames, -1)
    bounds = np.cumsum([0, *widths])
    found = [frames[:, start:stop].ravel() for start, stop in pairwise(bounds)]
    if form == 8:
        found = [
            signal["first"] + np.cumsum(part) - part[:1]
            for signal, part in zip(signals, found, strict=True)
        ]
    return found


def _flac(data: bytes, form: int, widths: list[int], num_frames: int) -> list[np.ndarray]:
    import soundfile

    if set(widths) != {1}:
        raise ValueError("several samples a frame in FLAC")
    found, _ = soundfile.read(io.BytesIO(data), dtype="int32", always_2d=True)
    found = found >> (32 - _FLAC[form])
    if found.shape[0] < num_frames or found.shape[1] != len(widths):
        raise ValueError("another FLAC file")
    return [found[:num_frames, channel].astype(np.int64) for channel in range(len(widths))]


_WHOLE = {16: "<i2", 61: ">i2", 160: "<u2", 80: "u1", 8: "i1", 32: "<i4"}
_ZERO = {160: 32768, 80: 128}


def _numbers(data: bytes, form: int) -> np.ndarray:
    """Return the numbers of a packed format, one after the other."""
    if form in _WHOLE:
        dtype = np.dtype(_WHOLE[form])
        whole = data[: len(data) // dtype.itemsize * dtype.itemsize]
        return np.frombuffer(whole, dtype).astype(np.int64) - _ZERO.get(form, 0)
    if form == 24:
        three = np.frombuffer(data[: len(data) // 3 * 3], "u1").reshape(-1, 3).astype(np.int64)
        return _signed(three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16, 24)
    padded = np.frombuffer(data + bytes(4), "u1").astype(np.int64)  # the last group may be cut
    if form == 212:
        groups = padded[: len(padded) // 3 * 3].reshape(-1, 3)
        low = groups[:, 0] | (groups[:, 1] & 15) << 8
        high = groups[:, 2] | (groups[:, 1] >> 4) << 8
        return _signed(np.stack([low, high], axis=1).ravel(), 12)
    if form not in (310, 311):
        raise ValueError(f"format {form}")
    groups = padded[: len(padded) // 4 * 4].reshape(-1, 4)
    a, b = groups[:, 0] | groups[:, 1] << 8, groups[:, 2] | groups[:, 3] << 8
    if form == 310:
        c = (a >> 11) & 31 | ((b >> 11) & 31) << 5
        parts = [(a >> 1) & 1023, (b >> 1) & 1023, c]
    else:
        word = a | b << 16
        parts = [word & 1023, (word >> 10) & 1023, (word >> 20) & 1023]
    return _signed(np.stack(parts, axis=1).ravel(), 10)


def _signed(numbers: np.ndarray, bits: int) -> np.ndarray:
    return np.where(numbers >= 1 << (bits - 1), numbers - (1 << bits), numbers)


def _to_mv(stored: np.ndarray, signal: dict[str, Any]) -> np.ndarray:
    """Return mV; the lowest number of a format stands for a missing sample."""
    bits = _BITS.get(signal["format"]) or _FLAC.get(signal["format"])
    samples = (stored - signal["baseline"]) / signal["gain"] * _MV[signal["units"].lower()]
    if bits is not None:
        samples = np.where(stored == -(1 << (bits - 1)), np.nan, samples)
    if skew := signal["skew"]:
        late = np.full(len(samples), np.nan)
        late[: max(len(samples) - skew, 0)] = samples[skew:]
        return late
    return samples
