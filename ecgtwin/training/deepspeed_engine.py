"""DeepSpeedEngine: the same optimisation by DeepSpeed, one process to many. deepspeed's only home.

Parameters stay fp32 at every ZeRO stage (bf16 is autocast), so what a rank holds after a step *is*
the fp32 master weight, gathered from the partitions by ZeRO 1 and 2. Moments stay partitioned.
"""

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.engine import (
    Batch,
    MovingAverage,
    adamw,
    learning_rate_of,
    load_moments,
    load_weights,
    moments_of,
    rank_slice,
    set_learning_rate,
    to_cpu,
    to_device,
    trainable,
    weights_of,
)
from ecgtwin.training.state import Tensors, TrainingState

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MOMENTS = ("exp_avg", "exp_avg_sq")


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
        share = rank_slice(spec.batch_size, rank=self.rank, world_size=self.world_size)
        self._engine, *_ = deepspeed.initialize(
            model=objective,
            optimizer=adamw(objective, spec),
            config=deepspeed_config(spec, micro_batch=share.stop - share.start),
            dist_init_required=False,
        )
        self.objective = objective.train()
        self.device = torch.device(self._engine.device)
        self.parameters = trainable(objective)
        self.ema = MovingAverage(self.parameters, decay=spec.ema_decay)
        self.num_updates = 0
        self._norm: float | None = None
        if spec.zero_stage:
            _start_partitions(self._engine.optimizer)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See Engine."""
        outputs: dict[str, Tensor] = self._engine(to_device(batch, self.device))
        return outputs

    def backward(self, loss: Tensor) -> None:
        """See Engine."""
        self._engine.backward(loss)

    def step(self) -> bool:
        """See Engine."""
        set_learning_rate(self._engine.optimizer, learning_rate_of(self.spec, self.num_updates))
        if self.spec.zero_stage == 0:
            norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.clip_norm)
            self._norm = float(norm)
            if not torch.isfinite(norm):
                self._engine.zero_grad()
                return False
        self._engine.step()
        if self.spec.zero_stage:
            self._norm = float(self._engine.get_global_grad_norm())
            if not self._engine.was_step_applied():
                return False
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
        raised = torch.tensor([float(flag) for flag in flags], device=self.device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """See Engine."""
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        means = (total / self.world_size).tolist()
        return dict(zip(values, means, strict=True))

    def weights(self) -> Tensors:
        """See Engine."""
        return weights_of(self.objective)

    def ema_weights(self) -> Tensors:
        """See Engine."""
        return self.weights() | self.ema.tensors()

    def state(self) -> TrainingState:
        """See Engine. At ZeRO 1 and 2 the ranks gather the moments from one another."""
        moments = self._moments()
        return TrainingState(self.weights(), *moments, self.ema.tensors(), self.num_updates)

    def load_state(self, state: TrainingState) -> None:
        """See Engine."""
        load_weights(self.objective, state)
        if self.spec.zero_stage:
            self._load_partitions(state)
        else:
            load_moments(self._engine.optimizer, self.parameters, state)
        self.ema.load(state)
        self.num_updates = state.num_updates

    def close(self) -> None:
        """See Engine. The ranks stay joined until the process ends, for the next engine."""
        self._engine.destroy()

    def _moments(self) -> tuple[Tensors, Tensors]:
        if not self.spec.zero_stage:
            return moments_of(self._engine.optimizer, self.parameters)
        from deepspeed.utils import safe_get_full_optimizer_state

        first, second = (
            {
                name: to_cpu(safe_get_full_optimizer_state(parameter, key))
                for name, parameter in self.parameters.items()
            }
            for key in MOMENTS
        )
        return first, second

    def _load_partitions(self, state: TrainingState) -> None:
        """Set each rank's part of the master weights and moments (ZeRO 1 and 2)."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for held in self._engine.optimizer.state.values():
            held["step"].fill_(state.num_updates)
        for name, parameter in self.parameters.items():
            safe_set_full_fp32_param(parameter, state.weights[name].to(self.device))
            for key, moments in zip(MOMENTS, (state.adam_first, state.adam_second), strict=True):
                safe_set_full_optimizer_state(parameter, moments[name].to(self.device), key)


def deepspeed_config(spec: TrainingSpec, *, micro_batch: int) -> dict[str, object]:
    """Return DeepSpeed's dictionary. At stage 0 the engine clips, as DeepSpeed hides that norm."""
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": spec.clip_norm if spec.zero_stage else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": spec.zero_stage},
        "torch_autocast": {
            "enabled": spec.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # gradients travel as fp32
        },
        "steps_per_print": None,
    }


def _deepspeed() -> Any:  # noqa: ANN401  (untyped module)
    """Import deepspeed quietly, without compilation of its shared-memory reduction on CPUs."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed
    import deepspeed.ops

    # deepspeed 0.19 calls by an old name what newer torch calls all_gather_single
    warnings.filterwarnings("ignore", r".*all_gather_into_tensor", FutureWarning)
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
    """Make the process group if there is none; it is left when the process ends."""
    from deepspeed import comm

    os.environ.setdefault("LOCAL_RANK", "0")
    if distributed.is_initialized():
        return
    on_gpu = os.environ["DS_ACCELERATOR"] == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if on_gpu else "gloo"
    if "WORLD_SIZE" in os.environ:
        if os.environ.get("MASTER_ADDR") in LOOPBACK:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group(backend)
    else:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    atexit.register(distributed.destroy_process_group)
    comm.init_distributed(dist_backend=backend, verbose=False)


def _start_partitions(zero: Any) -> None:  # noqa: ANN401  (untyped optimiser)
    """Give each partition AdamW's first state, and name it by parameter.

    DeepSpeed does so in the first step, but before the second parameter group has its state.
    """
    for part in zero.single_partition_of_fp32_groups:
        moments = {key: torch.zeros_like(part) for key in MOMENTS}
        zero.state[part] = {"step": torch.tensor(0.0), **moments}
    zero._lazy_init_hp_params_optimizer_state()
