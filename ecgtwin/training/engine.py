"""Engine: what a training loop needs of whatever holds the optimiser; TorchEngine: plain torch.

An objective is a module whose forward maps a batch (a dictionary of tensors) to a dictionary with a
scalar ``loss`` and detached scalar metrics. Ranks share a global batch equally; where the loss is a
mean over samples, the mean of the ranks' gradients is the gradient of the global batch.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ecgtwin.errors import CheckpointError, SpecificationError
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.schedule import ema_decay_at, learning_rate_at
from ecgtwin.training.state import Tensors, TrainingState

Batch = dict[str, Tensor]
ADAM_EPSILON = 1e-8


class Engine(Protocol):
    """Forward, backward, step and state of one objective, on one rank of ``world_size``.

    Every method is called by all ranks alike: several of them communicate.
    """

    rank: int
    world_size: int
    device: torch.device
    num_updates: int

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective's dictionary for this rank's share of the batch."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients, averaged over ranks."""
        ...

    def step(self) -> bool:
        """Clip, update weights and moving average; False (nothing changed) if not finite."""
        ...

    def gradient_norm(self) -> float | None:
        """Return the norm of the last step's gradients before clipping."""
        ...

    def latest_learning_rate(self) -> float | None:
        """Return the learning rate of the last update."""
        ...

    def any_rank(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether some rank has raised it; equal on every rank."""
        ...

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of each value over ranks."""
        ...

    def weights(self) -> Tensors:
        """Return trainable parameters and buffers by name, fp32 on the CPU."""
        ...

    def ema_weights(self) -> Tensors:
        """Return the same with parameters from the moving average (weights() without one)."""
        ...

    def state(self) -> TrainingState:
        """Return everything needed to go on."""
        ...

    def load_state(self, state: TrainingState) -> None:
        """Go on from ``state``, of whatever engine; raise CheckpointError if names differ."""
        ...

    def close(self) -> None:
        """Release what the engine holds; it cannot be used afterwards."""
        ...


class TorchEngine:
    """Plain torch AdamW in this process, on CUDA when there is one."""

    rank = 0
    world_size = 1

    def __init__(
        self, objective: nn.Module, spec: TrainingSpec, *, device: torch.device | None = None
    ) -> None:
        self.spec = spec
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.objective = objective.to(self.device).train()
        self.parameters = trainable(objective)
        self.optimizer = adamw(objective, spec)
        self.ema = MovingAverage(self.parameters, decay=spec.ema_decay)
        self.num_updates = 0
        self._norm: float | None = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See Engine."""
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.spec.precision == "bf16"
        ):
            outputs: dict[str, Tensor] = self.objective(to_device(batch, self.device))
        return outputs

    def backward(self, loss: Tensor) -> None:
        """See Engine."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> bool:
        """See Engine."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.clip_norm)
        self._norm = float(norm)
        if not torch.isfinite(norm):
            return False
        set_learning_rate(self.optimizer, learning_rate_of(self.spec, self.num_updates))
        self.optimizer.step()
        self.ema.follow(self.num_updates)
        self.num_updates += 1
        return True

    def gradient_norm(self) -> float | None:
        """See Engine."""
        return self._norm

    def latest_learning_rate(self) -> float | None:
        """See Engine."""
        return learning_rate_of(self.spec, self.num_updates - 1) if self.num_updates else None

    def any_rank(self, flags: Sequence[bool]) -> list[bool]:
        """See Engine."""
        return list(flags)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """See Engine."""
        return values

    def weights(self) -> Tensors:
        """See Engine."""
        return weights_of(self.objective)

    def ema_weights(self) -> Tensors:
        """See Engine."""
        return self.weights() | self.ema.tensors()

    def state(self) -> TrainingState:
        """See Engine."""
        moments = moments_of(self.optimizer, self.parameters)
        return TrainingState(self.weights(), *moments, self.ema.tensors(), self.num_updates)

    def load_state(self, state: TrainingState) -> None:
        """See Engine."""
        load_weights(self.objective, state)
        load_moments(self.optimizer, self.parameters, state)
        self.ema.load(state)
        self.num_updates = state.num_updates

    def close(self) -> None:
        """See Engine."""
        self.optimizer.zero_grad(set_to_none=True)


class MovingAverage:
    """Exponential moving average of fp32 parameters; it holds nothing when ``decay`` is 0."""

    def __init__(self, parameters: dict[str, nn.Parameter], *, decay: float) -> None:
        self.decay = decay
        self.parameters = parameters if decay else {}
        self.averages = [parameter.detach().clone() for parameter in self.parameters.values()]

    @torch.no_grad()
    def follow(self, update: int) -> None:
        """Move towards the parameters after update ``update`` (from 0)."""
        if self.averages:
            weight = 1 - ema_decay_at(update, decay=self.decay)
            torch._foreach_lerp_(self.averages, list(self.parameters.values()), weight)

    def tensors(self) -> Tensors:
        """Return copies by name on the CPU."""
        return {
            name: to_cpu(average)
            for name, average in zip(self.parameters, self.averages, strict=True)
        }

    def load(self, state: TrainingState) -> None:
        """Take the averages of ``state``, or its weights where it has none."""
        for name, average in zip(self.parameters, self.averages, strict=True):
            average.copy_(state.ema.get(name, state.weights[name]))


def trainable(objective: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require gradients, by name."""
    named = objective.named_parameters()
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def adamw(objective: nn.Module, spec: TrainingSpec) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters; vectors and scalars do not decay."""
    parameters = list(trainable(objective).values())
    groups = [
        {
            "params": [item for item in parameters if item.ndim > 1],
            "weight_decay": spec.weight_decay,
        },
        {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=ADAM_EPSILON,
    )


def learning_rate_of(spec: TrainingSpec, update: int) -> float:
    """Return the learning rate of update ``update`` (from 0)."""
    return learning_rate_at(
        update,
        peak=spec.learning_rate,
        warmup_steps=spec.warmup_steps,
        num_steps=spec.num_steps,
        final_ratio=spec.final_learning_rate_ratio,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on ``device``."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def to_cpu(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, fp32 if it is floating."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return copy.float() if copy.is_floating_point() else copy


def weights_of(objective: nn.Module) -> Tensors:
    """Return trainable parameters and persistent buffers by name."""
    frozen = {name for name, item in objective.named_parameters() if not item.requires_grad}
    entries = objective.state_dict().items()
    return {name: to_cpu(tensor) for name, tensor in entries if name not in frozen}


def load_weights(objective: nn.Module, state: TrainingState) -> None:
    """Copy weights in place; raise CheckpointError naming what does not fit."""
    wanted = weights_of(objective)
    odd = sorted(
        name
        for name in wanted.keys() | state.weights.keys()
        if name not in wanted
        or name not in state.weights
        or wanted[name].shape != state.weights[name].shape
    )
    if odd:
        raise CheckpointError(
            f"the checkpoint is of another network: {len(odd)} tensors differ, first {odd[0]!r}; "
            "resume with the recipe it was made with"
        )
    objective.load_state_dict(state.weights, strict=False)


def moments_of(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> tuple[Tensors, Tensors]:
    """Return Adam's first and second moments by parameter name; zeros before the first update."""

    def moment(parameter: nn.Parameter, key: str) -> Tensor:
        held = optimizer.state.get(parameter, {})
        return to_cpu(held[key] if key in held else torch.zeros_like(parameter))

    return (
        {name: moment(parameter, "exp_avg") for name, parameter in parameters.items()},
        {name: moment(parameter, "exp_avg_sq") for name, parameter in parameters.items()},
    )


def load_moments(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], state: TrainingState
) -> None:
    """Set Adam's moments and its count of updates."""
    for name, parameter in parameters.items():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.num_updates)),
            "exp_avg": state.adam_first[name].to(parameter.device, copy=True),
            "exp_avg_sq": state.adam_second[name].to(parameter.device, copy=True),
        }


def rank_slice(batch_size: int, *, rank: int, world_size: int) -> slice:
    """Return this rank's part of a global batch; raise SpecificationError if it does not divide."""
    if batch_size % world_size:
        raise SpecificationError(
            f"batch_size {batch_size} does not divide among {world_size} processes; "
            f"choose a multiple of {world_size}"
        )
    share = batch_size // world_size
    return slice(rank * share, (rank + 1) * share)
