"""Self- and cross-attention, fused.

Axes: B batch, F frame, K token, D width, H head, E head width.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.models.embeddings import Rotary, period_angles

KeysValues = tuple[Tensor, Tensor]
ChangeMaps = Callable[[Tensor], Tensor]  # maps (B, H, F, K) -> maps (B, H, F, K)


def _split(x_BFD: Tensor, num_heads: int) -> Tensor:
    batch, length, width = x_BFD.shape
    return x_BFD.view(batch, length, num_heads, width // num_heads).transpose(1, 2)


def _join(x_BHFE: Tensor) -> Tensor:
    return x_BHFE.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention among frames; ``rotary`` puts the position code on queries and keys.

    With ``local_frames`` it is among the frames of each window of so many, which stand side by
    side; a strip must then be of whole windows. Nothing else of a layer mixes frames, so windows
    are the same wherever they stand and whatever stands beside them.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        num_frames: int,
        *,
        rotary: bool = True,
        local_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.num_heads, self.local_frames = num_heads, local_frames
        self.rotary = Rotary(period_angles(width // num_heads, num_frames)) if rotary else None
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Return (B, F, D)."""
        if self.local_frames is None or x_BFD.shape[1] == self.local_frames:
            return self._among(x_BFD)
        batch, _, width = x_BFD.shape
        windows = x_BFD.reshape(batch, -1, self.local_frames, width)
        return self._among(windows.flatten(0, 1)).view_as(x_BFD)

    def _among(self, x_BFD: Tensor) -> Tensor:
        query, key, value = (
            _split(part, self.num_heads) for part in self.to_qkv(x_BFD).chunk(3, dim=-1)
        )
        if self.rotary is not None:
            query, key = self.rotary(query), self.rotary(key)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(_join(mixed))
        return out


class CrossAttention(nn.Module):
    """Attention from frames to condition tokens, whose keys and values are made once.

    ``normalise_qkv`` puts an affine LayerNorm over the whole width on queries, keys and values.
    """

    def __init__(self, width: int, num_heads: int, *, normalise_qkv: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.norm_q, self.norm_k, self.norm_v = (
            nn.LayerNorm(width) if normalise_qkv else nn.Identity() for _ in range(3)
        )

    def keys_values(self, tokens_BKD: Tensor) -> KeysValues:
        """Return keys and values, each (B, H, K, E)."""
        key, value = self.to_kv(tokens_BKD).chunk(2, dim=-1)
        return _split(self.norm_k(key), self.num_heads), _split(self.norm_v(value), self.num_heads)

    def forward(
        self,
        x_BFD: Tensor,
        keys_values: KeysValues,
        token_is_real_BK: Tensor | None,
        control: ChangeMaps | None = None,
    ) -> Tensor:
        """Return (B, F, D).

        Tokens whose ``token_is_real_BK`` is False take no part; a mask of floats is added to the
        logits. ``control`` may change the attention maps before they meet the values.
        """
        key, value = keys_values
        query = _split(self.norm_q(self.to_q(x_BFD)), self.num_heads)
        mask = None if token_is_real_BK is None else token_is_real_BK[:, None, None, :]
        if control is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            mixed = control(attention_maps(query, key, mask)) @ value
        out: Tensor = self.to_out(_join(mixed))
        return out


def attention_maps(query_BHFE: Tensor, key_BHKE: Tensor, mask: Tensor | None) -> Tensor:
    """Return the attention probabilities (B, H, F, K); see CrossAttention for ``mask``."""
    logits = query_BHFE @ key_BHKE.transpose(-1, -2) / math.sqrt(query_BHFE.shape[-1])
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, -math.inf)
    elif mask is not None:
        logits = logits + mask
    return logits.softmax(dim=-1)


def feed_forward(width: int, hidden_width: int, activation: nn.Module) -> nn.Sequential:
    """Return the two-layer perceptron of a transformer block."""
    return nn.Sequential(nn.Linear(width, hidden_width), activation, nn.Linear(hidden_width, width))


def zero_(layer: nn.Linear) -> nn.Linear:
    """Set a layer to zero and return it."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
