"""The published VAE of twelve leads, written from the sizes of arXiv 2508.02720.

Axes: B batch, L lead, T sample, C latent channel, F frame, D width. The indices inside the two
halves are those of the published weights.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.spec.model import PublishedVaeSpec

GROUPS = 32
KERNEL = 3
NARROW, MIDDLE, WIDE = 128, 256, 512
LOG_VARIANCE_RANGE = (-30.0, 20.0)


def _conv(width_in: int, width_out: int) -> nn.Conv1d:
    return nn.Conv1d(width_in, width_out, KERNEL, padding=KERNEL // 2)


class ResidualBlock(nn.Module):
    """Two normalised convolutions around a skip, which is linear where the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(GROUPS, width_in)
        self.conv_1 = _conv(width_in, width_out)
        self.norm_2 = nn.GroupNorm(GROUPS, width_out)
        self.conv_2 = _conv(width_out, width_out)
        same = width_in == width_out
        self.skip = nn.Identity() if same else nn.Conv1d(width_in, width_out, 1)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return (B, width_out, T)."""
        inner = self.conv_1(functional.silu(self.norm_1(x_BDT)))
        inner = self.conv_2(functional.silu(self.norm_2(inner)))
        return cast(Tensor, self.skip(x_BDT) + inner)


class TimeAttention(nn.Module):
    """Residual self-attention over time with one head.

    The published block owns a norm that its forward pass never calls; so does this one, because the
    released weights hold it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return the same shape."""
        query, key, value = self.to_qkv(x_BDT.transpose(1, 2)).chunk(3, dim=-1)
        heard = functional.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, x_BDT + self.to_out(heard).transpose(1, 2))


class Downsample(nn.Module):
    """Half the length: a convolution of stride two over samples padded at the end only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, KERNEL, stride=2)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return (B, D, T / 2)."""
        return cast(Tensor, self.conv(functional.pad(x_BDT, (0, 1))))


def _encoder(num_leads: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(num_leads, NARROW),
        ResidualBlock(NARROW, NARROW),
        ResidualBlock(NARROW, NARROW),
        Downsample(NARROW),
        ResidualBlock(NARROW, MIDDLE),
        ResidualBlock(MIDDLE, MIDDLE),
        Downsample(MIDDLE),
        ResidualBlock(MIDDLE, WIDE),
        ResidualBlock(WIDE, WIDE),
        Downsample(WIDE),
        *(ResidualBlock(WIDE, WIDE) for _ in range(3)),
        TimeAttention(WIDE),
        ResidualBlock(WIDE, WIDE),
        nn.GroupNorm(GROUPS, WIDE),
        nn.SiLU(),
        _conv(WIDE, 2 * channels),
        nn.Conv1d(2 * channels, 2 * channels, 1),
    )


def _upsample(width_in: int, width_out: int) -> list[nn.Module]:
    """Twice the length by repeating samples, then three blocks, the first of which may narrow."""
    return [
        nn.Upsample(scale_factor=2),
        _conv(width_in, width_in),
        ResidualBlock(width_in, width_out),
        ResidualBlock(width_out, width_out),
        ResidualBlock(width_out, width_out),
    ]


def _decoder(num_leads: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, channels, 1),
        _conv(channels, WIDE),
        ResidualBlock(WIDE, WIDE),
        TimeAttention(WIDE),
        *(ResidualBlock(WIDE, WIDE) for _ in range(4)),
        *_upsample(WIDE, WIDE),
        *_upsample(WIDE, MIDDLE),
        *_upsample(MIDDLE, NARROW),
        nn.GroupNorm(GROUPS, NARROW),
        nn.SiLU(),
        _conv(NARROW, num_leads),
    )


class PublishedVae(nn.Module):
    """Variational autoencoder of twelve leads (in mV), in the order ``spec.lead_order``."""

    latent_mean_C1: Tensor
    latent_scale_C1: Tensor

    def __init__(self, spec: PublishedVaeSpec) -> None:
        super().__init__()
        self.lead_order = spec.lead_order
        channels = spec.latent_channels
        self.encoder = _encoder(spec.num_leads, channels)
        self.decoder = _decoder(spec.num_leads, channels)
        self.register_buffer("latent_mean_C1", torch.zeros(channels, 1))
        self.register_buffer("latent_scale_C1", torch.full((channels, 1), 1 / spec.latent_factor))

    def posterior(self, samples_BLT: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (B, C, F), before normalisation; log-variance clamped."""
        mean, log_variance = self.encoder(samples_BLT).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def encode(self, samples_BLT: Tensor) -> Tensor:
        """Return the mean latent (B, C, F), normalised: times the published factor."""
        mean, _ = self.posterior(samples_BLT)
        return (mean - self.latent_mean_C1) / self.latent_scale_C1

    def decode_raw(self, raw_BCF: Tensor) -> Tensor:
        """Return leads (B, L, T) in mV of a latent before normalisation."""
        return cast(Tensor, self.decoder(raw_BCF))

    def decode(self, latent_BCF: Tensor) -> Tensor:
        """Return leads (B, L, T) in mV of a normalised latent."""
        return self.decode_raw(latent_BCF * self.latent_scale_C1 + self.latent_mean_C1)
