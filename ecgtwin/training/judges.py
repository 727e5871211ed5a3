"""What averaged weights are worth on persons that a stage does not train on.

A judge returns named figures, among them ``criterion``, by which weights are selected: lower is
better.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.training.bands import with_bands
from ecgtwin.training.data import Batches
from ecgtwin.training.engine import to_device
from ecgtwin.training.rows import LatentRows
from ecgtwin.training.selection import Judge
from ecgtwin.training.state import Tensors
from ecgtwin.twin.retrieval import retrieve

NUM_BATCHES = 8
MAX_PERSONS = 1000  # of the gallery
BLOCK_ROWS = 256

MakeJudge = Callable[[nn.Module], Judge]  # the objective that is to take the weights


def mean_judge(batches: Batches) -> MakeJudge:
    """Return the judge by the objective's own outputs, means over fixed batches."""

    def with_objective(objective: nn.Module) -> Judge:
        objective.eval().requires_grad_(False)
        device = next(objective.parameters()).device

        @torch.no_grad()
        def judge(weights: Tensors) -> dict[str, float]:
            objective.load_state_dict(weights)
            totals: dict[str, float] = {}
            for step in range(NUM_BATCHES):
                batch = to_device(batches(step, slice(0, batches.total)), device)
                for key, value in objective(batch).items():
                    totals[key] = totals.get(key, 0.0) + float(value) / NUM_BATCHES
            return {**with_bands(totals), "criterion": totals["loss"]}

        return judge

    return with_objective


def retrieval_judge(rows: LatentRows, pairs: PairSpec, *, seed: int) -> MakeJudge:
    """Return the judge by how base vectors find their own person among all of ``rows``.

    Each person has one query and one recording in the gallery, drawn once. The criterion is one
    less the mean of recall@1, recall@10 and AUROC: the loss of true pairs alone would choose an
    extractor that makes everybody alike.
    """
    query, gallery = _one_pair_each(rows, pairs, seed)

    def with_objective(objective: nn.Module) -> Judge:
        objective.eval().requires_grad_(False)
        network = objective.get_submodule("network")
        if not isinstance(network, BaseExtractor):
            raise TypeError("only a base extractor is judged by retrieval")

        @torch.no_grad()
        def judge(weights: Tensors) -> dict[str, float]:
            objective.load_state_dict(weights)
            found = retrieve(_vectors(network, rows, query), _vectors(network, rows, gallery))
            mean = (found.recall_at_1 + found.recall_at_10 + found.auroc) / 3
            return {**found.values(), "criterion": 1 - mean}

        return judge

    return with_objective


def _one_pair_each(rows: LatentRows, pairs: PairSpec, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of one pair of each person, at most MAX_PERSONS."""
    sampler = rows.rows.sampler(pairs, seed=seed)
    found: dict[str, tuple[int, int]] = {}
    for step in range(100):  # persons are drawn: some are late to come
        reference, target, _ = sampler.pairs_at(step, 4 * sampler.num_persons)
        for one, other in zip(reference.tolist(), target.tolist(), strict=True):
            found.setdefault(rows.rows.persons[one], (one, other))
        if len(found) == sampler.num_persons:
            break
    chosen = [found[person] for person in sorted(found)][:MAX_PERSONS]
    return np.array([one for one, _ in chosen]), np.array([other for _, other in chosen])


def _vectors(network: BaseExtractor, rows: LatentRows, chosen: np.ndarray) -> np.ndarray:
    device = next(network.parameters()).device
    blocks: list[Tensor] = []
    for start in range(0, len(chosen), BLOCK_ROWS):
        block = torch.from_numpy(chosen[start : start + BLOCK_ROWS])
        conditions = rows.conditions.take(block).to(device)
        blocks.append(network(rows.latents_BCF[block].to(device), conditions))
    return torch.cat(blocks).cpu().numpy()
