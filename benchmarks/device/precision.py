"""Precisions by name, and the peak that a matrix product reaches in each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.networks import normal
from benchmarks.timing import Pace, timed

PRECISIONS = ("bf16", "tf32", "fp32")


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Compute in ``name`` inside the block: bf16 is autocast, the weights stay fp32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = name == "tf32"
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def matmul_tflops(name: str, size: int, device: torch.device) -> dict[str, object]:
    """Return what a product of square matrices reaches: the peak that shares are told of."""
    dtype = torch.bfloat16 if name == "bf16" else torch.float32
    left, right = (normal(size, size, seed=seed).to(device, dtype) for seed in (0, 1))
    with precision(name, device):
        timing = timed(lambda: left @ right, device, Pace(num_warm=3, least_runs=10))
    return {"size": size, "tflops": 2 * size**3 / timing.median_s / 1e12}
