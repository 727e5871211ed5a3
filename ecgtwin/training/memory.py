"""What a rank must hold to train: arithmetic on counts, before anything is allocated.

The sizes follow from where DeepSpeed's engines keep things (Rajbhandari et al. 2020, ZeRO): at
stage 1 the optimiser's state is shared out over the ranks, at 2 the gradients too, at 3 the weights
as well. From stage 1 on fp32 master weights stand beside the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.deepspeed_config import deepspeed_config

FULL, HALF = 4, 2  # bytes of a number


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one rank by what they are for: on its device, and offloaded to its machine."""

    device: Mapping[str, float] = field(default_factory=dict)
    host: Mapping[str, float] = field(default_factory=dict)

    @property
    def device_bytes(self) -> float:
        """All on the device."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> float:
        """All that is offloaded."""
        return sum(self.host.values())


def state_memory(num_parameters: int, spec: TrainingSpec, *, world_size: int) -> Memory:
    """Return what the trained parameters and all that stands beside them take on one rank.

    Gradients are those of a backward pass: at stage 1 they are shared out after it. Not counted:
    what is staged on the way to the host, and what an allocator cannot use between the pieces.
    """
    stage, part = spec.zero_stage, num_parameters / world_size
    optimised = part if stage >= 1 else num_parameters
    of_weight = HALF if spec.precision == "bf16_weights" else FULL
    sizes = {
        "weights": of_weight * (part if stage == 3 else num_parameters),
        "gradients": FULL * (part if stage >= 2 else num_parameters),
        "master weights": FULL * part if stage >= 1 else 0.0,
        "Adam moments": 2 * FULL * optimised,
        "moving averages": len(spec.ema_decays) * FULL * optimised,
        "bucket of gradients": float(of_weight * _bucket_elements(spec)),
    }
    offloaded: tuple[str, ...] = ()
    if spec.offload != "none":
        offloaded = ("gradients", "master weights", "Adam moments", "moving averages")
    if spec.offload == "optimizer_and_parameters":
        offloaded = (*offloaded, "weights")
    return Memory(
        {name: size for name, size in sizes.items() if name not in offloaded},
        {name: size for name, size in sizes.items() if name in offloaded},
    )


def _bucket_elements(spec: TrainingSpec) -> int:
    """Return how many gradients DeepSpeed gathers before the ranks add theirs up; 0: as it goes."""
    if spec.zero_stage == 0:
        return 0
    zero = deepspeed_config(spec, micro_batch=1, accumulation=1)["zero_optimization"]
    return int(zero["reduce_bucket_size"]) if isinstance(zero, Mapping) else 0


def checkpoint_bytes(num_parameters: int, num_buffered: int, spec: TrainingSpec) -> int:
    """Return the size of a training checkpoint: all in fp32, whole, whatever the engine."""
    beside = 2 + len(spec.ema_decays)
    return FULL * (num_parameters * (1 + beside) + num_buffered)
