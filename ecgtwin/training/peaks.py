"""The peak of a device in FLOP/s: as its vendor states it, or as a matrix product reaches it."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.engine import Engine

Precision = Literal["bf16", "tf32", "fp32"]
MEASURED_S = 0.3
REPEATS = 3
LARGEST = {"cpu": 2048, "cuda": 8192}

# Dense products with accumulation in fp32, TFLOP/s of (bf16, tf32, fp32); a data sheet that states
# sparse ones states the double. None: the device has no such units. By the name that CUDA gives.
_STATED: tuple[tuple[str, tuple[float | None, float | None, float]], ...] = (
    # NVIDIA V100 data sheet, 2020; the V100 has no bf16 and no tf32.
    (r"Tesla V100-SXM2-\d+GB", (None, None, 15.7)),
    (r"Tesla V100-PCIE-\d+GB", (None, None, 14.0)),
    # NVIDIA A100 Tensor Core GPU data sheet, 2021.
    (r"NVIDIA A100(-SXM|-PCIE-| |-PG).*", (312.0, 156.0, 19.5)),
    # NVIDIA A10 data sheet, 2021.
    (r"NVIDIA A10", (125.0, 62.5, 31.2)),
    # NVIDIA L4 and L40S data sheets, 2023.
    (r"NVIDIA L4", (121.0, 60.0, 30.3)),
    (r"NVIDIA L40S", (362.05, 183.0, 91.6)),
    # NVIDIA H100 Tensor Core GPU Architecture white paper, tables 2 and 3: SXM5 and PCIe.
    (r"NVIDIA H100 80GB HBM3", (989.4, 494.7, 66.9)),
    (r"NVIDIA H100 PCIe", (756.0, 378.0, 51.2)),
    # NVIDIA H100 and H200 Tensor Core GPU data sheets, 2024: NVL and SXM.
    (r"NVIDIA H100 NVL", (835.5, 417.5, 60.0)),
    (r"NVIDIA H200", (989.5, 494.5, 67.0)),
    (r"NVIDIA H200 NVL", (835.5, 417.5, 60.0)),
    # NVIDIA Ada GPU Architecture white paper, appendix A.
    (r"NVIDIA GeForce RTX 4090", (165.2, 82.6, 82.6)),
)


@dataclass(frozen=True, slots=True)
class Peak:
    """Operations a second of one device, and where the number comes from."""

    flops: float
    source: str


def peak_of_ranks(engine: Engine, spec: TrainingSpec, *, by_convolution: bool) -> Peak:
    """Return the peak of all ranks together. All ranks call it."""
    own = peak_of(engine.device, precision_of(spec, engine.device, by_convolution=by_convolution))
    total = engine.mean({"flops": own.flops})["flops"] * engine.world_size
    return Peak(total, own.source)


def precision_of(spec: TrainingSpec, device: torch.device, *, by_convolution: bool) -> Precision:
    """Return in what the products of a training are computed, most of them.

    ``by_convolution`` says that most are convolutions, which have a switch of TF32 of their own.
    """
    if spec.precision != "fp32":
        return "bf16"
    if device.type != "cuda":
        return "fp32"
    cudnn, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    return "tf32" if (cudnn if by_convolution else products) else "fp32"


def peak_of(device: torch.device, precision: Precision) -> Peak:
    """Return the peak that is stated of ``device``, or else the measured one (half a second)."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        stated = stated_tflops(name, precision)
        if stated is not None:
            return Peak(stated * 1e12, f"stated for {name}, {precision}, dense")
    flops = measured_flops(device, precision)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    return Peak(flops, f"measured: products of matrices on {where}, {precision}")


def stated_tflops(device_name: str, precision: Precision) -> float | None:
    """Return what the vendor states of a device, None where that is not known here.

    A part of a device (MIG), a laptop's or another variant is not the device.
    """
    for pattern, (bf16, tf32, fp32) in _STATED:
        if re.fullmatch(pattern, device_name) and "MIG" not in device_name:
            return {"bf16": bf16, "tf32": tf32, "fp32": fp32}[precision]
    return None


@cache
def measured_flops(device: torch.device, precision: Precision) -> float:
    """Return what the best of some square products reaches, larger ones while there is time."""
    size, best, begun = 256, 0.0, time.perf_counter()
    with _tf32(device, enabled=precision == "tf32"):
        while True:
            seconds = _quickest_product_s(size, device, precision)
            best = max(best, 2 * size**3 / seconds)
            spent = time.perf_counter() - begun
            if size == LARGEST[device.type] or spent + 8 * REPEATS * seconds > MEASURED_S:
                return best
            size *= 2


def _quickest_product_s(size: int, device: torch.device, precision: Precision) -> float:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    values = torch.arange(size * size, device=device, dtype=torch.float32).sin()
    left = values.view(size, size).to(dtype)
    _ = left[:8] @ left
    taken = []
    for _ in range(REPEATS):
        wait_for(device)
        begun = time.perf_counter()
        _ = left @ left
        wait_for(device)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _tf32(device: torch.device, *, enabled: bool) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = enabled
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
