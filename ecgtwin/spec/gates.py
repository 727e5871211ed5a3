"""Gates: what a drawn ECG must show. What does not pass is told in the manifest."""

from typing import Annotated, Literal

from pydantic import Field

from ecgtwin.spec.base import Spec
from ecgtwin.spec.ingest import QualitySpec

Positive = Annotated[float, Field(gt=0)]


class GatesSpec(Spec):
    """Limits on measured values; None: this one is not asked.

    With ``accept: all`` every ECG is kept, with the gates that it failed beside it.
    """

    accept: Literal["all"] = "all"
    min_beats: int | None = Field(default=3, ge=1)  # R peaks found in the strip
    rate_tolerance_bpm: Positive | None = 10.0  # between requested and measured rate
    max_baseline_mv: Positive | None = 0.8  # how far the baseline of a second strays
    max_limb_residual_mv: Positive | None = 0.02  # of I - II + III, aVR + (I + II) / 2, ...
    intervals: Literal["of_condition"] | None = "of_condition"  # see ``generation.gates``
    quality: QualitySpec | None = QualitySpec()  # dead or clipped leads, amplitudes
