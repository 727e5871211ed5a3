"""The networks that a specification names."""

from ecgtwin.models.dit import DiT
from ecgtwin.models.published.vae import PublishedVae
from ecgtwin.models.unet import UNet
from ecgtwin.models.vae import Vae
from ecgtwin.spec.model import DiTSpec, TwinSpec, VaeSpec

AnyVae = Vae | PublishedVae
AnyDenoiser = DiT | UNet


def build_vae(spec: TwinSpec) -> AnyVae:
    """Return the untrained VAE of ``spec``."""
    return Vae(spec.vae) if isinstance(spec.vae, VaeSpec) else PublishedVae(spec.vae)


def build_denoiser(spec: TwinSpec) -> AnyDenoiser:
    """Return the untrained denoiser of ``spec``."""
    return DiT(spec) if isinstance(spec.denoiser, DiTSpec) else UNet(spec)
