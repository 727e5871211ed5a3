"""AdaX: one block with two conditioning pathways, either of which may be absent.

Adaptive normalisation takes time and the base vector; cross-attention takes the report statements,
each with heart rate, age and sex (Lai et al. 2025, arXiv 2508.02720). Our block differs from the
published one where its faults are mended: the cross-attention is gated and zero-initialised, and
the rotary code acts on queries and keys. Axes: B batch, F frame, K token, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecgtwin.models.attention import (
    CrossAttention,
    KeysValues,
    SelfAttention,
    feed_forward,
    zero_,
)
from ecgtwin.spec.model import AdaXSpec


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Everything a denoiser may be conditioned on, embedded once per generation."""

    base_BD: Tensor | None  # who: joins time in the adaptive normalisation
    keys_values: tuple[KeysValues, ...]  # what: keys and values per layer; empty without pathway
    token_is_real_BK: Tensor | None


def modulate(x_BFD: Tensor, shift_BD: Tensor, scale_BD: Tensor) -> Tensor:
    """Return ``x`` scaled and shifted per width, the same for every frame."""
    return torch.addcmul(shift_BD[:, None], x_BFD, 1 + scale_BD[:, None])


class AdaXBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each modulated and gated from zero."""

    def __init__(
        self, width: int, num_heads: int, num_frames: int, ratio: int, adax: AdaXSpec
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.self_attention = SelfAttention(width, num_heads, num_frames)
        self.cross_attention = CrossAttention(width, num_heads) if adax.cross_attention else None
        self.feed_forward = feed_forward(width, ratio)
        self.modulation = nn.Sequential(nn.SiLU(), zero_(nn.Linear(width, 9 * width)))

    def keys_values(self, tokens_BKD: Tensor) -> KeysValues:
        """Return this layer's keys and values of the condition tokens."""
        if self.cross_attention is None:
            raise ValueError("this block has no cross-attention pathway")
        return self.cross_attention.keys_values(self.norm(tokens_BKD))

    def forward(
        self,
        x_BFD: Tensor,
        context_BD: Tensor,
        keys_values: KeysValues | None,
        token_is_real_BK: Tensor | None,
    ) -> Tensor:
        """Return (B, F, D)."""
        parts = self.modulation(context_BD).chunk(9, dim=-1)
        if self.cross_attention is not None and keys_values is not None:
            told = self.cross_attention(
                modulate(self.norm(x_BFD), parts[0], parts[1]), keys_values, token_is_real_BK
            )
            x_BFD = x_BFD + parts[2][:, None] * told
        among = self.self_attention(modulate(self.norm(x_BFD), parts[3], parts[4]))
        x_BFD = x_BFD + parts[5][:, None] * among
        alone = self.feed_forward(modulate(self.norm(x_BFD), parts[6], parts[7]))
        out: Tensor = x_BFD + parts[8][:, None] * alone
        return out
