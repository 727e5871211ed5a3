"""TrainingSpec: how one objective is optimised, on whatever engine."""

from typing import Literal

from pydantic import Field, model_validator

from ecgtwin.spec.base import Spec, digest_of


class TrainingSpec(Spec):
    """One optimisation. ``batch_size`` is global: ranks share it equally."""

    num_steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    final_learning_rate_ratio: float = Field(default=0.05, ge=0, le=1)  # end of the cosine
    weight_decay: float = Field(default=0.01, ge=0)  # of matrices and kernels, not of vectors
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(default=1.0, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"  # of the passes; weights and moments stay fp32
    zero_stage: int = Field(default=0, ge=0, le=2)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)  # 0: no moving average
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _betas_decay(self) -> "TrainingSpec":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must both be at least 0 and below 1 (found {self.betas})")
        return self

    def recipe_digest(self) -> str:
        """Return a digest of the fields that decide the weights (not logging, keeping, ZeRO)."""
        bystanders = {"log_every", "checkpoint_every", "keep_checkpoints", "zero_stage"}
        return digest_of(self.model_dump(mode="json", exclude=bystanders))
