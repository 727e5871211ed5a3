"""Self- and cross-attention, fused. Axes: B batch, F frame, K token, D width, H head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.models.embeddings import Rotary


def _split(x_BFD: Tensor, num_heads: int) -> Tensor:
    batch, length, width = x_BFD.shape
    return x_BFD.view(batch, length, num_heads, width // num_heads).transpose(1, 2)


def _join(x_BHFD: Tensor) -> Tensor:
    return x_BHFD.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention among frames, rotary code on queries and keys."""

    def __init__(self, width: int, num_heads: int, num_frames: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rotary = Rotary(width // num_heads, num_frames)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Return (B, F, D)."""
        query, key, value = (
            _split(part, self.num_heads) for part in self.to_qkv(x_BFD).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(self.rotary(query), self.rotary(key), value)
        out: Tensor = self.to_out(_join(mixed))
        return out


KeysValues = tuple[Tensor, Tensor]


class CrossAttention(nn.Module):
    """Attention from frames to condition tokens, whose keys and values are made once."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)

    def keys_values(self, tokens_BKD: Tensor) -> KeysValues:
        """Return keys and values, each (B, H, K, D / H)."""
        key, value = self.to_kv(tokens_BKD).chunk(2, dim=-1)
        return _split(key, self.num_heads), _split(value, self.num_heads)

    def forward(self, x_BFD: Tensor, keys_values: KeysValues, token_is_real_BK: Tensor) -> Tensor:
        """Return (B, F, D); tokens whose ``token_is_real_BK`` is False take no part."""
        key, value = keys_values
        mixed = functional.scaled_dot_product_attention(
            _split(self.to_q(x_BFD), self.num_heads),
            key,
            value,
            attn_mask=token_is_real_BK[:, None, None, :],
        )
        out: Tensor = self.to_out(_join(mixed))
        return out


def feed_forward(width: int, ratio: int) -> nn.Sequential:
    """Return the two-layer perceptron of a transformer block."""
    return nn.Sequential(
        nn.Linear(width, ratio * width),
        nn.GELU(approximate="tanh"),
        nn.Linear(ratio * width, width),
    )


def zero_(layer: nn.Linear) -> nn.Linear:
    """Set a layer to zero and return it."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    return layer
