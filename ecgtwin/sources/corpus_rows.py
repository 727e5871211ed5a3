"""A source row becomes a corpus row: prepared, checked, measured, labelled, put in a split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.beats import heart_rate_bpm, r_peaks
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.usable import usable_samples
from ecgtwin.sources.source import Reject, SourceRow
from ecgtwin.sources.splits import split_of
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.ingest import IngestSpec

_LOWEST_BPM, _HIGHEST_BPM = 20.0, 300.0  # what a condition may say


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """Samples (12, time) in mV, all NaN when rejected, and the values of the corpus columns."""

    samples_mv: NDArray[np.float32]
    columns: dict[str, Any]


def corpus_row(item: SourceRow | Reject, *, source: str, settings: IngestSpec) -> CorpusRow:
    """Return the corpus row of one source row; what cannot be used keeps its reason.

    The label ``heart_rate_bpm`` is the source's, or else the measured one.
    """
    if isinstance(item, Reject):
        return _rejected(item, CardiacCondition(), -1, "", source, settings)
    record = item.record
    split = item.official_split or split_of(
        record.patient_id,
        salt=settings.split_salt,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
    )
    try:
        samples_mv = usable_samples(
            record, to_hz=settings.sampling_rate_hz, num_samples=settings.num_samples
        )
    except RecordError as error:
        reason = f"record {record.record_id}: {error}"
        reject = Reject(record.record_id, record.patient_id, reason)
        return _rejected(reject, item.condition, item.visit, split, source, settings)
    measured = _measured_rate(samples_mv, settings.sampling_rate_hz)
    columns = _labels(item.condition) | {
        "accepted": True,
        "reason": None,
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "source": source,
        "visit": item.visit,
        "split": split,
        "measured_heart_rate_bpm": measured,
    }
    if columns["heart_rate_bpm"] is None:
        columns["heart_rate_bpm"] = measured
    return CorpusRow(samples_mv, columns)


def _measured_rate(samples_mv: NDArray[np.float32], sampling_rate_hz: float) -> float | None:
    """Return the rate of the stored samples; None where no rate that a heart has was found."""
    peaks = r_peaks(samples_mv, sampling_rate_hz=sampling_rate_hz)
    rate = heart_rate_bpm(peaks, sampling_rate_hz=sampling_rate_hz)
    return rate if rate is not None and _LOWEST_BPM <= rate <= _HIGHEST_BPM else None


def _rejected(
    reject: Reject,
    condition: CardiacCondition,
    visit: int,
    split: str,
    source: str,
    settings: IngestSpec,
) -> CorpusRow:
    samples_mv = np.full((len(LEADS), settings.num_samples), np.nan, dtype=np.float32)
    columns = _labels(condition) | {
        "accepted": False,
        "reason": reject.reason,
        "record_id": reject.record_id,
        "patient_id": reject.patient_id,
        "source": source,
        "visit": visit,
        "split": split,
        "measured_heart_rate_bpm": None,
    }
    return CorpusRow(samples_mv, columns)


def _labels(condition: CardiacCondition) -> dict[str, Any]:
    return {
        "age_years": condition.age_years,
        "sex": condition.sex,
        "heart_rate_bpm": condition.heart_rate_bpm,
        "statements": [statement.code for statement in condition.statements],
        "certainties": [statement.certainty for statement in condition.statements],
    }
