"""What stands beside each fp32 master weight: Adam's moments and the moving averages.

The averages live in the optimiser's own state, one key for each decay, in the shape of the master
weight. Where ZeRO keeps a part of the master weights on each rank, it keeps the same part of the
averages there, and what gathers and sets moments by parameter name does so with averages.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.schedule import ema_decay_at

FIRST, SECOND = "exp_avg", "exp_avg_sq"

States = MutableMapping[Any, Any]


def ema_name(decay: float) -> str:
    """Return the name of the average of this decay, in files and states: ``ema_0.999``."""
    return f"ema_{decay!r}"


def state_keys(spec: TrainingSpec) -> list[str]:
    """Return the keys of everything that stands beside a master weight."""
    return [FIRST, SECOND, *map(ema_name, spec.ema_decays)]


def start_states(states: States, masters: Sequence[Tensor], spec: TrainingSpec) -> None:
    """Give each master weight zero moments and averages equal to itself."""
    for master in masters:
        on_device = is_fused(master.device)
        states[master] = {
            "step": torch.tensor(0.0, device=master.device if on_device else "cpu"),
            FIRST: torch.zeros_like(master),
            SECOND: torch.zeros_like(master),
            **{ema_name(decay): master.detach().clone() for decay in spec.ema_decays},
        }


def set_num_updates(states: States, num_updates: int) -> None:
    """Set how many updates the moments are of."""
    for held in states.values():
        held["step"].fill_(num_updates)


@torch.no_grad()
def follow(states: States, masters: Sequence[Tensor], spec: TrainingSpec, *, update: int) -> None:
    """Move each average towards its master weight after update ``update`` (from 0)."""
    for decay in spec.ema_decays:
        averages = [states[master][ema_name(decay)] for master in masters]
        weight = 1 - ema_decay_at(update, decay=decay)
        torch._foreach_lerp_(averages, list(masters), weight)


def is_fused(device: torch.device) -> bool:
    """Say whether AdamW runs as one kernel there."""
    return device.type == "cuda"
