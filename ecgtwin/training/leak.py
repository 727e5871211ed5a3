"""How much of a recording's state can be read off base vectors by a linear map, as a penalty.

What the condition pathway tells an extractor tends to end in its vectors, from where a linear probe
reads it back. The probe is put into the loss: ridge regression from the vectors of a batch to its
conditions has a closed form, and so has what it explains.
Axes: N recording, W width, K condition feature, B micro-batch, D text width.
"""

import torch
from torch import Tensor

from ecgtwin.training.objectives import Batch

RIDGE = 0.003  # of the vectors' mean variance
LEAST_SHARE = 1e-3  # features that vary less, beside the one that varies most, are left out
RATE_UNIT_BPM = 100.0


def state_features(batch: Batch, prefix: str) -> Tensor:
    """Return what a recording's state is told by (B, D + 2): statements, rate, is it known.

    Age and sex are no state: they are of the person.
    """
    is_real = batch[f"{prefix}token_is_real_BK"]
    text_BKW = batch[f"{prefix}text_BKW"] * is_real[..., None]
    text_BD = text_BKW.sum(dim=1) / is_real.sum(dim=1, keepdim=True).clamp(min=1)
    rate_B = batch[f"{prefix}rate_B"]
    known_B = rate_B.isfinite()
    rate_B = torch.where(known_B, rate_B / RATE_UNIT_BPM, 0)
    return torch.cat([text_BD, rate_B[:, None], known_B[:, None].to(text_BD.dtype)], dim=1)


def explained_share(vectors_NW: Tensor, features_NK: Tensor) -> Tensor:
    """Return the share of the features' variance that ridge regression on the vectors explains.

    Features are made uncorrelated and of one variance first, so that each independent part of a
    state counts as much as another. 0: no linear map finds anything; 1: all is there. By chance
    it is about W / N. Differentiable in the vectors; 0 where the features do not vary.
    """
    target_NK = _whitened(features_NK.double())
    if not target_NK.shape[1]:
        return vectors_NW.sum() * 0
    centred_NW = vectors_NW.double() - vectors_NW.double().mean(dim=0)
    count, width = centred_NW.shape
    covariance_WW = centred_NW.T @ centred_NW / count
    ridge = RIDGE * covariance_WW.diagonal().mean() + 1e-12
    eye_WW = torch.eye(width, dtype=covariance_WW.dtype, device=covariance_WW.device)
    crossed_WK = centred_NW.T @ target_NK / count
    solved_WK = torch.linalg.solve(covariance_WW + ridge * eye_WW, crossed_WK)
    share: Tensor = (crossed_WK * solved_WK).sum() / target_NK.shape[1]
    return share


def leak_and_gradient(vectors_NW: Tensor, features_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the explained share, and its gradient by the vectors (N, W)."""
    with torch.enable_grad():
        leaf_NW = vectors_NW.detach().requires_grad_()
        share = explained_share(leaf_NW, features_NK)
        (gradient_NW,) = torch.autograd.grad(share, leaf_NW)
    return share.detach().to(vectors_NW.dtype), gradient_NW


@torch.no_grad()
def _whitened(features_NK: Tensor) -> Tensor:
    """Return uncorrelated features of variance 1, as many as vary on their own."""
    centred_NK = features_NK - features_NK.mean(dim=0)
    values_K, directions_KK = torch.linalg.eigh(centred_NK.T @ centred_NK / len(centred_NK))
    varies_K = values_K > max(LEAST_SHARE * float(values_K[-1]), 1e-9)
    whitened: Tensor = centred_NK @ directions_KK[:, varies_K] / values_K[varies_K].sqrt()
    return whitened
