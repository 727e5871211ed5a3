"""The learning rate and the decay of the moving average, as functions of the updates made."""

import math


def learning_rate_at(
    update: int, *, peak: float, warmup_steps: int, num_steps: int, final_ratio: float
) -> float:
    """Return the rate of update ``update`` (from 0): linear warm-up, then half a cosine.

    The last update of ``num_steps`` and every later one have ``peak * final_ratio``
    (Loshchilov and Hutter 2017, eq. 5, without restarts).
    """
    if update < warmup_steps:
        return peak * (update + 1) / warmup_steps
    span = max(num_steps - 1 - warmup_steps, 1)
    progress = min((update - warmup_steps) / span, 1.0)
    return peak * (final_ratio + (1 - final_ratio) * (1 + math.cos(math.pi * progress)) / 2)


def ema_decay_at(update: int, *, decay: float) -> float:
    """Return the decay after update ``update`` (from 0): young averages forget faster."""
    return min(decay, (1 + update) / (10 + update))
