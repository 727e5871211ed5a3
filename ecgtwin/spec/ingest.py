"""IngestSpec: how source records become the rows of a corpus."""

from pydantic import Field, model_validator

from ecgtwin.spec.base import Spec


class IngestSpec(Spec):
    """Rate and length of the stored samples, the cut into shards, the split of the patients."""

    sampling_rate_hz: float = Field(default=102.4, gt=0, le=2000)
    num_samples: int = Field(default=1024, ge=1)
    rows_per_shard: int = Field(default=256, ge=1)
    rows_per_chunk: int = Field(default=32, ge=1)
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    test_share: float = Field(default=0.1, ge=0, lt=1)
    split_salt: str = "ecgtwin"

    @model_validator(mode="after")
    def _is_possible(self) -> "IngestSpec":
        if self.rows_per_shard % self.rows_per_chunk:
            raise ValueError(
                f"rows_per_shard ({self.rows_per_shard}) must be a multiple of "
                f"rows_per_chunk ({self.rows_per_chunk})"
            )
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share ({self.validation_share}) and test_share ({self.test_share}) "
                "must add up to less than 1, so that patients are left to train on"
            )
        return self
