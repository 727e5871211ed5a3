"""Conditions of a whole corpus: each statement's vector is held once, rows hold its number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.models.text_encoder import statements_encoder
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.twin.encoding import take_conditions
from ecgtwin.twin.twin import EcgTwin


@dataclass(frozen=True, slots=True)
class ConditionRows:
    """``numbered`` has the statements' numbers (row, token, 1) for text, 0 for none.

    ``vectors_SW`` has the vector of each number.
    """

    numbered: ConditionBatch
    vectors_SW: Tensor

    @classmethod
    def of(cls, conditions: Sequence[CardiacCondition], twin: EcgTwin) -> Self:
        """Number the statements and encode each once."""
        numbers: dict[Statement, int] = {}

        def number(statements: Sequence[Statement]) -> np.ndarray:
            found = [numbers.setdefault(one, len(numbers) + 1) for one in statements]
            return np.array(found, np.float32).reshape(-1, 1)  # whole to 2^24

        numbered = ConditionBatch.of(conditions, encode=number)
        vectors = np.zeros((len(numbers) + 1, twin.spec.text.width), np.float32)
        if numbers:
            vectors[1:] = statements_encoder(twin.spec, twin.text_encoder)(list(numbers))
        return cls(numbered.to(twin.device), torch.from_numpy(vectors).to(twin.device))

    def take(self, rows: slice | Tensor) -> ConditionBatch:
        """Return the conditions of ``rows`` as the networks read them."""
        chosen = take_conditions(self.numbered, rows)
        return replace(chosen, text_BKW=self.vectors_SW[chosen.text_BKW[..., 0].long()])
