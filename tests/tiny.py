"""An untrained twin of a few thousand parameters, for tests of everything around the networks."""

import torch

from ecgtwin.spec.model import BaseExtractorSpec, DiTSpec, TextSpec, TwinSpec, VaeSpec
from ecgtwin.twin.twin import EcgTwin

TINY = TwinSpec(
    preset="tiny",
    sampling_rate_hz=102.4,
    vae=VaeSpec(latent_channels=4, stem_width=8, width=16, num_blocks=1, kernel_size=3),
    text=TextSpec(width=32),
    base_extractor=BaseExtractorSpec(width=16, num_layers=1, num_heads=2, base_width=8),
    denoiser=DiTSpec(width=16, num_layers=1, num_heads=2, feed_forward_ratio=2),
)


def tiny_twin(seed: int = 0) -> EcgTwin:
    """Return the same untrained twin for the same seed; its head is not zero."""
    twin = EcgTwin.untrained(TINY, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in twin.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1, generator=generator)
    return twin
