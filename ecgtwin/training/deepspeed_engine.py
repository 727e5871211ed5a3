"""DeepSpeedEngine: the same optimisation by DeepSpeed, one process to many. deepspeed's only home.

Master weights, moments and moving averages are fp32 at every ZeRO stage and precision. From stage 1
on each rank keeps its part of them; they are gathered and set by parameter name.
"""

import atexit
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.deepspeed_config import deepspeed_config
from ecgtwin.training.engine import (
    Batch,
    adamw,
    bf16_passes,
    check_fits,
    learning_rate_of,
    load_states,
    load_weights,
    parts_of,
    set_learning_rate,
    state_of,
    states_by_name,
    tensors_by_key,
    to_cpu,
    to_device,
    trainable,
    weights_of,
)
from ecgtwin.training.optimizer_state import (
    ema_name,
    follow,
    set_num_updates,
    start_states,
    state_keys,
)
from ecgtwin.training.state import Tensors, TrainingState

LOOPBACK = ("127.", "localhost", "::1")
_PUT_AWAY_S = 0.2


class DeepSpeedEngine:
    """One rank of a DeepSpeed run: gloo on CPUs, NCCL on GPUs.

    Started by torchrun it joins the other ranks; started alone it is the only one.
    """

    def __init__(self, objective: nn.Module, spec: TrainingSpec) -> None:
        deepspeed = _deepspeed()
        _join_ranks()
        self.spec = spec
        self.rank = distributed.get_rank()
        self.world_size = distributed.get_world_size()
        self.parts = parts_of(spec, rank=self.rank, world_size=self.world_size)
        self._shapes = {name: item.shape for name, item in trainable(objective).items()}
        buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
        micro_batch = self.parts[0].stop - self.parts[0].start
        self._engine, *_ = deepspeed.initialize(
            model=objective,
            optimizer=adamw(objective, spec),
            config=deepspeed_config(spec, micro_batch=micro_batch, accumulation=len(self.parts)),
            dist_init_required=False,
        )
        self.objective = objective.train()
        self.device = torch.device(self._engine.device)
        _set_buffers(objective, buffers)  # bf16_weights makes bf16 of them too
        self.parameters = trainable(objective)
        self.num_updates = 0
        self._num_backward = 0
        self._norm: float | None = None
        start_states(self._states(), self._masters(), spec)
        if spec.zero_stage in (1, 2):
            # DeepSpeed names the parts by parameter in its first step otherwise
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See Engine."""
        with bf16_passes(self.device, enabled=self.spec.precision == "bf16_weights"):
            outputs: dict[str, Tensor] = self._engine(to_device(batch, self.device))
        return outputs

    def backward(self, loss: Tensor) -> None:
        """See Engine. DeepSpeed divides by the number of micro-batches."""
        self._engine.backward(loss)
        self._num_backward += 1
        if self._num_backward < len(self.parts):
            self._engine.step()  # only counts

    def step(self) -> bool:
        """See Engine."""
        self._num_backward = 0
        set_learning_rate(self._engine.optimizer, learning_rate_of(self.spec, self.num_updates))
        if self.spec.zero_stage == 0:
            norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.clip_norm)
            self._norm = float(norm)
            if not torch.isfinite(norm):
                return self._skip()
        self._engine.step()
        if self.spec.zero_stage:
            self._norm = float(self._engine.get_global_grad_norm())
            if not self._engine.was_step_applied():
                return False
        follow(self._states(), self._masters(), self.spec, update=self.num_updates)
        self.num_updates += 1
        return True

    def _skip(self) -> bool:
        """Forget the gradients, and let DeepSpeed count the micro-batch all the same."""
        self._engine.zero_grad()
        self._engine.micro_steps += 1
        return False

    def gradient_norm(self) -> float | None:
        """See Engine."""
        return self._norm

    def latest_learning_rate(self) -> float | None:
        """See Engine."""
        return learning_rate_of(self.spec, self.num_updates - 1) if self.num_updates else None

    def any_rank(self, flags: Sequence[bool]) -> list[bool]:
        """See Engine."""
        raised = torch.tensor([float(flag) for flag in flags], device=self.device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """See Engine."""
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        means = (total / self.world_size).tolist()
        return dict(zip(values, means, strict=True))

    def gather(self, rows: Tensor) -> Tensor:
        """See Engine."""
        every = [torch.empty_like(rows) for _ in range(self.world_size)]
        distributed.all_gather(every, rows.contiguous())
        return torch.cat(every)

    def weights(self) -> Tensors:
        """See Engine. The fp32 master weights, gathered where the ranks hold parts of them."""
        if self.spec.zero_stage < 3 and self.spec.precision != "bf16_weights":
            return weights_of(self.objective)
        from deepspeed.utils import safe_get_full_fp32_param

        buffers = weights_of(self.objective).keys() - self.parameters.keys()
        state = self.objective.state_dict()
        return {
            **{name: to_cpu(safe_get_full_fp32_param(one)) for name, one in self._named()},
            **{name: to_cpu(state[name]) for name in sorted(buffers)},
        }

    def ema_weights(self) -> dict[str, Tensors]:
        """See Engine."""
        weights, held = self.weights(), self._held([ema_name(one) for one in self.spec.ema_decays])
        return {name: weights | average for name, average in held.items()}

    def state(self) -> TrainingState:
        """See Engine. From ZeRO 1 on the ranks gather it from one another."""
        held = self._held(state_keys(self.spec))
        return state_of(self.weights(), held, self.spec, self.num_updates)

    def load_state(self, state: TrainingState) -> None:
        """See Engine."""
        check_fits(self.objective, state, self._shapes)
        if self.spec.zero_stage == 0:
            load_weights(self.objective, state)
            load_states(self._engine.optimizer, self.parameters, state, self.spec)
        else:
            set_num_updates(self._states(), state.num_updates)
            self._load_parts(state)
        self.num_updates = state.num_updates

    def close(self) -> None:
        """See Engine. The ranks stay joined until the process ends, for the next engine."""
        self._engine.destroy()

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return list(self.parameters.items())

    def _states(self) -> Any:  # noqa: ANN401  (untyped optimiser)
        optimizer = self._engine.optimizer
        return optimizer.optimizer.state if self.spec.zero_stage else optimizer.state

    def _masters(self) -> list[Tensor]:
        """Return this rank's master weights: the parameters, or flat parts of them."""
        zero = self._engine.optimizer
        if self.spec.zero_stage == 3:
            return list(zero.fp32_partitioned_groups_flat)
        if self.spec.zero_stage:
            return list(zero.single_partition_of_fp32_groups)
        return list(self.parameters.values())

    def _held(self, keys: Sequence[str]) -> dict[str, Tensors]:
        if self.spec.zero_stage == 0:
            return states_by_name(self._engine.optimizer, self.parameters, keys)
        from deepspeed.utils import safe_get_full_optimizer_state

        return {
            key: {
                name: to_cpu(safe_get_full_optimizer_state(one, key)) for name, one in self._named()
            }
            for key in keys
        }

    def _load_parts(self, state: TrainingState) -> None:
        """Set each rank's part of the master weights and of what stands beside them."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        beside = tensors_by_key(state, self.spec)
        if self.spec.zero_stage == 3:
            self._load_partitioned(state, beside)
            return
        load_weights(self.objective, state)
        for name, parameter in self._named():
            safe_set_full_fp32_param(parameter, state.weights[name].to(self.device))
            for key, tensors in beside.items():
                safe_set_full_optimizer_state(parameter, tensors[name].to(self.device), key)

    def _load_partitioned(self, state: TrainingState, beside: dict[str, Tensors]) -> None:
        """The same at ZeRO 3, where a rank has no parameter as a whole."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        with GatheredParameters(list(self.parameters.values()), modifier_rank=0), torch.no_grad():
            for name, parameter in self._named():
                parameter.copy_(state.weights[name].to(self.device))
        _set_buffers(self.objective, state.weights)
        for name, parameter in self._named():
            safe_set_local_fp32_param(parameter, self._local(parameter, state.weights[name]))
            for key, tensors in beside.items():
                local = self._local(parameter, tensors[name])
                safe_set_local_optimizer_state(parameter, local, key)

    def _local(self, parameter: Any, whole: Tensor) -> Tensor:  # noqa: ANN401  (ZeRO's own fields)
        """Return this rank's part of a parameter's tensor; the last parts are filled with zeros."""
        size = parameter.ds_tensor.numel()
        filled = torch.zeros(size * self.world_size)
        filled[: whole.numel()] = whole.flatten()
        return filled[size * self.rank : size * (self.rank + 1)].to(self.device)


