"""Source rows become corpus rows: prepared, checked, measured, labelled, put in a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.beats import Measurement
from ecgtwin.signals.fingerprint import fingerprint
from ecgtwin.signals.gaps import filled
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.measurement import measure_all
from ecgtwin.signals.usable import usable_window
from ecgtwin.sources.source import PlannedRow, Reject, SourceRow
from ecgtwin.sources.splits import split_of
from ecgtwin.spec.condition import MAX_RATE_BPM, MIN_RATE_BPM, CardiacCondition
from ecgtwin.spec.ingest import IngestSpec

Samples = NDArray[np.float32]

_MEASURED = (
    "num_beats",
    "rr_sd_ms",
    "pr_ms",
    "qrs_ms",
    "qt_ms",
    "qtc_fridericia_ms",
    "qtc_bazett_ms",
    "qrs_axis_deg",
    "r_amplitude_mv",
)
_UNMEASURED: dict[str, Any] = dict.fromkeys((*_MEASURED, "measured_heart_rate_bpm"))


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """Samples (12, time) in mV, all NaN when rejected, and the values of the corpus columns.

    ``truth`` is what a simulator knows of the samples, None for real recordings.
    """

    samples_mv: Samples
    columns: dict[str, Any]
    truth: dict[str, Any] | None = None


def corpus_rows(
    planned: Sequence[PlannedRow],
    items: Sequence[SourceRow | Reject],
    *,
    source: str,
    archive: str,
    settings: IngestSpec,
) -> list[CorpusRow]:
    """Return the corpus rows of planned rows that were read; what is unusable keeps its reason.

    The label ``heart_rate_bpm`` is the source's, or else the measured one. Measuring is a stage of
    its own, on the native rate, over all usable rows at once.
    """
    prepared = [_prepared(item, settings) for item in items]
    usable = [place for place, one in enumerate(prepared) if not isinstance(one, Reject)]
    measured = _measured([items[place] for place in usable]) if settings.measure else []
    found: dict[int, Measurement] = dict(zip(usable, measured, strict=False))
    return [
        _row(plan, item, one, found.get(place), _Origin(source, archive, settings))
        for place, (plan, item, one) in enumerate(zip(planned, items, prepared, strict=True))
    ]


def _prepared(item: SourceRow | Reject, settings: IngestSpec) -> "_Prepared | Reject":
    if isinstance(item, Reject):
        return item
    record = item.record
    try:
        samples_mv, flags = usable_window(record, settings)
    except RecordError as error:
        return Reject(
            record.record_id,
            record.patient_id,
            f"record {record.record_id}: {error}",
            error.kind,
            error.value,
        )
    return _Prepared(samples_mv, flags)


@dataclass(frozen=True, slots=True)
class _Origin:
    """The kind of a source, whose patient numbers it has, and how its rows are made."""

    source: str
    archive: str
    settings: IngestSpec


@dataclass(frozen=True, slots=True)
class _Prepared:
    samples_mv: Samples
    flags: tuple[str, ...]


def _measured(items: Sequence[SourceRow | Reject]) -> list[Measurement]:
    records = [item.record for item in items if isinstance(item, SourceRow)]
    return measure_all(
        [_whole(record.samples_mv) for record in records],
        [record.sampling_rate_hz for record in records],
    )


def _whole(samples_mv: Samples) -> Samples:
    missing = ~np.isfinite(samples_mv)
    return filled(samples_mv, missing) if missing.any() else samples_mv


def _row(
    plan: PlannedRow,
    item: SourceRow | Reject,
    prepared: _Prepared | Reject,
    measurement: Measurement | None,
    origin: _Origin,
) -> CorpusRow:
    swapped = None if measurement is None else measurement.swapped_limb_leads
    if swapped is not None and origin.settings.quality.swapped_limb_leads == "reject":
        reason = f"record {plan.record_id}: limb leads {swapped} seem to be swapped"
        kind = "swapped_limb_leads"
        prepared = Reject(plan.record_id, plan.patient_id, reason, kind, swapped)
    if isinstance(prepared, Reject) or isinstance(item, Reject):
        reject = prepared if isinstance(prepared, Reject) else item
        assert isinstance(reject, Reject)
        return _rejected(plan, item, reject, origin)
    flags = (*item.flags, *prepared.flags)
    if swapped is not None:
        flags = (*flags, f"swapped_limb_leads:{swapped}")
    rate = origin.settings.sampling_rate_hz
    columns = {
        **_identity(plan, item, origin),
        **_labels(item.condition),
        **_measurements(measurement),
        "accepted": True,
        "reason_kind": None,
        "reason": None,
        "reason_value": None,
        "source_rate_hz": item.record.sampling_rate_hz,
        "flags": list(flags),
        "fingerprint": fingerprint(prepared.samples_mv, sampling_rate_hz=rate),
    }
    if columns["heart_rate_bpm"] is None:
        columns["heart_rate_bpm"] = columns["measured_heart_rate_bpm"]
    truth = None if item.truth is None else dict(item.truth)
    return CorpusRow(prepared.samples_mv, columns, truth)


def _rejected(
    plan: PlannedRow,
    item: SourceRow | Reject,
    reject: Reject,
    origin: _Origin,
) -> CorpusRow:
    read = item if isinstance(item, SourceRow) else None
    columns = {
        **_identity(plan, read or plan, origin),
        **_labels((read or plan).condition),
        **_UNMEASURED,
        "accepted": False,
        "reason_kind": reject.kind,
        "reason": reject.reason,
        "reason_value": reject.value,
        "source_rate_hz": None if read is None else read.record.sampling_rate_hz,
        "flags": list((read or plan).flags),
        "fingerprint": None,
    }
    return CorpusRow(
        np.full((len(LEADS), origin.settings.num_samples), np.nan, np.float32), columns
    )


def _identity(plan: PlannedRow, read: SourceRow | PlannedRow, origin: _Origin) -> dict[str, Any]:
    settings = origin.settings
    person_id = f"{origin.archive}:{plan.patient_id}"
    split = read.official_split or split_of(
        person_id,
        salt=settings.split_salt,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
    )
    return {
        "record_id": plan.record_id,
        "source": origin.source,
        "patient_id": plan.patient_id,
        "person_id": person_id,
        "recording_id": f"{origin.archive}:{plan.record_id}",
        "visit": read.visit,
        "days_since_first": read.days_since_first,
        "window": read.window,
        "window_start_s": read.window_start_s,
        "official_split": read.official_split,
        "split": split,
        "unmapped": list(read.unmapped),
    }


def _measurements(found: Measurement | None) -> dict[str, Any]:
    if found is None:
        return dict(_UNMEASURED)
    columns: dict[str, Any] = {name: getattr(found, name) for name in _MEASURED}
    rate = found.heart_rate_bpm
    believable = rate is not None and MIN_RATE_BPM <= rate <= MAX_RATE_BPM
    columns["measured_heart_rate_bpm"] = rate if believable else None
    return columns


def _labels(condition: CardiacCondition) -> dict[str, Any]:
    return {
        "age_years": condition.age_years,
        "sex": condition.sex,
        "heart_rate_bpm": condition.heart_rate_bpm,
        "statements": [statement.code for statement in condition.statements],
        "certainties": [statement.certainty for statement in condition.statements],
    }
