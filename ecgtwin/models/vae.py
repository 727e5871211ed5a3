"""ECG to latent and back. Axes: B batch, L independent lead, T sample, C channel, F frame."""

import torch
from torch import Tensor, nn

from ecgtwin.spec.model import VaeSpec

STRIDE = 4
GROUPS = 8


class ResidualBlock(nn.Module):
    """Two normalised convolutions around a skip; starts as the identity."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        pad = kernel_size // 2
        self.body = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, kernel_size, padding=pad),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, kernel_size, padding=pad),
        )
        last = self.body[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # a Conv1d's weight is a tensor

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return the same shape."""
        out: Tensor = x_BDT + self.body(x_BDT)
        return out


class Upsample(nn.Module):
    """Four times the length: a convolution whose channels are dealt out along time."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.width_out = width_out
        self.conv = nn.Conv1d(width_in, width_out * STRIDE, 3, padding=1)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return (B, width_out, 4 T)."""
        batch, _, length = x_BDT.shape
        dealt = self.conv(x_BDT).view(batch, self.width_out, STRIDE, length)
        out: Tensor = dealt.transpose(2, 3).reshape(batch, self.width_out, STRIDE * length)
        return out


class Vae(nn.Module):
    """Variational autoencoder of the eight independent leads (in mV)."""

    latent_mean_C1: Tensor
    latent_scale_C1: Tensor

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.lead_order = spec.lead_order
        stem, width, kernel = spec.stem_width, spec.width, spec.kernel_size
        channels = spec.latent_channels
        self.encoder = nn.Sequential(
            nn.Conv1d(spec.num_leads, stem, 2 * STRIDE, stride=STRIDE, padding=STRIDE // 2),
            ResidualBlock(stem, kernel),
            nn.Conv1d(stem, width, 2 * STRIDE, stride=STRIDE, padding=STRIDE // 2),
            *(ResidualBlock(width, kernel) for _ in range(spec.num_blocks)),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, 2 * channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(channels, width, 3, padding=1),
            *(ResidualBlock(width, kernel) for _ in range(spec.num_blocks + 1)),
            Upsample(width, stem),
            *(ResidualBlock(stem, kernel) for _ in range(2)),
            nn.GroupNorm(GROUPS, stem),
            nn.SiLU(),
            Upsample(stem, spec.num_leads),
        )
        self.register_buffer("latent_mean_C1", torch.zeros(channels, 1))
        self.register_buffer("latent_scale_C1", torch.ones(channels, 1))

    def posterior(self, samples_BLT: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, C, F), before normalisation; log-variance clamped."""
        mean, log_variance = self.encoder(samples_BLT).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, samples_BLT: Tensor) -> Tensor:
        """Return the mean latent (B, C, F), at zero mean and unit variance per channel."""
        mean, _ = self.posterior(samples_BLT)
        return (mean - self.latent_mean_C1) / self.latent_scale_C1

    def decode_raw(self, raw_BCF: Tensor) -> Tensor:
        """Return independent leads (B, L, T) in mV of a latent before normalisation."""
        out: Tensor = self.decoder(raw_BCF)
        return out

    def decode(self, latent_BCF: Tensor) -> Tensor:
        """Return independent leads (B, L, T) in mV of a normalised latent."""
        return self.decode_raw(latent_BCF * self.latent_scale_C1 + self.latent_mean_C1)
