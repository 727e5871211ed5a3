"""EcgRecord: one stored recording, twelve leads in standard order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EcgRecord:
    """One twelve-lead recording.

    ``samples_mv`` is (12, time) float32 in the order of ``signals.leads.LEADS``.
    """

    samples_mv: NDArray[np.float32]
    sampling_rate_hz: float
    patient_id: str
    record_id: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples_mv.shape[1] / self.sampling_rate_hz)
