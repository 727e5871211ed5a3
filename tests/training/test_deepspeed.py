"""A toy and the real objectives on one, two and three ranks, at every ZeRO stage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.state import checkpoints, read_checkpoint
from tests.training.objectives_at_hand import KINDS, losses_of, prepared
from tests.training.objectives_at_hand import SPEC as TRAINING
from tests.training.toy import SPEC, Toy, largest_difference, run_steps

pytestmark = pytest.mark.deepspeed

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).with_name("deepspeed_cases.py")


def torchrun(num_ranks):
    return (
        *("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"),
        *("--nproc-per-node", str(num_ranks)),
    )


TORCHRUN = torchrun(2)


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


@pytest.mark.parametrize("stage", ["zero1", "zero2", "zero3"])
def test_offloaded_to_the_cpu_equals_torch(alone, stage):
    assert alone["offload"][stage] < 1e-5


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


def run_case(case, folder, *launcher):
    process = start(case, folder, *launcher)
    stdout, stderr = finish(process)
    assert process.returncode == 0, f"{stdout}\n{stderr}"


@pytest.fixture(scope="module")
def agreed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agree")
    run_case("agree", folder, *TORCHRUN)
    return json.loads((folder / "agree.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_of_two_ranks_at_each_stage_equal_those_of_torch(agreed, kind):
    objective, batches, gradient_step = prepared(kind)
    engine = TorchEngine(objective, TRAINING, device=torch.device("cpu"))
    by_torch = losses_of(engine, batches, gradient_step, 0, 20)
    assert len(by_torch) == 20
    assert by_torch[-1] < by_torch[0]
    assert sorted(agreed[kind]) == ["zero0", "zero1", "zero2", "zero3"]
    for losses in agreed[kind].values():
        assert losses == pytest.approx(by_torch, abs=1e-5, rel=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Two ranks from the start to the end."""
    folder = tmp_path_factory.mktemp("elastic") / "two"
    run_case("elastic", folder, *TORCHRUN)
    return folder


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_two_ranks_work_goes_on_with_fewer_and_with_more(undisturbed, num_ranks):
    """From the middle, each objective at another ZeRO stage than it was saved at."""
    folder = undisturbed.with_name(f"on-{num_ranks}")
    shutil.copytree(undisturbed, folder)
    for kind in KINDS:
        (folder / f"{kind}.jsonl").unlink()
        for step in (15, 20):
            shutil.rmtree(folder / kind / f"step-{step:08d}")
    run_case("elastic", folder, *torchrun(num_ranks))
    for kind in KINDS:
        straight, went_on = (losses_in(place / f"{kind}.jsonl") for place in (undisturbed, folder))
        assert sorted(went_on) == list(range(11, 21))
        for step, loss in went_on.items():
            assert loss == pytest.approx(straight[step], rel=1e-4), (kind, step)
        state, _, _ = read_checkpoint(folder / kind / "step-00000020")
        assert state.num_updates == 20


def losses_in(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_averages_in_bf16_follow_the_fp32_master_weights(stage, bf16_case):
    case = bf16_case[stage]
    assert case["dtypes"] == ["torch.bfloat16"]
    assert case["weights"] == ["torch.float32"]
    assert case["error"] < 0.01 * case["moved"]
    # an average of the bf16 copies would not have moved at all
    assert case["error_of_copies"] > 0.9 * case["moved"]
    assert case["resumed"] == 0


@pytest.fixture(scope="module")
def bf16_case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bf16")
    run_case("bf16_average", folder, *TORCHRUN)
    return json.loads((folder / "bf16.json").read_text())


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
