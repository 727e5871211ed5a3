"""Engine: what a training loop needs of whatever holds the optimiser; TorchEngine: plain torch.

An objective is a module whose forward maps a batch (a dictionary of tensors) to a dictionary with a
scalar ``loss`` and detached scalar metrics. Ranks share a global batch equally; where the loss is a
mean over samples, the mean of the ranks' gradients is the gradient of the global batch.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from ecgtwin.errors import CheckpointError, SpecificationError
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.optimizer_state import (
    FIRST,
    SECOND,
    ema_name,
    follow,
    is_fused,
    set_num_updates,
    start_states,
    state_keys,
)
from ecgtwin.training.schedule import learning_rate_at
from ecgtwin.training.state import Tensors, TrainingState

Batch = dict[str, Tensor]
ADAM_EPSILON = 1e-8


class Engine(Protocol):
    """Forward, backward, step and state of one objective, on one rank of ``world_size``.

    ``parts`` are the micro-batches of this rank: rows of the global batch. Every method is called
    by all ranks alike: several of them communicate.
    """

    rank: int
    world_size: int
    device: torch.device
    num_updates: int
    parts: list[slice]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the objective makes of one micro-batch."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch, averaged over ``parts`` and over ranks."""
        ...

    def step(self) -> bool:
        """Clip, update weights and averages; False (nothing changed) if a gradient is not finite.

        To be called once, after ``backward`` of every part.
        """
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

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks, in their order; each rank gives as many."""
        ...

    def weights(self) -> Tensors:
        """Return trainable parameters and buffers by name, fp32 on the CPU."""
        ...

    def ema_weights(self) -> dict[str, Tensors]:
        """Return the same with parameters from each moving average, by its name."""
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
        if spec.precision == "bf16_weights" or spec.offload != "none":
            raise SpecificationError(
                "precision bf16_weights and offload are DeepSpeed's; train with --engine deepspeed"
            )
        self.spec = spec
        self.parts = parts_of(spec, rank=0, world_size=1)
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.objective = objective.to(self.device).train()
        self.parameters = trainable(objective)
        self.optimizer = adamw(objective, spec)
        start_states(self.optimizer.state, self._masters(), spec)
        self.num_updates = 0
        self._norm: float | None = None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See Engine."""
        with bf16_passes(self.device, enabled=self.spec.precision == "bf16"):
            outputs: dict[str, Tensor] = self.objective(to_device(batch, self.device))
        return outputs

    def backward(self, loss: Tensor) -> None:
        """See Engine."""
        (loss / len(self.parts)).backward()  # type: ignore[no-untyped-call]

    def step(self) -> bool:
        """See Engine."""
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.clip_norm)
        self._norm = float(norm)
        is_finite = bool(torch.isfinite(norm))
        if is_finite:
            set_learning_rate(self.optimizer, learning_rate_of(self.spec, self.num_updates))
            self.optimizer.step()
            follow(self.optimizer.state, self._masters(), self.spec, update=self.num_updates)
            self.num_updates += 1
        self.optimizer.zero_grad(set_to_none=True)
        return is_finite

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

    def gather(self, rows: Tensor) -> Tensor:
        """See Engine."""
        return rows

    def weights(self) -> Tensors:
        """See Engine."""
        return weights_of(self.objective)

    def ema_weights(self) -> dict[str, Tensors]:
        """See Engine."""
        keys = [ema_name(decay) for decay in self.spec.ema_decays]
        weights, held = self.weights(), states_by_name(self.optimizer, self.parameters, keys)
        return {name: weights | average for name, average in held.items()}

    def state(self) -> TrainingState:
        """See Engine."""
        held = states_by_name(self.optimizer, self.parameters, state_keys(self.spec))
        return state_of(self.weights(), held, self.spec, self.num_updates)

    def load_state(self, state: TrainingState) -> None:
        """See Engine."""
        load_weights(self.objective, state)
        load_states(self.optimizer, self.parameters, state, self.spec)
        self.num_updates = state.num_updates

    def close(self) -> None:
        """See Engine."""
        self.optimizer.zero_grad(set_to_none=True)

    def _masters(self) -> list[Tensor]:
        return list(self.parameters.values())


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
        fused=is_fused(parameters[0].device) and spec.offload == "none",
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
    check_fits(objective, state, {name: one.shape for name, one in trainable(objective).items()})
    objective.load_state_dict(state.weights, strict=False)


