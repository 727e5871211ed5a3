"""AdaX: one block with two conditioning pathways, either of which may be absent.

Adaptive normalisation takes time and the base vector; cross-attention takes the report statements,
each with heart rate, age and sex (Lai et al. 2025, arXiv 2508.02720). ``AdaXSpec`` says where a
block goes the published way; by default the cross-attention comes first, gated from zero.
Axes: B batch, F frame, K token, D width, H head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ecgtwin.models.attention import (
    ChangeMaps,
    CrossAttention,
    KeysValues,
    SelfAttention,
    feed_forward,
    zero_,
)
from ecgtwin.spec.model import AdaXSpec


class AttentionControl(Protocol):
    """Sees every cross-attention map of a pass, and may change it."""

    def __call__(self, layer: int, maps_BHFK: Tensor, token_is_real_BK: Tensor | None) -> Tensor:
        """Return the maps (B, H, F, K) that ``layer`` is to use; layers count as they are run."""
        ...


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Everything a denoiser may be conditioned on, embedded once per generation."""

    base: tuple[Tensor, ...]  # who: (B, D) for each owner; joins time; empty without pathway
    keys_values: tuple[KeysValues, ...]  # what: keys and values per layer; empty without pathway
    token_is_real_BK: Tensor | None
    control: AttentionControl | None = None

    def told(self, layer: int) -> tuple[KeysValues | None, Tensor | None, ChangeMaps | None]:
        """Return what ``AdaXBlock`` takes of the condition: keys and values, mask, control."""
        if not self.keys_values:
            return None, None, None
        control = None
        if self.control is not None:
            control = partial(self.control, layer, token_is_real_BK=self.token_is_real_BK)
        return self.keys_values[layer], self.token_is_real_BK, control


def run_block(block: nn.Module, *given: object, keep_inputs_only: bool) -> Tensor:
    """Return what ``block`` makes of ``given``.

    With ``keep_inputs_only`` what it keeps for the backward pass is its inputs; the rest is
    computed again there.
    """
    made: Tensor
    if keep_inputs_only and torch.is_grad_enabled():
        made = checkpoint(block, *given, use_reentrant=False)
    else:
        made = block(*given)
    return made


def modulate(x_BFD: Tensor, shift_BD: Tensor, scale_BD: Tensor) -> Tensor:
    """Return ``x`` scaled and shifted per width, the same for every frame."""
    return torch.addcmul(shift_BD[:, None], x_BFD, 1 + scale_BD[:, None])


class AdaXBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward; a modulation shifts, scales and gates."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        num_frames: int,
        feed_forward_width: int,
        adax: AdaXSpec,
        *,
        rotary: bool,
    ) -> None:
        super().__init__()
        self.adax = adax
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.self_attention = SelfAttention(width, num_heads, num_frames, rotary=rotary)
        self.cross_attention = (
            CrossAttention(width, num_heads, normalise_qkv=adax.normalise_qkv)
            if adax.cross_attention
            else None
        )
        self.feed_forward = feed_forward(width, feed_forward_width, nn.GELU(approximate="tanh"))
        # Shift, scale and gate of each part; those of the cross-attention, if any, come first.
        self.num_parts = 9 if adax.gated_cross_attention else 6
        to_parts = nn.Linear(width, self.num_parts * width)
        self.modulation = nn.Sequential(nn.SiLU(), zero_(to_parts) if adax.zero_init else to_parts)

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
        control: ChangeMaps | None = None,
    ) -> Tensor:
        """Return (B, F, D) of frames in the context of time and base vector."""
        *cross, shift, scale, gate, ff_shift, ff_scale, ff_gate = self._parts(context_BD)
        heard = None
        if self.cross_attention is not None and keys_values is not None:
            heard = partial(
                self.cross_attention,
                keys_values=keys_values,
                token_is_real_BK=token_is_real_BK,
                control=control,
            )
        if self.adax.cross_attention_first:
            x_BFD = self._with_heard(x_BFD, heard, cross)
        among = self.self_attention(modulate(self.norm(x_BFD), shift, scale))
        x_BFD = x_BFD + gate[:, None] * among
        if not self.adax.cross_attention_first:
            x_BFD = self._with_heard(x_BFD, heard, cross)
        alone = self.feed_forward(modulate(self.norm(x_BFD), ff_shift, ff_scale))
        out: Tensor = x_BFD + ff_gate[:, None] * alone
        return out

    def _parts(self, context_BD: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = self.modulation(context_BD).chunk(self.num_parts, dim=-1)
        return parts

    def _with_heard(
        self, x_BFD: Tensor, heard: Callable[[Tensor], Tensor] | None, cross: list[Tensor]
    ) -> Tensor:
        if heard is None:
            return x_BFD
        entering = self.norm(x_BFD) if self.adax.normalise_cross_input else x_BFD
        if not cross:
            return x_BFD + heard(entering)
        shift, scale, gate = cross
        return x_BFD + gate[:, None] * heard(modulate(entering, shift, scale))
