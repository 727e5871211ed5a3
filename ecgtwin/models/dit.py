"""DiT: a denoiser over latent frames. Axes: B batch, C latent channel, F frame, D width."""

import torch
from torch import Tensor, nn

from ecgtwin.models.adax import AdaXBlock, Conditioning, modulate, run_block
from ecgtwin.models.attention import zero_
from ecgtwin.models.condition_tokens import ConditionBatch, token_embedding
from ecgtwin.models.embeddings import STEPS_PER_TIME, Rotary, published_angles, time_code
from ecgtwin.spec.model import DiTSpec, TwinSpec

PUBLISHED_TIME_STD = 0.02


class DiT(nn.Module):
    """``(noisy latent, time, Conditioning) -> prediction``, with both pathways of AdaX.

    With ``activation_checkpointing`` a block keeps its input alone for the backward pass, where
    the rest is computed again; training sets it, and nothing else changes.
    """

    activation_checkpointing = False

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        sizes = spec.denoiser
        if not isinstance(sizes, DiTSpec):
            raise TypeError(f"a specification of kind {sizes.kind!r} is not one of a DiT")
        width, num_frames, adax = sizes.width, spec.vae.num_frames, sizes.adax
        self.steps_per_time = STEPS_PER_TIME[spec.process.kind]
        self.enter = nn.Linear(spec.vae.latent_channels, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.base = self.null_base = self.tokens = self.rotary = None
        if adax.adaptive_norm:
            self.base = nn.Linear(spec.base_extractor.base_width, width)
        if adax.adaptive_norm and sizes.tokens.kind == "flagged":
            self.null_base = nn.Parameter(torch.zeros(width))
        if adax.cross_attention:
            self.tokens = token_embedding(sizes.tokens, spec.text.width, width)
        if sizes.rotary == "embedding":
            self.rotary = Rotary(published_angles(width, num_frames))
        self.blocks = nn.ModuleList(_block(sizes, num_frames) for _ in range(sizes.num_layers))
        self.norm = self.head_modulation = None
        if sizes.head == "modulated":
            self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
            self.head_modulation = nn.Sequential(nn.SiLU(), zero_(nn.Linear(width, 2 * width)))
        self.head = nn.Linear(width, spec.vae.latent_channels)
        if sizes.xavier_init:
            self._start_as_published()
        if sizes.head == "modulated":
            zero_(self.head)

    def _start_as_published(self) -> None:
        """Xavier-uniform linear layers and zero biases; a layer that starts at zero stays there."""
        linear = [module for module in self.modules() if isinstance(module, nn.Linear)]
        at_zero = [block.modulation[-1] for block in self._blocks() if block.adax.zero_init]
        if self.head_modulation is not None:
            at_zero.append(self.head_modulation[-1])
        for layer in linear:
            nn.init.zeros_(layer.bias)
            if layer not in at_zero:
                nn.init.xavier_uniform_(layer.weight)
            if layer in (self.time[0], self.time[2]):
                nn.init.normal_(layer.weight, std=PUBLISHED_TIME_STD)

    def embed(
        self,
        base_BW: Tensor,
        conditions: ConditionBatch,
        *,
        has_base_B: Tensor | None = None,
        is_told_B: Tensor | None = None,
    ) -> Conditioning:
        """Embed person and condition once. Rows that are False lose that pathway's content.

        SpecificationError where the networks cannot do without a condition and a row is to.
        """
        base = () if self.base is None else (self._person(self.base, base_BW, has_base_B),)
        if self.tokens is None:
            return Conditioning(base, (), None)
        tokens_BKD, is_real_BK = self.tokens(conditions, is_told_B)
        keys_values = tuple(block.keys_values(tokens_BKD) for block in self._blocks())
        return Conditioning(base, keys_values, is_real_BK)

    def _person(self, project: nn.Linear, base_BW: Tensor, has_base_B: Tensor | None) -> Tensor:
        if has_base_B is None:
            out: Tensor = project(base_BW)
        elif self.null_base is not None:
            out = torch.where(has_base_B[:, None], project(base_BW), self.null_base)
        else:
            out = project(base_BW * has_base_B[:, None])
        return out

    def _blocks(self) -> list[AdaXBlock]:
        return [block for block in self.blocks if isinstance(block, AdaXBlock)]

    def forward(self, noisy_BCF: Tensor, time_B: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the prediction (B, C, F).

        ``time_B`` is in [0, 1] for a flow, a step from 0 for a Markov chain.
        """
        x_BFD = self.enter(noisy_BCF.transpose(1, 2))
        if self.rotary is not None:
            x_BFD = self.rotary(x_BFD)
        context_BD = self.context(time_B, conditioning)
        for layer, block in enumerate(self._blocks()):
            told = conditioning.told(layer)
            x_BFD = run_block(
                block, x_BFD, context_BD, *told, keep_inputs_only=self.activation_checkpointing
            )
        if self.norm is not None and self.head_modulation is not None:
            shift, scale = self.head_modulation(context_BD).chunk(2, dim=-1)
            x_BFD = modulate(self.norm(x_BFD), shift, scale)
        out: Tensor = self.head(x_BFD).transpose(1, 2)
        return out

    def context(self, time_B: Tensor, conditioning: Conditioning) -> Tensor:
        """Return what modulates every block (B, D): time, and the person where told."""
        width = self.enter.out_features
        code_BD = time_code(time_B, width, steps_per_time=self.steps_per_time)
        context_BD: Tensor = self.time(code_BD)
        for base_BD in conditioning.base:
            context_BD = context_BD + base_BD
        return context_BD


def _block(sizes: DiTSpec, num_frames: int) -> AdaXBlock:
    return AdaXBlock(
        sizes.width,
        sizes.num_heads,
        num_frames,
        sizes.feed_forward_ratio * sizes.width,
        sizes.adax,
        rotary=sizes.rotary == "queries_and_keys",
    )