def check_fits(
    objective: nn.Module, state: TrainingState, shapes: Mapping[str, torch.Size]
) -> None:
    """Raise CheckpointError where ``state`` is of other tensors; ``shapes`` are of parameters."""
    frozen = {name for name, item in objective.named_parameters() if not item.requires_grad}
    held = objective.state_dict()
    wanted = {name: shapes.get(name, held[name].shape) for name in held if name not in frozen}
    found = {name: tensor.shape for name, tensor in state.weights.items()}
    odd = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if odd:
        raise CheckpointError(
            f"the checkpoint is of another network: {len(odd)} tensors differ, first {odd[0]!r}; "
            "resume with the recipe it was made with"
        )


def states_by_name(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], keys: Sequence[str]
) -> dict[str, Tensors]:
    """Return moments and averages by key and name, where parameters are the master weights."""
    return {
        key: {name: to_cpu(optimizer.state[item][key]) for name, item in parameters.items()}
        for key in keys
    }


def load_states(
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    state: TrainingState,
    spec: TrainingSpec,
) -> None:
    """Set moments, averages and the count of updates."""
    for key, tensors in tensors_by_key(state, spec).items():
        for name, parameter in parameters.items():
            optimizer.state[parameter][key].copy_(tensors[name])
    set_num_updates(optimizer.state, state.num_updates)


def state_of(
    weights: Tensors, held: dict[str, Tensors], spec: TrainingSpec, num_updates: int
) -> TrainingState:
    """Return the state of an engine from its weights and what stands beside them by key."""
    averages = {ema_name(decay): held[ema_name(decay)] for decay in spec.ema_decays}
    return TrainingState(weights, held[FIRST], held[SECOND], averages, num_updates)


def tensors_by_key(state: TrainingState, spec: TrainingSpec) -> dict[str, Tensors]:
    """Return what is to stand beside the weights; an average that was not kept begins as they."""
    averages = {
        ema_name(decay): state.averages.get(ema_name(decay), state.weights)
        for decay in spec.ema_decays
    }
    return {FIRST: state.adam_first, SECOND: state.adam_second, **averages}


def bf16_passes(device: torch.device, *, enabled: bool) -> torch.autocast | nullcontext[None]:
    """Return the context in which forward passes are computed in bf16, or as they are."""
    if not enabled:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def parts_of(spec: TrainingSpec, *, rank: int, world_size: int) -> list[slice]:
    """Return the micro-batches of ``rank``: equal parts of its share of the global batch.

    They are as large as ``micro_batch_size`` allows. SpecificationError if the batch does not
    divide among the ranks.
    """
    share = rank_slice(spec.batch_size, rank=rank, world_size=world_size)
    size = share.stop - share.start
    largest = min(spec.micro_batch_size or size, size)
    micro = next(count for count in range(largest, 0, -1) if size % count == 0)
    return [slice(start, start + micro) for start in range(share.start, share.stop, micro)]


def rank_slice(batch_size: int, *, rank: int, world_size: int) -> slice:
    """Return this rank's part of a global batch; raise SpecificationError if it does not divide."""
    if batch_size % world_size:
        raise SpecificationError(
            f"batch_size {batch_size} does not divide among {world_size} processes; "
            f"choose a multiple of {world_size}"
        )
    share = batch_size // world_size
    return slice(rank * share, (rank + 1) * share)
