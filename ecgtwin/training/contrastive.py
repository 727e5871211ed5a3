"""Two-way InfoNCE over a whole global batch in bounded memory, with its gradients in closed form.

Radford et al. 2021, section 2.3: row i of ``first`` is to find row i of ``second`` among all rows,
and the other way round. Logits are made in blocks, never as an N x N tensor: a running
log-sum-exp gives the loss, and with it each block's softmax, hence the gradient, is made again.
Embeddings can therefore be made without gradients, micro-batch by micro-batch, and be made again
with the gradient that stands here (gradient caching: Gao et al. 2021, arXiv 2101.06983).
Axes: N pair of the global batch, Q query of this rank, K key, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 1024  # of queries and of keys: 4 MiB of logits

Gather = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The loss of the global batch, and what this rank needs of its gradient.

    ``first_gradient_QW`` and ``second_gradient_QW`` belong to this rank's rows;
    ``log_scale_gradient`` is this rank's part, to be summed over ranks.
    """

    loss: Tensor
    recall_at_1: Tensor
    first_gradient_QW: Tensor
    second_gradient_QW: Tensor
    log_scale_gradient: Tensor
    scale: Tensor  # 1 / temperature as it was used


@torch.no_grad()
def contrast(
    first_NW: Tensor,
    second_NW: Tensor,
    person_N: Tensor,
    log_scale: Tensor,
    *,
    max_scale: float,
    own: slice,
    gather: Gather,
) -> Contrast:
    """Return loss and gradients of unit vectors ``first_NW`` and ``second_NW`` of all ranks.

    Rows of one person are never each other's negatives. ``own`` are this rank's rows; ``gather``
    joins what each rank has of its own rows. The scale, 1 / temperature, is clamped to
    ``max_scale``, where ``log_scale`` (one element) has no gradient.
    """
    scale = log_scale.exp()
    is_clamped = scale > max_scale
    scale = scale.clamp(max=max_scale)
    forth = _Direction(first_NW, second_NW, person_N, scale, own)
    back = _Direction(second_NW, first_NW, person_N, scale, own)
    forth_lse_N, back_lse_N = gather(forth.log_sum_exp()), gather(back.log_sum_exp())
    own_logit_N = scale * (first_NW * second_NW).sum(dim=1)
    loss = ((forth_lse_N + back_lse_N) / 2 - own_logit_N).mean()

    first_gradient_QW, scale_gradient = forth.gradient(forth_lse_N[own], back_lse_N)
    second_gradient_QW, _ = back.gradient(back_lse_N[own], forth_lse_N)
    recall = gather(forth.is_own_nearest()).float().mean()
    return Contrast(
        loss,
        recall,
        first_gradient_QW,
        second_gradient_QW,
        torch.where(is_clamped, torch.zeros_like(scale_gradient), scale_gradient),
        scale.mean(),
    )


class _Direction:
    """This rank's rows of ``queries_NW`` against all rows of ``keys_NW``."""

    def __init__(
        self, queries_NW: Tensor, keys_NW: Tensor, person_N: Tensor, scale: Tensor, own: slice
    ) -> None:
        self.queries_QW, self.keys_KW = queries_NW[own], keys_NW
        self.person_Q, self.person_K = person_N[own], person_N
        self.row_K = torch.arange(len(person_N), device=person_N.device)
        self.row_Q = self.row_K[own]
        self.scale = scale
        self._others_Q: list[Tensor] = []
        self._own_Q: list[Tensor] = []

    def log_sum_exp(self) -> Tensor:
        """Return (Q,): of the logits of each query over all keys that count for it."""
        self._others_Q, self._own_Q = [], []
        sums = [self._log_sum_exp_of(rows) for rows in _blocks(len(self.row_Q))]
        return torch.cat(sums)

    def _log_sum_exp_of(self, rows: slice) -> Tensor:
        count = len(self.row_Q[rows])
        largest = self.queries_QW.new_full((count,), float("-inf"))
        total, others, own = torch.zeros_like(largest), largest.clone(), largest.clone()
        for keys in _blocks(len(self.row_K)):
            logits, is_own = self._logits(rows, keys)
            higher = torch.maximum(largest, logits.max(dim=1).values)
            base = higher.masked_fill(higher == float("-inf"), 0)  # all keys so far are masked
            total = total * (largest - base).exp() + (logits - base[:, None]).exp().sum(dim=1)
            largest = higher
            others = torch.maximum(
                others, logits.masked_fill(is_own, float("-inf")).max(dim=1).values
            )
            own = torch.maximum(own, logits.masked_fill(~is_own, float("-inf")).max(dim=1).values)
        self._others_Q.append(others)
        self._own_Q.append(own)
        return largest + total.log()

    def is_own_nearest(self) -> Tensor:
        """Return (Q,): whether no other key was as near, after ``log_sum_exp``."""
        return torch.cat(self._own_Q) > torch.cat(self._others_Q)

    def gradient(self, lse_Q: Tensor, keys_lse_K: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the queries (Q, W), and this rank's part of that of log scale.

        ``lse_Q`` are the log-sum-exps of the queries over keys, ``keys_lse_K`` of the keys over
        queries: both directions pull at a query.
        """
        half_mean = 1 / (2 * len(self.row_K))
        gradient_QW = torch.zeros_like(self.queries_QW)
        log_scale_gradient = torch.zeros_like(self.scale)
        for rows in _blocks(len(self.row_Q)):
            for keys in _blocks(len(self.row_K)):
                logits, is_own = self._logits(rows, keys)
                pull = (logits - lse_Q[rows, None]).exp() + (logits - keys_lse_K[None, keys]).exp()
                pull -= 2 * is_own
                pull *= half_mean
                gradient_QW[rows] += pull @ self.keys_KW[keys]
                finite = logits.masked_fill(logits == float("-inf"), 0)
                log_scale_gradient += (pull * finite).sum()
        return gradient_QW * self.scale, log_scale_gradient

    def _logits(self, rows: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Return the logits of a block, -inf for another row of the same person; which are own."""
        logits = self.scale * (self.queries_QW[rows] @ self.keys_KW[keys].T)
        is_own = self.row_Q[rows, None] == self.row_K[None, keys]
        is_same = self.person_Q[rows, None] == self.person_K[None, keys]
        return logits.masked_fill_(is_same & ~is_own, float("-inf")), is_own


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK_ROWS, count)) for start in range(0, count, BLOCK_ROWS)]
