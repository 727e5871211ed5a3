"""Three launches in all: two ranks, one rank, two ranks that are told to end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.state import checkpoints, read_checkpoint
from tests.training.toy import SPEC, Toy, largest_difference, run_steps

pytestmark = pytest.mark.deepspeed

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).with_name("deepspeed_cases.py")
TORCHRUN = (
    "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
    "--nproc-per-node", "2",
)  # fmt: skip


def start(case, folder, *launcher):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "DS_ACCELERATOR": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, *launcher, str(CASES), case, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=240):
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its ranks
        stdout, stderr = process.communicate()
        pytest.fail(f"timed out\n{stdout}\n{stderr}")
    return stdout, stderr


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Two ranks at ZeRO 0, 1 and 2; leftovers in shared memory are counted."""
    folder = tmp_path_factory.mktemp("ranks")
    before = set(Path("/dev/shm").glob("deepspeed_allreduce_buffer*"))
    process = start("ranks", folder, *TORCHRUN)
    stdout, stderr = finish(process)
    assert process.returncode == 0, stderr
    assert (stdout, stderr) == ("", "")
    assert set(Path("/dev/shm").glob("deepspeed_allreduce_buffer*")) == before
    return folder


@pytest.fixture(scope="module")
def alone(ranks):
    process = start("alone", ranks)
    stdout, stderr = finish(process)
    assert process.returncode == 0, stderr
    assert stdout == ""
    return json.loads((ranks / "alone.json").read_text())


@pytest.fixture(scope="module")
def by_torch():
    engine = TorchEngine(Toy(), SPEC, device=torch.device("cpu"))
    run_steps(engine, 0, SPEC.num_steps)
    return engine.state()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
class TestOneRank:
    def test_equals_torch(self, alone, stage):
        case = alone[f"zero{stage}"]
        by_torch, by_deepspeed = case["losses"]
        assert by_deepspeed == pytest.approx(by_torch, rel=1e-6)
        assert case["norms"][1] == pytest.approx(case["norms"][0], rel=1e-6)
        assert case["difference"] < 1e-6

    def test_resumed_equals_uninterrupted_bit_for_bit(self, alone, stage):
        assert alone[f"zero{stage}"]["resumed"] == [0.0, 0.0]

    def test_a_gradient_that_is_not_finite_changes_nothing(self, alone, stage):
        expected = {"updated": False, "counted": 0, "difference": 0.0}
        assert alone[f"zero{stage}"]["not_finite"] == expected


def test_bf16_keeps_fp32_weights_and_is_near_torch(alone):
    assert alone["bf16"]["dtypes"] == ["torch.float32"]
    assert alone["bf16"]["difference"] < 1e-5


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
class TestTwoRanks:
    def test_equal_one_process_with_the_same_global_batch(self, ranks, by_torch, stage):
        state, step, _ = read_checkpoint(ranks / f"zero{stage}" / "step-00000012")
        assert step == SPEC.num_steps
        assert state.num_updates == by_torch.num_updates
        assert largest_difference(state, by_torch) < 1e-5

    def test_their_checkpoint_goes_on_in_plain_torch(self, ranks, by_torch, stage):
        state, step, _ = read_checkpoint(ranks / f"zero{stage}" / "step-00000004")
        engine = TorchEngine(Toy(), SPEC, device=torch.device("cpu"))
        engine.load_state(state)
        run_steps(engine, step, SPEC.num_steps)
        assert largest_difference(engine.state(), by_torch) < 1e-5

    def test_log_holds_the_loss_of_the_global_batch_once(self, ranks, stage):
        lines = [
            json.loads(line)
            for line in (ranks / f"zero{stage}" / "log.jsonl").read_text().splitlines()
        ]
        assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
        engine = TorchEngine(Toy(), SPEC, device=torch.device("cpu"))
        losses = run_steps(engine, 0, 2)
        assert lines[0]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
        assert lines[0]["gradient_norm"] == pytest.approx(engine.gradient_norm(), rel=1e-4)


@pytest.mark.parametrize("way", ["zero0-to-1", "zero1-to-0", "zero2-to-3", "zero3-to-0"])
def test_two_ranks_checkpoint_goes_on_on_one_at_another_stage(alone, way):
    assert alone["from_ranks"][way] < 1e-5


def test_a_deadline_of_one_rank_stops_both_at_the_same_step(ranks):
    both = [json.loads((ranks / f"deadline-rank{rank}.json").read_text()) for rank in (0, 1)]
    assert both == [[1, "deadline"], [1, "deadline"]]


def test_sigterm_ends_two_ranks_at_one_step_with_a_checkpoint(tmp_path):
    process = start("endless", tmp_path, *TORCHRUN)
    log = tmp_path / "log.jsonl"
    limit = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        if log.exists() and len(log.read_text().splitlines()) > 5:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = finish(process, timeout=60)
    assert log.exists(), stderr

    results = [json.loads((tmp_path / f"ended-rank{rank}.json").read_text()) for rank in (0, 1)]
    assert results[0] == results[1]
    step, stopped = results[0]
    assert stopped == "sigterm"
    assert checkpoints(tmp_path) == [str(tmp_path / f"step-{step:08d}")]
    endless = SPEC.model_copy(update={"num_steps": 100_000})
    straight = TorchEngine(Toy(), endless, device=torch.device("cpu"))
    run_steps(straight, 0, step)
    state, _, _ = read_checkpoint(checkpoints(tmp_path)[0])
    assert largest_difference(state, straight.state()) < 1e-4
