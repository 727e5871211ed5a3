"""Net1D: a one-dimensional SE-ResNeXt. Axes: B batch, L lead, T sample, D width.

Residual blocks of grouped convolutions (ResNeXt) with squeeze and excitation (SE); each stage
halves the length. Written from the sizes that arXiv 2508.02720 uses.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.errors import SpecificationError

NUM_LEADS = 12
STEM_WIDTH = 64
KERNEL = 16
GROUP_WIDTH = 16
SQUEEZE = 2
DROPOUT = 0.5


class Stage(NamedTuple):
    """``num_blocks`` blocks of one width; the first halves the length."""

    width: int
    num_blocks: int


class SameConv(nn.Module):
    """A convolution to T / stride samples; an odd padding has its extra sample at the end."""

    def __init__(self, width_in: int, width_out: int, *, stride: int, num_groups: int = 1) -> None:
        super().__init__()
        padding = KERNEL - stride
        self.padding = (padding // 2, padding - padding // 2)
        self.conv = nn.Conv1d(width_in, width_out, KERNEL, stride=stride, groups=num_groups)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return (B, width_out, T / stride)."""
        return cast(Tensor, self.conv(functional.pad(x_BDT, self.padding)))


class SqueezeExcitation(nn.Module):
    """Each channel times a gate between 0 and 1 that the means of all channels decide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // SQUEEZE)
        self.excite = nn.Linear(width // SQUEEZE, width)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return the same shape."""
        gate_BD = self.excite(functional.silu(self.squeeze(x_BDT.mean(dim=-1)))).sigmoid()
        return cast(Tensor, x_BDT * gate_BD[..., None])


class ResNeXtBlock(nn.Module):
    """Pre-activated bottleneck; its skip has no parameters: max pooling and channels of zeros.

    The block after the stem gets an activated input and never calls its first norm. It owns one
    all the same, because the released weights hold it.
    """

    def __init__(self, width_in: int, width: int, *, stride: int, after_stem: bool) -> None:
        super().__init__()
        self.stride = stride
        self.after_stem = after_stem
        missing = width - width_in
        self.skip_padding = (0, 0, missing // 2, missing - missing // 2)
        self.norm_1 = nn.BatchNorm1d(width_in)
        self.conv_1 = nn.Conv1d(width_in, width, 1)
        self.norm_2 = nn.BatchNorm1d(width)
        self.conv_2 = SameConv(width, width, stride=stride, num_groups=width // GROUP_WIDTH)
        self.norm_3 = nn.BatchNorm1d(width)
        self.conv_3 = nn.Conv1d(width, width, 1)
        self.squeeze_excitation = SqueezeExcitation(width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return (B, width, T / stride)."""
        inner = x_BDT if self.after_stem else self._activated(self.norm_1(x_BDT))
        inner = self.conv_1(inner)
        inner = self.conv_2(self._activated(self.norm_2(inner)))
        inner = self.conv_3(self._activated(self.norm_3(inner)))
        return cast(Tensor, self.squeeze_excitation(inner) + self._skip(x_BDT))

    def _activated(self, x_BDT: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(functional.silu(x_BDT)))

    def _skip(self, x_BDT: Tensor) -> Tensor:
        return functional.pad(functional.max_pool1d(x_BDT, self.stride), self.skip_padding)


def _stage(width_in: int, stage: Stage, *, after_stem: bool) -> nn.Sequential:
    width = stage.width
    first = ResNeXtBlock(width_in, width, stride=2, after_stem=after_stem)
    rest = (
        ResNeXtBlock(width, width, stride=1, after_stem=False) for _ in range(stage.num_blocks - 1)
    )
    return nn.Sequential(first, *rest)


class Net1D(nn.Module):
    """Twelve leads to one vector: a strided stem, the stages, the mean over time."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.samples_per_frame = 2 ** (1 + len(stages))
        self.stem = SameConv(NUM_LEADS, STEM_WIDTH, stride=2)
        self.stem_norm = nn.BatchNorm1d(STEM_WIDTH)
        widths = pairwise((STEM_WIDTH, *(stage.width for stage in stages)))
        self.stages = nn.Sequential(
            *(
                _stage(width_in, stage, after_stem=index == 0)
                for index, ((width_in, _), stage) in enumerate(zip(widths, stages, strict=True))
            )
        )

    def forward(self, samples_BLT: Tensor) -> Tensor:
        """Return the embedding (B, last width) of leads in mV.

        SpecificationError where there are not twelve leads or T is not a multiple of all strides.
        """
        if samples_BLT.shape[1] != NUM_LEADS or samples_BLT.shape[2] % self.samples_per_frame:
            raise SpecificationError(
                f"the ECGs have shape (batch, lead, sample) = {tuple(samples_BLT.shape)}; the "
                f"network takes {NUM_LEADS} leads and a multiple of {self.samples_per_frame} "
                "samples: reorder or resample them"
            )
        stem = functional.silu(self.stem_norm(self.stem(samples_BLT)))
        return cast(Tensor, self.stages(stem).mean(dim=-1))
