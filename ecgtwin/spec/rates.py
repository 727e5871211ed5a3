"""Measured rates and prices, by which a plan says what it takes: two small files."""

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.spec.storage import CodecSpec, StepMv

Positive = Annotated[float, Field(gt=0)]


class StoredForm(Spec):
    """How ECGs are stored, by which their bytes go."""

    sampling_rate_hz: Positive
    step_mv: StepMv
    codec: CodecSpec
    rows_per_chunk: int = Field(ge=1)


class Rate(Spec):
    """What one worker made in a measurement: drawn, measured, quantised and encoded, not put."""

    checkpoint: str  # its digest
    preset: str
    device_kind: str  # "cpu", or the name that the driver gives a GPU
    sampling: SamplingSpec
    batch_rows: int = Field(ge=1)
    stored: StoredForm
    ecgs_per_second: Positive
    bytes_per_ecg: Positive  # stored
    raw_bytes_per_ecg: Positive
    num_ecgs: int = Field(ge=1)  # measured
    measured_on: str  # date
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def compression(self) -> float:
        """Stored bytes as a share of the raw ones."""
        return self.bytes_per_ecg / self.raw_bytes_per_ecg

    def is_of_the_same(self, other: "Rate") -> bool:
        """Say whether both measure the same work on the same kind of device."""
        same = ("checkpoint", "device_kind", "sampling", "batch_rows", "stored")
        return all(getattr(self, name) == getattr(other, name) for name in same)


class RateFile(Spec):
    """Rates of checkpoints on devices; ``ecgtwin plan --measure`` adds one."""

    rates: tuple[Rate, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; SpecificationError where it is none."""
        return cls.from_yaml(path)  # JSON is YAML

    def with_rate(self, rate: Rate) -> "RateFile":
        """Return the file with ``rate`` in place of an earlier one of the same."""
        kept = tuple(one for one in self.rates if not one.is_of_the_same(rate))
        return RateFile(rates=(*kept, rate))

    def write(self, path: Path) -> None:
        """Write the file as JSON, over what is there."""
        try:
            path.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n")
        except OSError as error:
            raise SpecificationError(
                f"{path}: cannot be written ({error.strerror}); its folder must be there"
            ) from None


class Prices(Spec):
    """What is paid for. Only what is given is counted."""

    currency: str = Field(default="USD", max_length=20)
    device_hour: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)  # by kind
    put_per_1000: float | None = Field(default=None, ge=0)
    storage_gb_month: float | None = Field(default=None, ge=0)  # of 10^9 bytes
