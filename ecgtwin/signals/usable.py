"""From a recording to what the networks are given, or the reasons why it cannot be used."""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import RecordError
from ecgtwin.signals.preprocess import fill_gaps, prepare
from ecgtwin.signals.quality import reasons
from ecgtwin.signals.record import EcgRecord


def usable_samples(record: EcgRecord, *, to_hz: float, num_samples: int) -> NDArray[np.float32]:
    """Return the first (12, num_samples) of ``record`` at ``to_hz``, in mV.

    Gaps are filled and the rate is changed; the baseline is left as it is. Raises RecordError with
    every reason against the record. Quality is judged before resampling, which would round off the
    tops of clipped waves.
    """
    rate_hz = record.sampling_rate_hz
    prepared = prepare(
        record.samples_mv, sampling_rate_hz=rate_hz, to_hz=to_hz, num_samples=num_samples
    )
    filled = fill_gaps(record.samples_mv, sampling_rate_hz=rate_hz)
    window = filled[:, : ceil(num_samples / to_hz * rate_hz)]
    if found := reasons(window, sampling_rate_hz=rate_hz):
        raise RecordError("; ".join(found))
    return prepared
