"""IngestSpec: how source records become the rows of a corpus. No parameter lives elsewhere."""

from typing import Any, Literal

from pydantic import Field, model_validator

from ecgtwin.spec.base import Spec

OnFault = Literal["reject", "flag"]


class SignalSpec(Spec):
    """From a recording to model samples, in this order: gaps, high-pass, notch, resampling."""

    max_gap_s: float = Field(default=0.04, ge=0)  # a longer gap could hide a Q wave
    max_gap_share: float = Field(default=0.01, ge=0, le=1)
    highpass_hz: float | None = Field(default=None, gt=0, le=1.0)  # None: the baseline stays
    notch_hz: float | None = Field(default=None, ge=45, le=65)  # mains: 50 or 60; None: stays
    notch_quality: float = Field(default=30.0, gt=0)  # notch_hz / width at -3 dB
    resampling: Literal["polyphase", "fft"] = "polyphase"  # fft: as the published code


class QualitySpec(Spec):
    """What makes a recording unusable, and what is only flagged."""

    min_duration_s: float = Field(default=5.0, gt=0)
    flat_mv: float = Field(default=0.01, ge=0)  # a lead that moves less than this ...
    flat_s: float = Field(default=2.5, gt=0)  # ... for this long is not connected
    flat_lead: OnFault = "reject"
    max_amplitude_mv: float = Field(default=10.0, gt=0)
    min_amplitude_mv: float = Field(default=0.1, ge=0)
    clipped_mv: float = Field(default=0.8, ge=0)  # no amplifier clips nearer to the baseline
    clipped_run_s: float = Field(default=0.012, gt=0)
    clipped_runs: int = Field(default=3, ge=1)  # one may be the held last value of a recorder
    swapped_limb_leads: OnFault = "flag"
    checksum: OnFault = "reject"  # of the header against the samples


class ColumnsSpec(Spec):
    """Which columns of a user's table say what; None: the table does not say it.

    ``record_id`` holds the path of a header without ``.hea``, relative to the folder.
    """

    record_id: str = "record_id"
    patient_id: str | None = None
    recorded_at: str | None = None  # ISO date, or date and time
    age_years: str | None = None
    sex: str | None = None
    heart_rate_bpm: str | None = None
    statements: str | None = None  # codes or wordings, separated by ; or |
    report: str | None = None  # free text
    split: str | None = None  # train, validation or test


class IngestSpec(Spec):
    """Everything that decides the rows of a corpus, its source aside.

    ``archive`` is whose patient numbers these are: persons are ``archive:patient``. Empty: the kind
    of the source, which is right for published archives; trees of two hospitals need two names.
    """

    archive: str = Field(default="", pattern=r"^[\w.-]*$", max_length=60)
    sampling_rate_hz: float = Field(default=102.4, gt=0, le=2000)
    num_samples: int = Field(default=1024, ge=1)
    windows: Literal["first", "all"] = "all"  # of recordings longer than one window
    max_windows: int | None = Field(default=None, ge=1)
    signal: SignalSpec = SignalSpec()
    quality: QualitySpec = QualitySpec()
    measure: bool = True
    ptbxl_rate_hz: Literal[500, 100] = 500
    columns: ColumnsSpec = ColumnsSpec()
    limit: int | None = Field(default=None, ge=1)  # the first recordings only
    rows_per_shard: int = Field(default=256, ge=1)
    rows_per_chunk: int = Field(default=32, ge=1)
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    test_share: float = Field(default=0.1, ge=0, lt=1)
    split_salt: str = "ecgtwin"
    known: tuple[str, ...] = ()  # URLs of corpora whose persons keep their ids and splits
    max_reject_share: float = Field(default=0.2, ge=0, le=1)  # above it the ingest stops

    @property
    def window_s(self) -> float:
        """Length of a row in seconds."""
        return self.num_samples / self.sampling_rate_hz

    def row_settings(self) -> dict[str, Any]:
        """Return the fields that decide rows: not where known corpora are, nor when to stop."""
        return self.model_dump(mode="json", exclude={"known", "max_reject_share"})

    @model_validator(mode="after")
    def _is_possible(self) -> "IngestSpec":
        if self.rows_per_shard % self.rows_per_chunk:
            raise ValueError(
                f"rows_per_shard ({self.rows_per_shard}) must be a multiple of "
                f"rows_per_chunk ({self.rows_per_chunk})"
            )
        if self.quality.swapped_limb_leads == "reject" and not self.measure:
            raise ValueError(
                "quality.swapped_limb_leads: reject needs measure: true, which finds them"
            )
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share ({self.validation_share}) and test_share ({self.test_share}) "
                "must add up to less than 1, so that patients are left to train on"
            )
        return self
