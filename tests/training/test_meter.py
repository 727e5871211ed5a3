import psutil
import pytest
import torch

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.meter import Meter, RunFacts, peak_memory_mib
from tests.training.toy import SPEC, Toy, batch_at

CPU = torch.device("cpu")
FACTS = RunFacts(flops_per_sample=5e9, peak_flops=4e11)
WAIT_S, COMPUTE_S = 0.5, 1.5


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def slow_batches(clock):
    def batches(step, part):
        clock.now += WAIT_S
        return batch_at(step, part)

    return batches


def lines_of_four_steps(clock, facts):
    lines = []
    meter = Meter(TorchEngine(Toy(), SPEC, device=CPU), SPEC, facts, lines.append)
    for step in range(4):
        meter.timed(slow_batches(clock), step)(slice(0, SPEC.batch_size))
        clock.now += COMPUTE_S
        meter.count(step + 1, {"loss": torch.tensor(2.0 - step)}, updated=True)
    return lines


def test_speed_utilisation_and_waiting_are_arithmetic(clock):
    """Sixteen samples in four seconds, of which one was spent on data."""
    first, second = lines_of_four_steps(clock, FACTS)
    for line in (first, second):
        assert line["samples_per_s"] == pytest.approx(4)
        assert line["tflop_per_s"] == pytest.approx(4 * 5e9 / 1e12)
        assert line["mfu"] == pytest.approx(4 * 5e9 / 4e11)
        assert line["data_wait_share"] == pytest.approx(WAIT_S / (WAIT_S + COMPUTE_S))
    assert [line["seconds"] for line in (first, second)] == [4, 8]
    assert [line["loss"] for line in (first, second)] == [1.5, -0.5]


def test_without_a_peak_there_is_no_utilisation(clock):
    (line, _) = lines_of_four_steps(clock, RunFacts(flops_per_sample=5e9))
    assert "tflop_per_s" in line
    assert "mfu" not in line
    (line, _) = lines_of_four_steps(clock, RunFacts())
    assert "tflop_per_s" not in line


def test_on_a_cpu_the_peak_is_what_the_process_had(clock):
    (line, _) = lines_of_four_steps(clock, FACTS)
    resident_mib = psutil.Process().memory_info().rss / 2**20
    assert resident_mib * 0.9 < line["peak_memory_mib"] <= peak_memory_mib(CPU) + 0.1
    assert peak_memory_mib(CPU) < psutil.virtual_memory().total / 2**20


@pytest.mark.gpu
def test_on_a_gpu_each_line_has_a_peak_of_its_own():
    cuda = torch.device("cuda")
    peak_memory_mib(cuda)
    held = torch.zeros(64 * 2**20, dtype=torch.uint8, device=cuda)
    del held
    assert peak_memory_mib(cuda) >= 64
    assert peak_memory_mib(cuda) < 64
