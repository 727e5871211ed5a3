"""An untrained twin of a few thousand parameters, for tests of everything around the networks."""

import torch

from ecgtwin.spec.model import (
    AdaXSpec,
    BaseExtractorSpec,
    DiTSpec,
    TextSpec,
    TokenSpec,
    TwinSpec,
    VaeSpec,
)
from ecgtwin.spec.process import DdpmSpec
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.twin import EcgTwin

TINY = TwinSpec(
    preset="tiny",
    sampling_rate_hz=102.4,
    vae=VaeSpec(latent_channels=4, stem_width=8, width=16, num_blocks=1, kernel_size=3),
    text=TextSpec(width=32),
    base_extractor=BaseExtractorSpec(width=16, num_layers=1, num_heads=2, base_width=8),
    denoiser=DiTSpec(width=16, num_layers=1, num_heads=2, feed_forward_ratio=2),
)
# The ways of the published denoiser and extractor at the same size; the VAE stays small.
TINY_PUBLISHED = TINY.model_copy(
    update={
        "preset": "tiny-published",
        "base_extractor": BaseExtractorSpec(
            width=16,
            num_layers=1,
            num_heads=2,
            base_width=16,
            tokens=TokenSpec(kind="published"),
            rotary="embedding",
            activation="relu",
            projection=False,
        ),
        "denoiser": DiTSpec(
            width=16,
            num_layers=1,
            num_heads=2,
            adax=AdaXSpec(
                cross_attention_first=False, gated_cross_attention=False, normalise_qkv=True
            ),
            tokens=TokenSpec(kind="published", patient_first=True, num_positions=4),
            rotary="embedding",
            head="plain",
        ),
        "process": DdpmSpec(first_trained_step=1, last_trained_step=998),
        "sampling": SamplingSpec(sampler="ddpm", num_steps=4, clip_sample=True),
    }
)
# Our networks on the published process.
TINY_CHAIN = TINY.model_copy(
    update={
        "preset": "tiny-chain",
        "process": DdpmSpec(),
        "sampling": SamplingSpec(sampler="ddim", num_steps=4),
    }
)


def tiny_twin(seed: int = 0, spec: TwinSpec = TINY) -> EcgTwin:
    """Return the same untrained twin for the same seed; its head is not zero."""
    twin = EcgTwin.untrained(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in twin.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1, generator=generator)
    return twin
