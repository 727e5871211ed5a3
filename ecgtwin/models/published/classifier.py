"""The published diagnosis classifier. Axes: B batch, L lead, T sample, D width, N class."""

from typing import cast

from torch import Tensor, nn

from ecgtwin.models.published.net1d import Net1D, Stage

STAGES = (Stage(64, 2), Stage(128, 2), Stage(256, 2), Stage(512, 3))


class DiagnosisClassifier(nn.Module):
    """Twelve-lead ECGs to classes; the published task has two: normal and abnormal."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.trunk = Net1D(STAGES)
        self.head = nn.Linear(STAGES[-1].width, num_classes)

    def features(self, samples_BLT: Tensor) -> Tensor:
        """Return the embedding (B, D) of leads in mV."""
        return cast(Tensor, self.trunk(samples_BLT))

    def forward(self, samples_BLT: Tensor) -> Tensor:
        """Return logits (B, N): what a cross-entropy takes."""
        return cast(Tensor, self.head(self.features(samples_BLT)))

    def probabilities(self, samples_BLT: Tensor) -> Tensor:
        """Return (B, N); each row sums to one."""
        return cast(Tensor, self(samples_BLT).softmax(dim=-1))
