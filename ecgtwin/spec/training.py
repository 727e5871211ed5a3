"""TrainingSpec: how one objective is optimised, on whatever engine."""

from typing import Any, Literal

from pydantic import Field, model_validator

from ecgtwin.spec.base import Spec, digest_of

# Fields that leave the weights as they are, or change no more than the order of sums.
BYSTANDERS = {
    "micro_batch_size",
    "zero_stage",
    "offload",
    "activation_checkpointing",
    "deepspeed",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "panel_every",
    "max_bad_steps",
}


class TrainingSpec(Spec):
    """One optimisation. ``batch_size`` is global: ranks share it equally.

    ``micro_batch_size`` is what a rank computes at once; it accumulates gradients over as many as
    its share needs (None: the whole share at once). ``precision`` ``bf16`` computes the passes in
    bf16 over fp32 weights; ``bf16_weights`` holds the weights and gradients in bf16 as well, beside
    the fp32 master weights of ZeRO 2 or 3. ``deepspeed`` is merged into the configuration that is
    derived from the other fields, and may not contradict them.
    """

    num_steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    final_learning_rate_ratio: float = Field(default=0.05, ge=0, le=1)  # end of the cosine
    weight_decay: float = Field(default=0.01, ge=0)  # of matrices and kernels, not of vectors
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(default=1.0, gt=0)
    precision: Literal["fp32", "bf16", "bf16_weights"] = "fp32"  # master weights and moments: fp32
    zero_stage: int = Field(default=0, ge=0, le=3)
    offload: Literal["none", "optimizer", "optimizer_and_parameters"] = "none"  # to the CPU
    activation_checkpointing: bool = False  # of the denoiser's blocks
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    ema_decays: tuple[float, ...] = (0.999,)  # one moving average each; empty: none
    seed: int = Field(default=0, ge=0)
    log_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    panel_every: int | None = Field(default=None, ge=1)  # steps; None: with each checkpoint
    max_bad_steps: int = Field(default=5, ge=1)  # without finite loss and gradient, in a row

    @model_validator(mode="after")
    def _betas_decay(self) -> "TrainingSpec":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must both be at least 0 and below 1 (found {self.betas})")
        return self

    @model_validator(mode="after")
    def _decays_differ(self) -> "TrainingSpec":
        if not all(0 < decay < 1 for decay in self.ema_decays):
            raise ValueError(f"ema_decays must lie between 0 and 1 (found {self.ema_decays})")
        if len(set(self.ema_decays)) != len(self.ema_decays):
            raise ValueError(f"ema_decays holds a value twice (found {self.ema_decays})")
        return self

    @model_validator(mode="after")
    def _zero_stage_allows(self) -> "TrainingSpec":
        if self.precision == "bf16_weights" and self.zero_stage < 2:
            raise ValueError(
                f"precision bf16_weights keeps its fp32 master weights in the partitions of ZeRO; "
                f"zero_stage must be 2 or 3 (found {self.zero_stage})"
            )
        needed = {"none": 0, "optimizer": 1, "optimizer_and_parameters": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(
                f"offload {self.offload} needs zero_stage {needed} or more, found {self.zero_stage}"
            )
        return self

    def recipe_digest(self) -> str:
        """Return a digest of the fields that decide the weights, but for the order of sums."""
        return digest_of(self.model_dump(mode="json", exclude=BYSTANDERS))