def _set_buffers(objective: nn.Module, buffers: Tensors) -> None:
    """Put tensors of ``buffers`` in place of the objective's buffers of that name."""
    for path, module in objective.named_modules():
        for name, there in module._buffers.items():
            whole = f"{path}.{name}" if path else name
            if whole in buffers and there is not None:
                module._buffers[name] = buffers[whole].to(there.device, copy=True)


def _deepspeed() -> Any:  # noqa: ANN401  (untyped module)
    """Import deepspeed quietly, without compilation of its shared-memory reduction on CPUs."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed
    import deepspeed.ops

    # deepspeed 0.19 calls by old names what newer torch calls all_gather_single, ...
    for name in ("all_gather_into_tensor", "reduce_scatter_tensor"):
        warnings.filterwarnings("ignore", rf".*{name}", FutureWarning)
    operators = getattr(deepspeed.ops, "__compatible_ops__", {})
    if "deepspeed_shm_comm" in operators:
        operators["deepspeed_shm_comm"] = False
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.WARNING)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    return deepspeed


def _join_ranks() -> None:
    """Make the process group, or use the one there is; ours is left when the process ends."""
    from deepspeed import comm

    os.environ.setdefault("LOCAL_RANK", "0")
    backend = "nccl" if os.environ["DS_ACCELERATOR"] == "cuda" else "gloo"
    if not distributed.is_initialized():
        _make_group(backend)
        atexit.register(_leave_ranks)
    comm.init_distributed(dist_backend=backend, verbose=False)


def _leave_ranks() -> None:
    """Leave the process group, and let gloo's threads put away what they hold.

    They give tensors back to Python. A thread that does so while the interpreter ends is ended by
    it, which aborts the whole process: "terminate called without an active exception".
    """
    distributed.destroy_process_group()
    time.sleep(_PUT_AWAY_S)  # without the interpreter's lock, which they may wait for


def _make_group(backend: str) -> None:
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if "WORLD_SIZE" not in os.environ:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)
        return
    if os.environ.get("MASTER_ADDR", "").startswith(LOOPBACK):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(backend)
