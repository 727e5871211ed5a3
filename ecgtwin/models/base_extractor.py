"""The individual base extractor: what is left of a reference once its condition is taken away.

Each layer attends among frames, then *subtracts* the rectified part that the recording's own
condition explains (Lai et al. 2025, stage 1). Ours differs from the published network where its
faults are mended: padded tokens are really masked and positions enter queries and keys.
Axes: B batch, C latent channel, F frame, K token, D width.
"""

import math

import torch
from torch import Tensor, nn

from ecgtwin.models.attention import CrossAttention, SelfAttention, feed_forward
from ecgtwin.models.condition_tokens import ConditionBatch, TokenEmbedding
from ecgtwin.spec.model import TwinSpec

INITIAL_TEMPERATURE = 0.07


class ExtractorLayer(nn.Module):
    """Self-attention, subtractive cross-attention, feed-forward; each after a LayerNorm."""

    def __init__(self, width: int, num_heads: int, num_frames: int, ratio: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.self_attention = SelfAttention(width, num_heads, num_frames)
        self.cross_attention = CrossAttention(width, num_heads)
        self.feed_forward = feed_forward(width, ratio)

    def forward(self, x_BFD: Tensor, tokens_BKD: Tensor, token_is_real_BK: Tensor) -> Tensor:
        """Return (B, F, D)."""
        x_BFD = x_BFD + self.self_attention(self.norms[0](x_BFD))
        keys_values = self.cross_attention.keys_values(self.norms[1](tokens_BKD))
        explained = self.cross_attention(self.norms[2](x_BFD), keys_values, token_is_real_BK)
        x_BFD = x_BFD - torch.relu(explained)
        out: Tensor = x_BFD + self.feed_forward(self.norms[3](x_BFD))
        return out


class BaseExtractor(nn.Module):
    """``(reference latent, its own condition) -> base vector``."""

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        sizes = spec.base_extractor
        self.enter = nn.Linear(spec.vae.latent_channels, sizes.width)
        self.tokens = TokenEmbedding(spec.text.width, sizes.width)
        self.layers = nn.ModuleList(
            ExtractorLayer(
                sizes.width, sizes.num_heads, spec.vae.num_frames, sizes.feed_forward_ratio
            )
            for _ in range(sizes.num_layers)
        )
        self.leave = nn.Sequential(
            nn.LayerNorm(sizes.width), nn.Linear(sizes.width, sizes.base_width)
        )
        self.log_scale = nn.Parameter(torch.full((1,), math.log(1 / INITIAL_TEMPERATURE)))

    def forward(
        self,
        latent_BCF: Tensor,
        conditions: ConditionBatch,
        *,
        is_told_B: Tensor | None = None,
    ) -> Tensor:
        """Return base vectors (B, base_width) of unit length times the root of their width.

        A fixed length keeps what the denoiser sees at unit variance per element.
        """
        tokens_BKD, is_real_BK = self.tokens(conditions, is_told_B)
        x_BFD = self.enter(latent_BCF.transpose(1, 2))
        for layer in self.layers:
            x_BFD = layer(x_BFD, tokens_BKD, is_real_BK)
        vector_BW: Tensor = self.leave(x_BFD.mean(dim=1))
        return nn.functional.normalize(vector_BW, dim=-1) * math.sqrt(vector_BW.shape[-1])
