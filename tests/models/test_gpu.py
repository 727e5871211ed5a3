"""CUDA against the CPU: every network of ``paper`` and ``base``, a draw, and training.

The largest difference over the largest value may be what ``ALLOWED`` says: for one pass 1e-4 in
fp32 and 5e-2 in bf16, for a draw and a training step, where differences add up, 1e-3 and 2e-1.
"""

import copy

import numpy as np
import pytest
import torch

from benchmarks.device.workbench import ALLOWED, OVER_MANY, engine_of, outputs, train_once
from benchmarks.networks import Inputs, deterministic, stirred_twin
from benchmarks.sampling import largest_difference
from ecgtwin.generation.numerics import settle_numerics
from ecgtwin.spec.sampling import SamplingSpec

pytestmark = pytest.mark.gpu
NUM_STEPS = 5
NUM_UPDATES = 12


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="module", params=["paper", "base"])
def twins(request, device):
    """The same untrained networks on the CPU and on the device."""
    on_cpu = stirred_twin(request.param)
    return on_cpu, copy.deepcopy(on_cpu).to(device)


@pytest.fixture(autouse=True)
def _settled():
    """No autotuned kernels and no TF32, as cohorts are drawn."""
    backends = torch.backends
    before = (
        backends.cudnn.benchmark,
        backends.cudnn.deterministic,
        backends.cudnn.allow_tf32,
        backends.cuda.matmul.allow_tf32,
    )
    settle_numerics()
    yield
    backends.cudnn.benchmark, backends.cudnn.deterministic, *tf32 = before
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = tf32


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_network_agrees_with_the_cpu(twins, precision):
    on_cpu, on_device = twins
    expected, found = outputs(on_cpu, NUM_STEPS, "fp32"), outputs(on_device, NUM_STEPS, precision)
    one, many = ALLOWED[precision]
    errors = {key: largest_difference(expected[key], found[key].cpu()) for key in expected}
    assert {"encoder", "decoder", "extractor", "denoiser", "draw", "loss"} <= errors.keys()
    wrong = {
        key: error for key, error in errors.items() if error > (many if key in OVER_MANY else one)
    }
    assert not wrong


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_loss(twins, precision):
    _, on_device = twins
    engine = engine_of(on_device, precision)
    rows = Inputs.of(on_device, 16).training_batch(on_device)
    losses = [float(train_once(engine, rows)) for _ in range(NUM_UPDATES)]
    assert losses[-1] < 0.95 * losses[0]


def drawn_with(twin, sampling):
    inputs = Inputs.of(twin, 3)
    noise = inputs.noise_BCF.cpu().numpy()
    return twin.draw(
        inputs.base_BW.cpu().numpy(),
        inputs.conditions,
        noise,
        sampling,
        noise_at=lambda index: np.roll(noise, index + 1, axis=2),
    )


def test_a_draw_agrees_with_the_cpu(twins):
    on_cpu, on_device = twins
    sampling = deterministic(on_cpu, NUM_STEPS)
    expected, found = drawn_with(on_cpu, sampling), drawn_with(on_device, sampling)
    assert np.abs(expected - found).max() < 1e-3 * np.abs(expected).max()


def test_a_draw_with_noise_in_each_step_agrees_with_the_cpu(twins):
    on_cpu, on_device = twins
    if on_cpu.spec.process.kind != "ddpm":
        pytest.skip("a flow takes no noise in its steps")
    sampling = SamplingSpec(sampler="ddpm", num_steps=NUM_STEPS, clip_sample=True)
    expected, found = drawn_with(on_cpu, sampling), drawn_with(on_device, sampling)
    assert np.abs(expected - found).max() < 1e-3 * np.abs(expected).max()


def test_a_draw_is_the_same_bytes_twice(twins):
    _, on_device = twins
    sampling = deterministic(on_device, NUM_STEPS)
    first, second = drawn_with(on_device, sampling), drawn_with(on_device, sampling)
    assert first.tobytes() == second.tobytes()
