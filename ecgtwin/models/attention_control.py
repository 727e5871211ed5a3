"""Controls of cross-attention: edited rows look where their source looks; maps are kept.

Prompt-to-prompt editing (Hertz et al. 2022) of report statements (Lai et al. 2025, section on
editing). A control is given to a denoiser in its ``Conditioning`` and called in every
cross-attention. Axes: B batch, N edited row, H head, F frame, K token.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ecgtwin.spec.edit import EditedCondition

if TYPE_CHECKING:
    from ecgtwin.models.adax import AttentionControl


class EditMaps:
    """Edited rows take the maps of their sources, columns of added statements their own.

    The batch holds N source rows and then their N edited rows. Columns are multiplied by their
    weights; ``renormalise`` brings the rows of an edited map back to a sum of 1. Source rows pass
    untouched, and columns of padding stay exactly 0.
    """

    def __init__(
        self, source_columns_NK: Tensor, weights_NK: Tensor, *, renormalise: bool = True
    ) -> None:
        """``source_columns_NK`` holds -1 for an added statement, ``weights_NK`` 0 for padding."""
        self.source_columns_NK = source_columns_NK
        self.weights_NK = weights_NK
        self.renormalise = renormalise

    @classmethod
    def of(
        cls,
        edited: Sequence[EditedCondition],
        *,
        num_tokens: int,
        renormalise: bool,
        device: torch.device,
    ) -> "EditMaps":
        """Return the control of ``edited`` rows whose conditions are padded to ``num_tokens``."""
        columns = torch.full((len(edited), num_tokens), -1, device=device)
        weights = torch.zeros(len(edited), num_tokens, device=device)
        for row, item in enumerate(edited):
            for column, (source, weight) in enumerate(
                zip(item.source_columns, item.weights, strict=True)
            ):
                columns[row, column] = -1 if source is None else source
                weights[row, column] = weight
        return cls(columns, weights, renormalise=renormalise)

    def __call__(self, layer: int, maps_BHFK: Tensor, token_is_real_BK: Tensor | None) -> Tensor:
        """Return the maps with those of the second half of the batch replaced."""
        source, own = maps_BHFK.chunk(2)
        columns = self.source_columns_NK[:, None, None, :].expand_as(own)
        taken = source.gather(-1, columns.clamp(min=0))
        edited = torch.where(columns >= 0, taken, own) * self.weights_NK[:, None, None, :]
        if self.renormalise:
            edited = edited / edited.sum(dim=-1, keepdim=True).clamp(min=1e-12)
        return torch.cat([source, edited])


class RecordMaps:
    """Keeps the maps that ``control`` (or nothing) lets through, averaged over heads."""

    def __init__(self, control: "AttentionControl | None" = None) -> None:
        self._control = control
        self._evaluations: list[list[Tensor]] = []

    def __call__(self, layer: int, maps_BHFK: Tensor, token_is_real_BK: Tensor | None) -> Tensor:
        """Return what the inner control returns; layer 0 begins another evaluation."""
        if self._control is not None:
            maps_BHFK = self._control(layer, maps_BHFK, token_is_real_BK)
        if layer == 0:
            self._evaluations.append([])
        self._evaluations[-1].append(maps_BHFK.mean(dim=1))
        return maps_BHFK

    def recorded(self, num_frames: int) -> Tensor:
        """Return (evaluation, layer, B, F, K); coarser layers are stretched to ``num_frames``."""
        return torch.stack(
            [
                torch.stack([_stretched(maps, num_frames) for maps in layers])
                for layers in self._evaluations
            ]
        )


def _stretched(maps_BFK: Tensor, num_frames: int) -> Tensor:
    if maps_BFK.shape[1] == num_frames:
        return maps_BFK
    return functional.interpolate(maps_BFK.transpose(1, 2), size=num_frames).transpose(1, 2)
