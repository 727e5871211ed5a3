import pytest
import torch

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.peaks import measured_flops, peak_of, precision_of, stated_tflops

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100 80GB PCIe", "tf32", 156),
        ("NVIDIA H100 80GB HBM3", "fp32", 66.9),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H200", "tf32", 494.5),
        ("NVIDIA L40S", "bf16", 362.05),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA A10", "bf16", 125),
        ("Tesla V100-SXM2-32GB", "bf16", None),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA GeForce RTX 4090 D", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", None),
        ("NVIDIA A10G", "bf16", None),
    ],
)
def test_a_stated_peak_is_that_of_the_very_device(name, precision, tflops):
    assert stated_tflops(name, precision) == tflops


def test_a_cpu_is_measured_and_says_so():
    peak = peak_of(CPU, "fp32")
    assert peak.source == "measured: products of matrices on this CPU, fp32"
    assert 1e8 < peak.flops < 1e15
    assert measured_flops(CPU, "fp32") == peak.flops


@pytest.mark.parametrize(
    ("precision", "found"), [("fp32", "fp32"), ("bf16", "bf16"), ("bf16_weights", "bf16")]
)
def test_the_precision_of_products_follows_the_specification(precision, found):
    spec = TrainingSpec(precision=precision, zero_stage=2)
    assert precision_of(spec, CPU, by_convolution=False) == found


@pytest.fixture
def switches():
    """The two switches of TF32, set back afterwards: another test may have left them anyhow."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    yield matmul, cudnn
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize("is_on", [True, False])
def test_on_a_gpu_fp32_means_tf32_where_it_is_switched_on(is_on, switches):
    """cuDNN and products of matrices have switches of their own."""
    matmul, cudnn = switches
    matmul.allow_tf32, cudnn.allow_tf32 = not is_on, is_on
    cuda, spec = torch.device("cuda"), TrainingSpec()
    found = [precision_of(spec, cuda, by_convolution=way) for way in (True, False)]
    assert found == (["tf32", "fp32"] if is_on else ["fp32", "tf32"])
