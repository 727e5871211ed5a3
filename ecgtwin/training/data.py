"""What the objectives are fed: everything about step ``n`` follows from (seed, n) alone.

A rank takes its slice of the global batch, so ranks never enter the order or the random numbers.
Axes: B batch, L independent lead, T sample, C channel, F frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe
from ecgtwin.training.engine import rank_slice
from ecgtwin.training.objectives import CONDITION_KEYS, Batch
from ecgtwin.training.rows import LatentRows, TrainingRows


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows ``start`` to ``stop`` of a global batch of ``total`` that this rank computes."""

    total: int
    start: int
    stop: int

    @classmethod
    def of_rank(cls, total: int, rank: int, world_size: int) -> "Slice":
        """Return the share of ``rank``; raise SpecificationError if ``total`` does not divide."""
        part = rank_slice(total, rank=rank, world_size=world_size)
        return cls(total, part.start, part.stop)


def random_of_step(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one step: Philox keyed by (seed, step)."""
    return np.random.Generator(np.random.Philox(key=[seed, step]))


def _normal(random: np.random.Generator, part: Slice, *shape: int) -> Tensor:
    whole = random.standard_normal((part.total, *shape), dtype=np.float32)
    return torch.from_numpy(whole[part.start : part.stop])


def _keep(random: np.random.Generator, part: Slice, dropout: float) -> Tensor:
    whole = random.random(part.total) >= dropout
    return torch.from_numpy(whole[part.start : part.stop])


class VaeBatches:
    """Rows drawn uniformly with replacement, and the posterior's noise."""

    def __init__(
        self, rows: TrainingRows, *, latent_shape: tuple[int, int], seed: int, part: Slice
    ) -> None:
        self.rows, self.latent_shape, self.seed, self.part = rows, latent_shape, seed, part

    def __call__(self, step: int) -> Batch:
        """Return this rank's share of step ``step``."""
        random = random_of_step(self.seed, step)
        chosen = random.integers(len(self.rows), size=self.part.total)
        mine = chosen[self.part.start : self.part.stop]
        return {
            "samples_BLT": torch.from_numpy(self.rows.samples_BLT[mine]),
            "noise_BCF": _normal(random, self.part, *self.latent_shape),
        }


def _condition_entries(prefix: str, conditions: ConditionBatch) -> Batch:
    return {f"{prefix}{key}": getattr(conditions, key) for key in CONDITION_KEYS}


class PairBatches:
    """Two recordings each of patients drawn uniformly, for the base extractor."""

    def __init__(
        self,
        rows: LatentRows,
        recipe: BaseExtractorRecipe,
        *,
        seed: int,
        part: Slice,
        pairs: PairSpec = PairSpec(),  # noqa: B008  (frozen)
    ) -> None:
        self.rows, self.recipe, self.seed, self.part = rows, recipe, seed, part
        self.pairs = rows.rows.sampler(pairs, seed=seed)
        names = {name: index for index, name in enumerate(sorted(set(rows.rows.persons)))}
        self.person = torch.tensor([names[name] for name in rows.rows.persons])

    def __call__(self, step: int) -> Batch:
        """Return this rank's share of step ``step``."""
        part = self.part
        reference, target = self.pairs.pairs_at(step, part.total, part.start, part.stop)[:2]
        random = random_of_step(self.seed, step)
        batch: Batch = {
            "person_B": self.person[reference],
            "is_told_B": _keep(random, part, self.recipe.condition_dropout),
        }
        for prefix, chosen in (("reference_", reference), ("target_", target)):
            rows = torch.from_numpy(chosen)
            batch[f"{prefix}latent_BCF"] = self.rows.latents_BCF[rows]
            batch |= _condition_entries(prefix, self.rows.conditions.take(rows))
        return batch


class DenoiserBatches:
    """A target latent in its condition, with the base vector of another visit of the person.

    A recording without a partner is drawn too, without a base vector: it would otherwise be told
    its own state through it.
    """

    def __init__(
        self,
        rows: LatentRows,
        recipe: DenoiserRecipe,
        *,
        seed: int,
        part: Slice,
        pairs: PairSpec = PairSpec(),  # noqa: B008  (frozen)
    ) -> None:
        self.rows, self.recipe, self.seed, self.part = rows, recipe, seed, part
        self.pairs = rows.rows.sampler(pairs, seed=seed)

    def __call__(self, step: int) -> Batch:
        """Return this rank's share of step ``step``."""
        part, recipe = self.part, self.recipe
        reference, target, is_single = self.pairs.pairs_at(
            step, part.total, part.start, part.stop, allow_single=True
        )
        random = random_of_step(self.seed, step)
        has_base = _keep(random, part, recipe.base_dropout) & ~torch.from_numpy(is_single)
        rows = torch.from_numpy(target)
        conditions = self.rows.conditions.take(rows)
        latents = self.rows.latents_BCF[rows]
        return {
            "latent_BCF": latents,
            "base_BW": self.rows.base_vectors_BW[torch.from_numpy(reference)],
            "has_base_B": has_base,
            "is_told_B": _keep(random, part, recipe.condition_dropout),
            "noise_BCF": _normal(random, part, *latents.shape[1:]),
            "time_normal_B": _normal(random, part),
            **_condition_entries("", self._with_unknowns(conditions, random)),
        }

    def _with_unknowns(
        self, conditions: ConditionBatch, random: np.random.Generator
    ) -> ConditionBatch:
        """Make rate, age and sex unknown at random, each by itself."""
        knows = [_keep(random, self.part, self.recipe.field_dropout) for _ in range(3)]
        nan = torch.tensor(float("nan"))
        return ConditionBatch(
            conditions.text_BKW,
            conditions.certainty_BK3,
            conditions.token_is_real_BK,
            torch.where(knows[0], conditions.rate_B, nan),
            torch.where(knows[1], conditions.age_B, nan),
            torch.where(knows[2], conditions.sex_B, -1),
        )


def latent_statistics(latents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel, each (C, 1), over rows and frames."""
    whole_BCF = torch.cat(list(latents))
    mean = whole_BCF.mean(dim=(0, 2))[:, None]
    return mean, whole_BCF.std(dim=(0, 2))[:, None]
