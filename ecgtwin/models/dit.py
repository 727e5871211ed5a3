"""DiT: a denoiser over latent frames. Axes: B batch, C latent channel, F frame, D width."""

import torch
from torch import Tensor, nn

from ecgtwin.models.adax import AdaXBlock, Conditioning, modulate
from ecgtwin.models.attention import zero_
from ecgtwin.models.condition_tokens import ConditionBatch, TokenEmbedding
from ecgtwin.models.embeddings import time_code
from ecgtwin.spec.model import DiTSpec, TwinSpec


class DiT(nn.Module):
    """``(noisy latent, time, Conditioning) -> prediction``, with both pathways of AdaX."""

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        sizes: DiTSpec = spec.denoiser
        width, vae = sizes.width, spec.vae
        self.enter = nn.Linear(vae.latent_channels, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.base = nn.Linear(spec.base_extractor.base_width, width)
        self.null_base = nn.Parameter(torch.zeros(width))
        self.tokens = TokenEmbedding(spec.text.width, width)
        self.blocks = nn.ModuleList(
            AdaXBlock(width, sizes.num_heads, vae.num_frames, sizes.feed_forward_ratio, sizes.adax)
            for _ in range(sizes.num_layers)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.head_modulation = nn.Sequential(nn.SiLU(), zero_(nn.Linear(width, 2 * width)))
        self.head = zero_(nn.Linear(width, vae.latent_channels))
        self.adax = sizes.adax

    def embed(
        self,
        base_BW: Tensor,
        conditions: ConditionBatch,
        *,
        has_base_B: Tensor | None = None,
        is_told_B: Tensor | None = None,
    ) -> Conditioning:
        """Embed person and condition once. Rows that are False lose that pathway's content."""
        base_BD = None
        if self.adax.adaptive_norm:
            base_BD = self.base(base_BW)
            if has_base_B is not None:
                base_BD = torch.where(has_base_B[:, None], base_BD, self.null_base)
        if not self.adax.cross_attention:
            return Conditioning(base_BD, (), None)
        tokens_BKD, is_real_BK = self.tokens(conditions, is_told_B)
        keys_values = tuple(block.keys_values(tokens_BKD) for block in self._blocks())
        return Conditioning(base_BD, keys_values, is_real_BK)

    def _blocks(self) -> list[AdaXBlock]:
        return [block for block in self.blocks if isinstance(block, AdaXBlock)]

    def forward(self, noisy_BCF: Tensor, time_B: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the prediction (B, C, F) at diffusion time ``time_B`` in [0, 1]."""
        x_BFD = self.enter(noisy_BCF.transpose(1, 2))
        context_BD = self.time(time_code(time_B, x_BFD.shape[-1]))
        if conditioning.base_BD is not None:
            context_BD = context_BD + conditioning.base_BD
        for index, block in enumerate(self._blocks()):
            keys_values = conditioning.keys_values[index] if conditioning.keys_values else None
            x_BFD = block(x_BFD, context_BD, keys_values, conditioning.token_is_real_BK)
        shift, scale = self.head_modulation(context_BD).chunk(2, dim=-1)
        out: Tensor = self.head(modulate(self.norm(x_BFD), shift, scale)).transpose(1, 2)
        return out
