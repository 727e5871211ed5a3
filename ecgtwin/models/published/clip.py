"""The published ECG-text CLIP, the feature space of its Frechet distances.

Axes: B batch, L lead, T sample, W text width, D trunk width, P projected width.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgtwin.models.published.net1d import Net1D, Stage

STAGES = (
    Stage(64, 2),
    Stage(128, 2),
    Stage(128, 2),
    Stage(256, 3),
    Stage(256, 3),
    Stage(512, 4),
    Stage(1024, 4),
)
TEXT_WIDTH = 768
TEXT_HIDDEN_WIDTH = 2048
PROJECTED_WIDTH = 64
INITIAL_TEMPERATURE = 0.07


class ClipOutput(NamedTuple):
    """What one batch of pairs gives; the projected features are not normalised."""

    ecg_embedding_BD: Tensor
    ecg_features_BP: Tensor
    text_features_BP: Tensor
    logits_per_signal_BB: Tensor  # row: ECG, column: text


class TextProjector(nn.Module):
    """Two linear layers from the mean embedding of a report's statements."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(TEXT_WIDTH, TEXT_HIDDEN_WIDTH)
        self.linear_2 = nn.Linear(TEXT_HIDDEN_WIDTH, PROJECTED_WIDTH)

    def forward(self, text_BW: Tensor) -> Tensor:
        """Return (B, P)."""
        return cast(Tensor, self.linear_2(functional.relu(self.linear_1(text_BW))))


class EcgTextClip(nn.Module):
    """Twelve-lead ECGs and reports in one space of 64 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        # One dimension where the published scale has none: DeepSpeed refuses parameters of none.
        self.logit_scale = nn.Parameter(torch.full((1,), -math.log(INITIAL_TEMPERATURE)))
        self.trunk = Net1D(STAGES)
        self.ecg_projector = nn.Linear(STAGES[-1].width, PROJECTED_WIDTH)
        self.text_projector = TextProjector()

    def ecg_features(self, samples_BLT: Tensor) -> Tensor:
        """Return the projected features (B, P) of leads in mV, not normalised."""
        return cast(Tensor, self.ecg_projector(self.trunk(samples_BLT)))

    def text_features(self, text_BW: Tensor) -> Tensor:
        """Return the projected features (B, P) of mean statement embeddings, not normalised."""
        return cast(Tensor, self.text_projector(text_BW))

    def forward(self, samples_BLT: Tensor, text_BW: Tensor) -> ClipOutput:
        """Return embeddings, features and scaled cosines of every ECG with every text."""
        embedding_BD = self.trunk(samples_BLT)
        ecg_BP = self.ecg_projector(embedding_BD)
        text_BP = self.text_features(text_BW)
        cosines_BB = functional.normalize(ecg_BP) @ functional.normalize(text_BP).T
        return ClipOutput(embedding_BD, ecg_BP, text_BP, self.logit_scale.exp() * cosines_BB)
