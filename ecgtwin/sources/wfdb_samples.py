"""What a WFDB record stores, as millivolts: gains, baselines, skews, missing samples, windows."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.record import EcgRecord
from ecgtwin.sources.wfdb_header import SignalLine, WfdbHeader

Stored = NDArray[np.signedinteger[Any]]

# What stands for a missing sample, by format: https://wfdb.io/spec/signal-files.html
MISSING = {
    "16": -(2**15), "61": -(2**15), "160": -(2**15), "516": -(2**15), "80": -(2**7),
    "508": -(2**7), "212": -(2**11), "310": -(2**9), "311": -(2**9), "24": -(2**23),
    "524": -(2**23), "32": -(2**31), "8": None,
}  # fmt: skip
_EXACT_IN_FLOAT32 = 2**22


@dataclass(frozen=True, slots=True)
class Recording:
    """A record as it is stored, found to agree with its header.

    ``stored`` is (time, signal); column ``columns[k]`` is lead ``LEADS[k]``.
    """

    record_id: str
    header: WfdbHeader
    stored: Stored
    columns: tuple[int, ...]
    flags: tuple[str, ...]

    def window(
        self, patient_id: str, *, start_s: float = 0.0, duration_s: float | None = None
    ) -> EcgRecord:
        """Return the samples from ``start_s`` on in mV, for ``duration_s`` where there are so many.

        Missing samples are NaN. Raises RecordError where a whole lead is.
        """
        header = self.header
        start, stop = window_bounds(header.num_samples, header.rate_hz, start_s, duration_s)
        if start == stop:
            raise RecordError(
                f"record {self.record_id}: too short: {header.duration_s:.2f} s, and a window "
                f"begins at {start_s:g} s",
                kind="too_short",
                value=f"{header.duration_s:.2f} s",
            )
        samples_mv = self._to_mv(start, stop)
        empty = [LEADS[lead] for lead in np.flatnonzero(np.isnan(samples_mv).all(axis=1))]
        if empty:
            raise RecordError(
                f"record {self.record_id}: no sample is a number (all NaN) in lead "
                f"{', '.join(empty)}",
                kind="lead_empty",
                value=", ".join(empty),
            )
        return EcgRecord(samples_mv, self.header.rate_hz, patient_id, self.record_id)

    def _to_mv(self, start: int, stop: int) -> NDArray[np.float32]:
        signals = [self.header.signals[place] for place in self.header.leads]
        skews = [signal.skew for signal in signals]
        if any(skews):
            shifted = [
                _shifted(self.stored[:, column], start + skew, stop - start, signal)
                for column, skew, signal in zip(self.columns, skews, signals, strict=True)
            ]
            steps = np.stack(shifted)
        else:
            steps = self.stored[start:stop].T
            if self.columns != tuple(range(len(steps))):
                steps = steps[list(self.columns)]
        baselines = np.array([signal.baseline for signal in signals])
        is_small = steps.dtype == np.int16 and np.abs(baselines).max() < _EXACT_IN_FLOAT32
        real: Any = np.float32 if is_small else np.float64
        per_mv = [signal.steps_per_mv for signal in signals]
        samples = np.empty(steps.shape, real)
        np.subtract(steps, baselines[:, None], out=samples, dtype=real, casting="unsafe")
        samples /= np.array(per_mv, real)[:, None]
        missing = [MISSING[signal.format] for signal in signals]
        for lead, value in enumerate(missing):
            if value is not None and steps[lead].min() <= value:
                samples[lead, steps[lead] == value] = np.nan
        return samples.astype(np.float32, copy=False)


def _shifted(stored: Stored, start: int, count: int, signal: SignalLine) -> Stored:
    """Return ``count`` samples from ``start``; what lies behind the end is missing."""
    found = stored[start : start + count]
    if len(found) == count:
        return found
    missing = MISSING[signal.format]
    fill = stored.min() if missing is None else missing
    return np.concatenate([found, np.full(count - len(found), fill, stored.dtype)])


def window_bounds(
    num_samples: int, rate_hz: float, start_s: float, duration_s: float | None
) -> tuple[int, int]:
    """Return the first sample and the one behind the last."""
    start = min(max(round(start_s * rate_hz), 0), num_samples)
    if duration_s is None:
        return start, num_samples
    return start, min(start + math.ceil(duration_s * rate_hz - 1e-6), num_samples)
