"""The sizes of the networks, and the presets that name them."""

from typing import Literal

from pydantic import Field, model_validator

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.sampling import SamplingSpec


class VaeSpec(Spec):
    """ECG (lead, time) to latent (channel, frame): two strided stages with residual blocks."""

    num_leads: int = 8
    num_samples: int = 1024
    num_frames: int = 64
    latent_channels: int = 16
    stem_width: int = 48
    width: int = 128
    num_blocks: int = 2
    kernel_size: int = 5

    @model_validator(mode="after")
    def _strides_fit(self) -> "VaeSpec":
        if self.num_samples != self.num_frames * 16:
            raise ValueError("num_samples must be 16 times num_frames: two strides of four")
        return self


class TextSpec(Spec):
    """How a statement becomes a vector. ``hashed`` downloads nothing."""

    kind: Literal["hashed"] = "hashed"
    width: int = 192


class BaseExtractorSpec(Spec):
    """Reference latent and its own condition to the individual base vector."""

    width: int = 128
    num_layers: int = 3
    num_heads: int = 4
    feed_forward_ratio: int = 2
    base_width: int = 128


class AdaXSpec(Spec):
    """The two conditioning pathways of a block; either may be absent (an ablation)."""

    adaptive_norm: bool = True
    cross_attention: bool = True


class DiTSpec(Spec):
    """A transformer over latent frames."""

    kind: Literal["dit"] = "dit"
    width: int = 128
    num_layers: int = 5
    num_heads: int = 4
    feed_forward_ratio: int = 3
    adax: AdaXSpec = AdaXSpec()


class TwinSpec(Spec):
    """Everything needed to build the networks of one twin."""

    preset: str
    sampling_rate_hz: float = Field(gt=0)
    vae: VaeSpec = VaeSpec()
    text: TextSpec = TextSpec()
    base_extractor: BaseExtractorSpec = BaseExtractorSpec()
    denoiser: DiTSpec = DiTSpec()
    sampling: SamplingSpec = SamplingSpec()  # what a cohort is drawn with unless it says otherwise


PRESETS = {
    "tiny": TwinSpec(
        preset="tiny",
        sampling_rate_hz=102.4,
        # Ten guided steps: twenty evaluations an ECG.
        sampling=SamplingSpec(num_steps=10, guidance_scale=2.0),
    )
}


def preset(name: str) -> TwinSpec:
    """Return a preset by name; raise SpecificationError naming the known ones."""
    if name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise SpecificationError(f"preset {name!r} is unknown; known presets: {known}")
    return PRESETS[name]
