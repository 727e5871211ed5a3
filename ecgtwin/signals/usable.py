"""From a recording to what the networks are given, or the faults for which it cannot be used."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.gaps import filled, gap_faults
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.preprocess import check_form, is_within, prepare
from ecgtwin.signals.quality import Fault, faults, flat_leads
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.ingest import IngestSpec


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window without gaps, what is against it, and what is only odd about it."""

    samples_mv: NDArray[np.floating]
    faults: tuple[Fault, ...]
    flags: tuple[str, ...]


def usable_window(
    record: EcgRecord, settings: IngestSpec
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the first window of ``record``, (12, num_samples) in mV, and its flags.

    What lies behind the window has no influence. Quality is judged at the rate of the recording
    and before any filter: resampling would round off the tops of clipped waves. Raises RecordError
    with every fault in its message, and kind and value of the first. Kinds: lead_missing,
    rate_invalid, too_short, lead_empty, nan_gap, flat_lead, clipped, amplitude_high, amplitude_low.
    Flags: ``gap_filled:LEAD``, ``flat_lead:LEAD``, ``notch_above_rate:HZ``.
    """
    rate_hz, to_hz, num_samples = (
        record.sampling_rate_hz,
        settings.sampling_rate_hz,
        settings.num_samples,
    )
    check_form(record.samples_mv, sampling_rate_hz=rate_hz, to_hz=to_hz, num_samples=num_samples)
    judged = _judged(record, settings)
    if judged.faults:
        text = "; ".join(fault.message for fault in judged.faults)
        raise RecordError(text, kind=judged.faults[0].kind, value=judged.faults[0].value)
    prepared = prepare(
        judged.samples_mv,
        sampling_rate_hz=rate_hz,
        to_hz=to_hz,
        num_samples=num_samples,
        signal=settings.signal,
    )
    return prepared, (*judged.flags, *_filter_flags(rate_hz, settings))


def usable_samples(record: EcgRecord, *, to_hz: float, num_samples: int) -> NDArray[np.float32]:
    """Return the first (12, num_samples) of ``record`` at ``to_hz``, in mV, as usually ingested.

    Gaps are filled and the rate is changed; the baseline is left as it is. Raises RecordError with
    every reason against the record.
    """
    settings = IngestSpec(sampling_rate_hz=to_hz, num_samples=num_samples)
    return usable_window(record, settings)[0]


def _judged(record: EcgRecord, settings: IngestSpec) -> _Judged:
    rate_hz, quality = record.sampling_rate_hz, settings.quality
    samples_mv = np.ascontiguousarray(record.samples_mv[:, : ceil(settings.window_s * rate_hz)])
    found = _too_short(record, settings)
    flags: list[str] = []
    names, known_mv = list(LEADS), samples_mv
    missing = ~np.isfinite(samples_mv)
    if missing.any():
        found += gap_faults(missing, LEADS, sampling_rate_hz=rate_hz, signal=settings.signal)
        flags += [f"gap_filled:{LEADS[lead]}" for lead in np.flatnonzero(missing.any(axis=1))]
        samples_mv = filled(samples_mv, missing)
        known = np.flatnonzero(~missing.all(axis=1))
        names, known_mv = [LEADS[lead] for lead in known], samples_mv[known]
    if not names:
        return _Judged(samples_mv, tuple(found), ())
    against = faults(known_mv, sampling_rate_hz=rate_hz, quality=quality, names=names)
    if quality.flat_lead == "flag" and any(fault.kind == "flat_lead" for fault in against):
        flat = flat_leads(known_mv, sampling_rate_hz=rate_hz, quality=quality)
        flags += [f"flat_lead:{names[lead]}" for lead in flat]
        against = tuple(fault for fault in against if fault.kind != "flat_lead")
    return _Judged(samples_mv, (*found, *against), tuple(flags))


def _too_short(record: EcgRecord, settings: IngestSpec) -> list[Fault]:
    least_s = settings.quality.min_duration_s
    if record.duration_s >= least_s:
        return []
    said = f"too short: {record.duration_s:.1f} s, at least {least_s:g} s is needed"
    return [Fault("too_short", f"{record.duration_s:.2f} s", said)]


def _filter_flags(rate_hz: float, settings: IngestSpec) -> tuple[str, ...]:
    """Say so where the notch that was asked for could not be made."""
    notch_hz = settings.signal.notch_hz
    if notch_hz is None or is_within(notch_hz, rate_hz):
        return ()
    return (f"notch_above_rate:{notch_hz:g}",)
