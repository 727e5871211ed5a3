"""Gates: what a drawn ECG must show. What does not pass is told in the manifest."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ecgtwin.spec.base import Spec
from ecgtwin.spec.faults import FaultInside
from ecgtwin.spec.ingest import QualitySpec

Positive = Annotated[float, Field(gt=0)]

USUAL_ATTEMPTS = 10


class GatesSpec(Spec):
    """Limits on measured values; None: this one is not asked.

    With ``accept: all`` every ECG is kept, with the gates that it failed beside it. With
    ``accept: exact`` one that fails is drawn again from other noise, until it passes or
    ``max_attempts`` are spent; then the last is stored, and not accepted.
    """

    accept: Literal["all", "exact"] = "all"
    max_attempts: int | None = Field(default=None, ge=1, le=1000)  # None: USUAL_ATTEMPTS, if exact
    min_beats: int | None = Field(default=3, ge=1)  # R peaks found in the strip
    rate_tolerance_bpm: Positive | None = 10.0  # between requested and measured rate
    max_baseline_mv: Positive | None = 0.8  # how far the baseline of a second strays
    max_limb_residual_mv: Positive | None = 0.02  # of I - II + III, aVR + (I + II) / 2, ...
    intervals: Literal["of_condition"] | None = "of_condition"  # see ``generation.gates``
    quality: QualitySpec | None = QualitySpec()  # dead or clipped leads, amplitudes

    @field_validator("max_attempts")
    @classmethod
    def _usual_is_left_out(cls, value: int | None) -> int | None:
        return None if value == USUAL_ATTEMPTS else value

    @model_validator(mode="after")
    def _only_exact_draws_again(self) -> "GatesSpec":
        if self.accept == "all" and self.max_attempts is not None:
            raise FaultInside(
                "has no meaning with 'accept: all', which keeps what is drawn first; leave it "
                "out, or write 'accept: exact'",
                "max_attempts",
            )
        return self

    @property
    def attempts(self) -> int:
        """How often an ECG is drawn at most."""
        return 1 if self.accept == "all" else self.max_attempts or USUAL_ATTEMPTS
