"""The individual base extractor: what is left of a reference once its condition is taken away.

Each layer attends among frames, then *subtracts* the rectified part that the recording's own
condition explains (Lai et al. 2025, stage 1). ``BaseExtractorSpec`` says where it goes the
published way; by default padded tokens are really masked and positions enter queries and keys.
Without its condition pathway nothing is taken away, and the condition is not looked at.
Axes: B batch, C latent channel, F frame, K token, D width.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ecgtwin.models.attention import CrossAttention, SelfAttention, feed_forward
from ecgtwin.models.condition_tokens import UNKNOWN_SEX, ConditionBatch, token_embedding
from ecgtwin.models.embeddings import Rotary, published_angles
from ecgtwin.spec.model import BaseExtractorSpec, TwinSpec

INITIAL_TEMPERATURE = 0.07


Tokens = tuple[Tensor, Tensor]  # (B, K, D), and which are real or what is added to logits (B, K)


class ExtractorLayer(nn.Module):
    """Self-attention, subtractive cross-attention, feed-forward; each after a LayerNorm.

    There is a norm for frames, tokens, frames, frames; without the condition pathway for frames,
    frames.
    """

    def __init__(self, sizes: BaseExtractorSpec, num_frames: int) -> None:
        super().__init__()
        width, num_heads = sizes.width, sizes.num_heads
        activation = nn.ReLU() if sizes.activation == "relu" else nn.GELU(approximate="tanh")
        num_norms = 4 if sizes.condition_pathway else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_norms))
        self.self_attention = SelfAttention(
            width,
            num_heads,
            num_frames,
            rotary=sizes.rotary == "queries_and_keys",
            local_frames=sizes.local_frames,
        )
        self.cross_attention = CrossAttention(width, num_heads) if sizes.condition_pathway else None
        self.feed_forward = feed_forward(width, sizes.feed_forward_ratio * width, activation)

    def forward(self, x_BFD: Tensor, tokens: Tokens | None) -> Tensor:
        """Return (B, F, D)."""
        x_BFD = x_BFD + self.self_attention(self.norms[0](x_BFD))
        if self.cross_attention is not None and tokens is not None:
            tokens_BKD, token_is_real_BK = tokens
            keys_values = self.cross_attention.keys_values(self.norms[1](tokens_BKD))
            explained = self.cross_attention(self.norms[2](x_BFD), keys_values, token_is_real_BK)
            x_BFD = x_BFD - torch.relu(explained)
        out: Tensor = x_BFD + self.feed_forward(self.norms[-1](x_BFD))
        return out


class BaseExtractor(nn.Module):
    """``(reference latent, its own condition) -> base vector``."""

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        sizes = spec.base_extractor
        num_frames = spec.vae.num_frames
        self.reference_mask, self.age_and_sex = sizes.reference_mask, sizes.age_and_sex
        self.enter = nn.Linear(spec.vae.latent_channels, sizes.width)
        self.tokens = self.rotary = self.leave = None
        if sizes.condition_pathway:
            self.tokens = token_embedding(
                sizes.tokens, spec.text.width, sizes.width, has_null_token=True
            )
        if sizes.rotary == "embedding":
            self.rotary = Rotary(published_angles(sizes.width, num_frames))
        self.layers = nn.ModuleList(
            ExtractorLayer(sizes, num_frames) for _ in range(sizes.num_layers)
        )
        if sizes.projection:
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
        """Return base vectors (B, base_width), with projection of one length.

        That length is the root of their width: what the denoiser sees has unit variance per
        element.
        """
        mean_BD = self.frames(latent_BCF, conditions, is_told_B=is_told_B).mean(dim=1)
        if self.leave is None:
            return mean_BD
        vector_BW: Tensor = self.leave(mean_BD)
        return nn.functional.normalize(vector_BW, dim=-1) * math.sqrt(vector_BW.shape[-1])

    def frames(
        self,
        latent_BCF: Tensor,
        conditions: ConditionBatch,
        *,
        is_told_B: Tensor | None = None,
    ) -> Tensor:
        """Return what the condition leaves of every frame (B, F, D)."""
        tokens = self._told(conditions, is_told_B)
        x_BFD: Tensor = self.enter(latent_BCF.transpose(1, 2))
        if self.rotary is not None:
            x_BFD = self.rotary(x_BFD)
        for layer in self.layers:
            x_BFD = layer(x_BFD, tokens)
        return x_BFD

    def _told(self, conditions: ConditionBatch, is_told_B: Tensor | None) -> Tokens | None:
        if self.tokens is None:
            return None
        if not self.age_and_sex:
            conditions = replace(
                conditions,
                age_B=torch.full_like(conditions.age_B, math.nan),
                sex_B=torch.full_like(conditions.sex_B, UNKNOWN_SEX),
            )
        tokens_BKD, is_real_BK = self.tokens(conditions, is_told_B)
        return tokens_BKD, is_real_BK.to(tokens_BKD.dtype) if self.reference_mask else is_real_BK
