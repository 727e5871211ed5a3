"""The published twin on filled weights, with vectors of statements that are given, not made."""

from ecgtwin.models.text_encoder import RememberingEncoder, needed_identity
from ecgtwin.twin.published_keys import BASE_EXTRACTOR, DIT, VAE
from ecgtwin.twin.twin import EcgTwin
from tests.models.published import filled_state, with_weights


def published_twin(parity, *, weight_seed, vectors):
    """Return the filled ``paper`` twin; ``vectors`` holds (768,) of every statement."""
    twin = EcgTwin.untrained("paper", seed=0)
    halves = {
        f"{half}.{key}": tensor
        for half in ("encoder", "decoder")
        for key, tensor in filled_state(f"vae_{half}", weight_seed, parity).items()
    }
    with_weights(twin.vae, VAE, halves)
    extractor = filled_state("ibe", weight_seed, parity)
    with_weights(twin.base_extractor, BASE_EXTRACTOR, extractor)
    with_weights(twin.denoiser, DIT, filled_state("dit_ecgtwin", weight_seed, parity))
    text = twin.spec.text
    twin.text_encoder = RememberingEncoder(
        needed_identity(text), width=text.width, known=vectors, otherwise=lambda: None
    )
    return twin
