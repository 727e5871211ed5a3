"""What the objectives are fed: every row of step ``n`` follows from (seed, n, its number) alone.

A rank asks for its rows of the global batch, one micro-batch at a time, so that neither ranks nor
micro-batches enter the order or the random numbers, and nobody makes rows that it does not use.
Axes: B batch, L independent lead, T sample, C channel, F frame.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.errors import SpecificationError
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.model import TwinSpec
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe
from ecgtwin.training.objectives import CONDITION_KEYS, Batch
from ecgtwin.training.rows import LatentRows, TrainingRows

STREAM_OF_STEP, STREAM_OF_ROW = 1, 2


class Batches(Protocol):
    """Batches of one objective, as a function of the step."""

    total: int

    def __call__(self, step: int, part: slice) -> Batch:
        """Return rows ``part`` of the ``total`` rows of ``step``."""
        ...


def uniform_of_step(seed: int, step: int, total: int, *, num: int) -> NDArray[np.float64]:
    """Return (num, total) numbers in [0, 1): of the whole global batch, as they cost little."""
    return _generator(seed, STREAM_OF_STEP, step, 0).random((num, total))


def normal_of_rows(seed: int, step: int, part: slice, *shape: int) -> Tensor:
    """Return standard normal noise (B, *shape), each row by its number in the global batch."""
    rows = [
        _generator(seed, STREAM_OF_ROW, step, row).standard_normal(shape, dtype=np.float32)
        for row in range(part.start, part.stop)
    ]
    return torch.from_numpy(np.stack(rows))


def _generator(seed: int, stream: int, step: int, row: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, row, step]))


class VaeBatches:
    """Rows drawn uniformly with replacement, and the posterior's noise."""

    def __init__(
        self, rows: TrainingRows, *, latent_shape: tuple[int, int], seed: int, total: int
    ) -> None:
        self.rows, self.latent_shape, self.seed, self.total = rows, latent_shape, seed, total

    def __call__(self, step: int, part: slice) -> Batch:
        """Return rows ``part`` of ``step``."""
        (uniform,) = uniform_of_step(self.seed, step, self.total, num=1)
        chosen = (uniform[part] * len(self.rows)).astype(np.int64)
        return {
            "samples_BLT": torch.from_numpy(self.rows.samples_BLT[chosen]),
            "noise_BCF": normal_of_rows(self.seed, step, part, *self.latent_shape),
        }


def check_crop(crop_frames: int | None, spec: TwinSpec) -> None:
    """Raise SpecificationError unless a latent has windows of ``crop_frames``."""
    if crop_frames is None:
        return
    num_frames, window = spec.vae.num_frames, spec.base_extractor.local_frames
    if crop_frames > num_frames:
        raise SpecificationError(
            f"base_extractor.crop_frames: {crop_frames} is more than the {num_frames} frames of a "
            f"latent of this twin"
        )
    if window is not None and crop_frames % window:
        raise SpecificationError(
            f"base_extractor.crop_frames: {crop_frames} is not a multiple of the {window} frames "
            f"among which this twin's extractor attends (local_frames)"
        )


