"""Conditions to the arrays the networks read: one token per statement.

Axes: B batch, K token, W text width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ecgtwin.models.embeddings import PATIENT_WIDTH, patient_code
from ecgtwin.models.text_encoder import hashed_statement
from ecgtwin.spec.condition import CardiacCondition

CERTAINTIES = ("definite", "possible", "negated")
SEX_CODE = {"unknown": -1, "female": 0, "male": 1}


@dataclass(frozen=True, slots=True)
class ConditionBatch:
    """Conditions as tensors. Unknown rate and age are NaN, unknown sex is -1."""

    text_BKW: Tensor
    certainty_BK3: Tensor
    token_is_real_BK: Tensor
    rate_B: Tensor
    age_B: Tensor
    sex_B: Tensor

    @classmethod
    def of(cls, conditions: Sequence[CardiacCondition], *, text_width: int) -> "ConditionBatch":
        """Encode ``conditions``. One without statements gets a single token of zero text."""
        num_tokens = max(1, *(len(condition.statements) for condition in conditions))
        text = np.zeros((len(conditions), num_tokens, text_width), dtype=np.float32)
        certainty = np.zeros((len(conditions), num_tokens, 3), dtype=np.float32)
        is_real = np.zeros((len(conditions), num_tokens), dtype=bool)
        is_real[:, 0] = True
        for row, condition in enumerate(conditions):
            for column, statement in enumerate(condition.statements):
                text[row, column] = hashed_statement(statement.code, text_width)
                certainty[row, column, CERTAINTIES.index(statement.certainty)] = 1
                is_real[row, column] = True
        return cls(
            torch.from_numpy(text),
            torch.from_numpy(certainty),
            torch.from_numpy(is_real),
            torch.tensor([_or_nan(item.heart_rate_bpm) for item in conditions]),
            torch.tensor([_or_nan(item.age_years) for item in conditions]),
            torch.tensor([SEX_CODE[item.sex] for item in conditions]),
        )

    def to(self, device: torch.device) -> "ConditionBatch":
        """Return the same batch on ``device``."""
        return ConditionBatch(*(getattr(self, name).to(device) for name in self.__slots__))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


class TokenEmbedding(nn.Module):
    """Statement, certainty and patient information of each token to width D."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width + 3, width)
        self.patient = nn.Sequential(
            nn.Linear(PATIENT_WIDTH, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, batch: ConditionBatch, is_told_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return tokens (B, K, D) and which are real (B, K).

        A row whose ``is_told_B`` is False has its whole condition replaced by one learnt token.
        """
        text_BKD = self.text(torch.cat([batch.text_BKW, batch.certainty_BK3], dim=-1))
        patient_BD = self.patient(patient_code(batch.rate_B, batch.age_B, batch.sex_B))
        tokens_BKD = text_BKD + patient_BD[:, None]
        is_real_BK = batch.token_is_real_BK
        if is_told_B is not None:
            first_BK = torch.arange(is_real_BK.shape[1], device=is_real_BK.device)[None] == 0
            tokens_BKD = torch.where(is_told_B[:, None, None], tokens_BKD, self.null_token)
            is_real_BK = torch.where(is_told_B[:, None], is_real_BK, first_BK)
        return tokens_BKD, is_real_BK
