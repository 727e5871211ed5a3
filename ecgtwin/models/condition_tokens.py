"""Conditions to the arrays the networks read: one token per statement.

Axes: B batch, K token, W text width, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.models.embeddings import PATIENT_WIDTH, patient_code, position_table
from ecgtwin.models.text_encoder import EncodeStatements
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import TokenSpec

CERTAINTIES = ("definite", "possible", "negated")
UNKNOWN_SEX = -1
SEX_CODE = {"unknown": UNKNOWN_SEX, "female": 0, "male": 1}
# Mean and spread of rate (bpm) and age (years) that the published networks are told in units of.
PUBLISHED_RATE = (77.95, 20.37)
PUBLISHED_AGE = (64.25, 17.13)


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
    def of(cls, conditions: Sequence[CardiacCondition], *, encode: EncodeStatements) -> Self:
        """Encode ``conditions``. One without statements gets a single token of zero text."""
        num_tokens = max(1, *(len(condition.statements) for condition in conditions))
        places = [
            (row, column, statement)
            for row, condition in enumerate(conditions)
            for column, statement in enumerate(condition.statements)
        ]
        vectors = encode([statement for _, _, statement in places])
        text = np.zeros((len(conditions), num_tokens, vectors.shape[1]), dtype=np.float32)
        certainty = np.zeros((len(conditions), num_tokens, 3), dtype=np.float32)
        is_real = np.zeros((len(conditions), num_tokens), dtype=bool)
        is_real[:, 0] = True
        for (row, column, statement), vector in zip(places, vectors, strict=True):
            text[row, column] = vector
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

    @classmethod
    def published(
        cls, tokens_BKW: Tensor, patient_B3: Tensor, mask_BK: Tensor | None = None
    ) -> Self:
        """Take data in the published form: text, standardised rate and age with sex, 1/0 mask."""
        (rate_mean, rate_spread), (age_mean, age_spread) = PUBLISHED_RATE, PUBLISHED_AGE
        rate_B, age_B, sex_B = patient_B3.unbind(dim=-1)
        everywhere = torch.ones(tokens_BKW.shape[:2], dtype=torch.bool, device=tokens_BKW.device)
        return cls(
            tokens_BKW,
            tokens_BKW.new_zeros(*tokens_BKW.shape[:2], len(CERTAINTIES)),
            everywhere if mask_BK is None else mask_BK > 0,
            rate_B * rate_spread + rate_mean,
            age_B * age_spread + age_mean,
            sex_B,
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
        if is_told_B is None:
            return tokens_BKD, batch.token_is_real_BK
        return _replaced(tokens_BKD, batch.token_is_real_BK, is_told_B, self.null_token)


class PublishedTokenEmbedding(nn.Module):
    """Text with rate, age and sex beside it through one layer to width D, as published.

    ``num_positions`` rows of a learnt table tell a token its place; ``has_null_token`` makes a
    token that can stand for the whole condition.
    """

    def __init__(
        self,
        text_width: int,
        width: int,
        *,
        patient_first: bool,
        num_positions: int,
        has_null_token: bool,
    ) -> None:
        super().__init__()
        self.patient_first = patient_first
        self.enter = nn.Linear(text_width + 3, width)
        self.positions = (
            nn.Parameter(position_table(num_positions, width)[None]) if num_positions else None
        )
        self.null_token = nn.Parameter(torch.ones(1, width)) if has_null_token else None

    def forward(self, batch: ConditionBatch, is_told_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return tokens (B, K, D) and which are real (B, K).

        A row whose ``is_told_B`` is False has its whole condition replaced by the null token.
        SpecificationError where there is none, where a told row does not know rate, age and sex,
        and where tokens outnumber the table.
        """
        patient_B3 = _published_patient(batch, is_told_B)
        patient_BK3 = patient_B3[:, None].expand(-1, batch.text_BKW.shape[1], -1)
        parts = (
            [patient_BK3, batch.text_BKW] if self.patient_first else [batch.text_BKW, patient_BK3]
        )
        tokens_BKD = self._placed(self.enter(torch.cat(parts, dim=-1)))
        if is_told_B is None:
            return tokens_BKD, batch.token_is_real_BK
        if self.null_token is not None:
            return _replaced(tokens_BKD, batch.token_is_real_BK, is_told_B, self.null_token)
        if bool(is_told_B.all()):
            return tokens_BKD, batch.token_is_real_BK
        raise SpecificationError(
            "the published denoisers were never trained without a condition, so none can be "
            "dropped and guidance is impossible; set guidance_scale to 1 (in training, "
            "condition_dropout to 0)"
        )

    def _placed(self, tokens_BKD: Tensor) -> Tensor:
        if self.positions is None:
            return tokens_BKD
        num_tokens, num_positions = tokens_BKD.shape[1], self.positions.shape[1]
        if num_tokens > num_positions:
            raise SpecificationError(
                f"a condition has {num_tokens} statements, and these networks have places for "
                f"{num_positions}; leave some out"
            )
        return tokens_BKD + self.positions[:, :num_tokens]


def token_embedding(
    spec: TokenSpec, text_width: int, width: int, *, has_null_token: bool = False
) -> nn.Module:
    """Return the embedding of ``spec``: ``(batch, is_told_B or None) -> (tokens, is_real)``.

    ``has_null_token`` matters to the published form only; the flagged one always has it.
    """
    if spec.kind == "flagged":
        return TokenEmbedding(text_width, width)
    return PublishedTokenEmbedding(
        text_width,
        width,
        patient_first=spec.patient_first,
        num_positions=spec.num_positions,
        has_null_token=has_null_token,
    )


def _replaced(
    tokens_BKD: Tensor, is_real_BK: Tensor, is_told_B: Tensor, null_token: Tensor
) -> tuple[Tensor, Tensor]:
    """Put one null token in place of the condition of rows that are not told."""
    first_BK = torch.arange(is_real_BK.shape[1], device=is_real_BK.device)[None] == 0
    return (
        torch.where(is_told_B[:, None, None], tokens_BKD, null_token),
        torch.where(is_told_B[:, None], is_real_BK, first_BK),
    )


def _published_patient(batch: ConditionBatch, is_told_B: Tensor | None) -> Tensor:
    """Return (B, 3): standardised rate and age, and sex; refuse a told row that lacks one."""
    (rate_mean, rate_spread), (age_mean, age_spread) = PUBLISHED_RATE, PUBLISHED_AGE
    has_no_sex_B = batch.sex_B.isnan() | (batch.sex_B == UNKNOWN_SEX)
    is_unknown_B = batch.rate_B.isnan() | batch.age_B.isnan() | has_no_sex_B
    if is_told_B is not None:
        is_unknown_B = is_unknown_B & is_told_B
    if bool(is_unknown_B.any()):
        raise SpecificationError(
            f"heart rate, age or sex of condition {int(is_unknown_B.nonzero()[0])} is unknown, and "
            "the published networks have no input for that; give all three"
        )
    patient_B3 = torch.stack(
        [
            (batch.rate_B - rate_mean) / rate_spread,
            (batch.age_B - age_mean) / age_spread,
            batch.sex_B.to(batch.rate_B.dtype),
        ],
        dim=-1,
    )
    return patient_B3.nan_to_num()  # only in rows whose condition is about to be replaced
