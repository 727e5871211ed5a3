"""What a sample costs in training: its operations and what it leaves for the backward pass.

Both are found on a copy of few rows on the CPU, before an engine takes the parameters apart.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ecgtwin.training.engine import Batch, bf16_passes

CPU = torch.device("cpu")
SWITCH = "activation_checkpointing"  # of a network


@dataclass(frozen=True, slots=True)
class SampleCost:
    """Operations of one sample; a multiplication with its addition counts as two."""

    forward_flops: float
    backward_flops: float
    convolution_share: float

    def flops(self, *, forwards: int) -> float:
        """Return those of ``forwards`` passes and one backward pass."""
        return forwards * self.forward_flops + self.backward_flops


def cost_of(objective: nn.Module, batch: Batch) -> SampleCost:
    """Count the operations of ``objective`` on ``batch``; neither is changed.

    Products and convolutions are counted, attention as plain products; element-wise work and the
    contrast of a global batch are not, nor what is computed a second time to save memory, as in
    the utilisation of Chowdhery et al. 2022, appendix B. Backward goes to the trainable parameters.
    """
    run, trained = _detached(objective)
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    math = sdpa_kernel(SDPBackend.MATH)
    with torch.random.fork_rng(devices=[]), math, _computed_once(objective):
        with forward:
            loss = run(batch)
        with backward:
            torch.autograd.grad(loss, trained, allow_unused=True)
    rows = len(next(iter(batch.values())))
    counts = (forward.get_flop_counts()["Global"], backward.get_flop_counts()["Global"])
    totals = [sum(count.values()) for count in counts]
    convolved = sum(_convolutions(count) for count in counts)
    return SampleCost(totals[0] / rows, totals[1] / rows, convolved / max(sum(totals), 1))


def _convolutions(count: Mapping[object, int]) -> int:
    return sum(flops for operator, flops in count.items() if "convolution" in str(operator))


@contextmanager
def _computed_once(objective: nn.Module) -> Iterator[None]:
    """Switch activation checkpointing off inside the block."""
    switched = [one for one in objective.modules() if getattr(one, SWITCH, False)]
    try:
        for module in switched:
            setattr(module, SWITCH, False)
        yield
    finally:
        for module in switched:
            setattr(module, SWITCH, True)


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """What a forward pass keeps for the backward pass, parameters aside."""

    per_pass: float  # such as weights cast to bf16
    per_sample: float


def kept_bytes_of(objective: nn.Module, batch: Batch, *, in_bf16: bool) -> KeptBytes:
    """Measure what is kept of the first row and of all rows; fused attention, as in training."""
    num_rows = len(next(iter(batch.values())))
    first = {name: tensor[:1].clone() for name, tensor in batch.items()}
    one = _kept(objective, first, in_bf16=in_bf16)
    if num_rows == 1:
        return KeptBytes(0.0, one)
    per_sample = (_kept(objective, batch, in_bf16=in_bf16) - one) / (num_rows - 1)
    return KeptBytes(one - per_sample, per_sample)


def _kept(objective: nn.Module, batch: Batch, *, in_bf16: bool) -> int:
    run, trained = _detached(objective)
    known = {tensor.untyped_storage().data_ptr() for tensor in trained}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    context = bf16_passes(CPU, enabled=True) if in_bf16 else nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), context, hooks:
        loss = run(batch)
        del loss
    return sum(kept.values())


def _detached(objective: nn.Module) -> tuple[Callable[[Batch], Tensor], list[Tensor]]:
    """Return what makes a loss of a batch, and the leaves that stand for the parameters.

    They share their memory with the parameters where those are on the CPU; buffers are copied. An
    objective without a loss of its own gives the sum of all its outputs that have a gradient.
    """
    leaves = {
        name: item.detach().cpu().requires_grad_(item.requires_grad)
        for name, item in objective.named_parameters()
    }
    buffers = {name: item.detach().cpu().clone() for name, item in objective.named_buffers()}

    def run(batch: Batch) -> Tensor:
        rows = {name: tensor.cpu() for name, tensor in batch.items()}
        outputs: Batch = functional_call(objective, {**leaves, **buffers}, (rows,))
        sums = [value.sum() for value in outputs.values() if value.requires_grad]
        return torch.stack([value.float() for value in sums]).sum()

    return run, [leaf for leaf in leaves.values() if leaf.requires_grad]