def cropped(latent_BCF: Tensor, place_B: NDArray[np.float64], num_frames: int) -> Tensor:
    """Return ``num_frames`` frames of each latent, from ``place_B`` in [0, 1) of all beginnings."""
    batch, channels, all_frames = latent_BCF.shape
    first_B = (place_B * (all_frames - num_frames + 1)).astype(np.int64)
    frames_BF = torch.from_numpy(first_B[:, None] + np.arange(num_frames)).to(latent_BCF.device)
    return latent_BCF.gather(2, frames_BF[:, None].expand(batch, channels, num_frames))


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
        total: int,
        pairs: PairSpec = PairSpec(),  # noqa: B008  (frozen)
        virtual: Sequence[Tensor] = (),
    ) -> None:
        """``virtual``: the latents of all rows as other persons, once for each copy of them."""
        self.rows, self.recipe, self.seed, self.total = rows, recipe, seed, total
        self.versions = (rows.latents_BCF, *virtual)
        self.pairs = rows.rows.sampler(pairs, seed=seed)
        names = {name: index for index, name in enumerate(sorted(set(rows.rows.persons)))}
        self.person = torch.tensor([names[name] for name in rows.rows.persons])

    def __call__(self, step: int, part: slice) -> Batch:
        """Return rows ``part`` of ``step``."""
        reference, target, _ = self.pairs.pairs_at(step, self.total, part.start, part.stop)
        num = 3 if len(self.versions) == 1 else 4
        uniform = uniform_of_step(self.seed, step, self.total, num=num)[:, part]
        version_B = np.zeros(len(reference), np.int64)
        if len(self.versions) > 1:
            version_B = (uniform[3] * len(self.versions)).astype(np.int64)
        batch: Batch = {
            "person_B": self.person[reference] * len(self.versions) + torch.from_numpy(version_B),
            "is_told_B": torch.from_numpy(uniform[0] >= self.recipe.condition_dropout),
        }
        members = (("reference_", reference), ("target_", target))
        for (prefix, chosen), place_B in zip(members, uniform[1:3], strict=True):
            rows = torch.from_numpy(chosen)
            latent_BCF = self._latents(chosen, version_B)
            if self.recipe.crop_frames is not None:
                latent_BCF = cropped(latent_BCF, place_B, self.recipe.crop_frames)
            batch[f"{prefix}latent_BCF"] = latent_BCF
            batch |= _condition_entries(prefix, self.rows.conditions.take(rows))
        return batch

    def _latents(self, row_B: NDArray[np.int64], version_B: NDArray[np.int64]) -> Tensor:
        """Return the latents (B, C, F) of rows, each as it is or as another person's."""
        if len(self.versions) == 1:
            return self.versions[0][torch.from_numpy(row_B)]
        rows = zip(version_B.tolist(), row_B.tolist(), strict=True)
        return torch.stack([self.versions[version][row] for version, row in rows])


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
        total: int,
        pairs: PairSpec = PairSpec(),  # noqa: B008  (frozen)
        virtual: Sequence[Tensor] = (),
    ) -> None:
        """``virtual``: the latents of all rows as other persons, once for each copy of them."""
        self.rows, self.recipe, self.seed, self.total = rows, recipe, seed, total
        self.versions = (rows.latents_BCF, *virtual)
        self.pairs = rows.rows.sampler(pairs, seed=seed)

    def __call__(self, step: int, part: slice) -> Batch:
        """Return rows ``part`` of ``step``."""
        recipe = self.recipe
        reference, target, is_single = self.pairs.pairs_at(
            step, self.total, part.start, part.stop, allow_single=True
        )
        uniform = torch.from_numpy(uniform_of_step(self.seed, step, self.total, num=5)[:, part])
        has_base = (uniform[0] >= recipe.base_dropout) & ~torch.from_numpy(is_single)
        rows = torch.from_numpy(target)
        conditions = self.rows.conditions.take(rows)
        latents = self.rows.latents_BCF[rows]
        channels, frames = latents.shape[1:]
        normal = normal_of_rows(self.seed, step, part, channels * frames + 1)
        return {
            "latent_BCF": latents,
            "base_BW": self.rows.base_vectors_BW[torch.from_numpy(reference)],
            "has_base_B": has_base,
            "is_told_B": uniform[1] >= recipe.condition_dropout,
            "noise_BCF": normal[:, 1:].reshape(-1, channels, frames),
            "time_normal_B": normal[:, 0].clone(),
            **_condition_entries("", self._with_unknowns(conditions, uniform[2:])),
        }

    def _with_unknowns(self, conditions: ConditionBatch, uniform_3B: Tensor) -> ConditionBatch:
        """Make rate, age and sex unknown at random, each by itself."""
        knows_3B = (uniform_3B >= self.recipe.field_dropout).to(conditions.rate_B.device)
        nan = torch.tensor(float("nan"))
        return ConditionBatch(
            conditions.text_BKW,
            conditions.certainty_BK3,
            conditions.token_is_real_BK,
            torch.where(knows_3B[0], conditions.rate_B, nan),
            torch.where(knows_3B[1], conditions.age_B, nan),
            torch.where(knows_3B[2], conditions.sex_B, -1),
        )


def latent_statistics(latents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel, each (C, 1), over rows and frames."""
    whole_BCF = torch.cat(list(latents))
    mean = whole_BCF.mean(dim=(0, 2))[:, None]
    return mean, whole_BCF.std(dim=(0, 2))[:, None]
