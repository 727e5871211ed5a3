import json
import os
import signal
import threading

import pytest
import torch

from ecgtwin.errors import CheckpointError, TrainingError
from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.loop import resume, train
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.metrics import JsonLines, tee
from ecgtwin.training.state import checkpoints, read_checkpoint
from tests.training.toy import SPEC, Toy, batch_at, largest_difference

CPU = torch.device("cpu")
FACTS = RunFacts(provenance={"recipe": "r1", "corpus": "c1"}, flops_per_sample=1e6, peak_flops=1e9)


def engine_for(spec=SPEC, seed=0):
    return TorchEngine(Toy(seed), spec, device=CPU)


def spoiled(steps):
    def make(step, part):
        batch = batch_at(step, part)
        if step in steps:
            batch["signal"][0] = float("nan")
        return batch

    return make


def test_a_run_reports_checkpoints_and_shows_panels(tmp_path):
    lines, saved, panels = [], [], []
    engine = engine_for()
    summary = train(
        engine,
        batch_at,
        SPEC,
        folder=tmp_path / "run",
        facts=FACTS,
        on_checkpoint=saved.append,
        on_panel=panels.append,
        report=tee(lines.append, JsonLines(tmp_path / "log.jsonl")),
    )
    assert (summary.step, summary.num_updates, summary.stopped) == (12, 12, "done")
    assert saved == panels == [4, 8, 12]
    kept = [str(tmp_path / "run" / f"step-{step:08d}") for step in (8, 12)]
    assert checkpoints(tmp_path / "run") == kept
    assert summary.checkpoint == kept[-1]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == lines
    last = lines[-1]
    assert last["loss"] == summary.loss
    assert last["learning_rate"] == pytest.approx(SPEC.learning_rate * 0.05)
    assert last["gradient_norm"] > 0
    assert 0 <= last["data_wait_share"] <= 1
    assert last["mfu"] == pytest.approx(last["samples_per_s"] / 1e3, rel=0.01, abs=1e-4)
    state, step, facts = read_checkpoint(summary.checkpoint)
    assert step == 12
    assert facts == {"recipe": "r1", "corpus": "c1", "seed": 0}
    assert largest_difference(state, engine.state()) == 0


def test_a_line_holds_the_mean_since_the_line_before(tmp_path):
    spec = SPEC.model_copy(update={"num_steps": 5, "log_every": 3})
    each, held = [], []
    for interval, lines in ((1, each), (3, held)):
        every = spec.model_copy(update={"log_every": interval})
        folder = tmp_path / str(interval)
        train(engine_for(every), batch_at, every, folder=folder, report=lines.append)
    losses = [line["loss"] for line in each]
    assert [line["loss"] for line in held] == [
        pytest.approx(sum(losses[:3]) / 3),
        pytest.approx(sum(losses[3:]) / 2),
    ]


def test_stopped_and_resumed_equals_uninterrupted(tmp_path):
    straight = engine_for()
    train(straight, batch_at, SPEC, folder=tmp_path / "straight", report=_nothing)

    first = engine_for()
    summary = train(
        first, batch_at, SPEC, folder=tmp_path / "cut", report=_nothing, facts=FACTS, deadline_s=0
    )
    assert (summary.stopped, summary.step) == ("deadline", 1)
    second = engine_for()
    start = resume(second, tmp_path / "cut", facts=FACTS)
    train(second, batch_at, SPEC, folder=tmp_path / "cut", report=_nothing, start_step=start)
    assert start == 1
    assert largest_difference(second.state(), straight.state()) == 0


def test_nothing_to_resume_starts_at_0(tmp_path):
    assert resume(engine_for(), tmp_path / "none", facts=FACTS) == 0


def test_another_recipe_is_not_resumed(tmp_path):
    train(engine_for(), batch_at, SPEC, folder=tmp_path, report=_nothing, facts=FACTS)
    with pytest.raises(CheckpointError, match="recipe r1, this run has r2"):
        resume(engine_for(), tmp_path, facts=RunFacts(provenance={"recipe": "r2"}))


def test_a_finished_run_started_again_does_nothing(tmp_path):
    train(engine_for(), batch_at, SPEC, folder=tmp_path, report=_nothing)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    summary = train(engine_for(), batch_at, SPEC, folder=tmp_path, report=_nothing, start_step=12)
    assert summary.step == 12
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_few_bad_batches_are_skipped_and_reported(tmp_path):
    lines = []
    engine = engine_for()
    summary = train(engine, spoiled({3, 4, 9}), SPEC, folder=tmp_path, report=lines.append)
    assert (summary.step, summary.num_updates) == (12, 9)
    assert [line["step"] for line in lines if "skipped" in line] == [4, 5, 10]
    assert all(torch.isfinite(tensor).all() for tensor in engine.weights().values())


def test_bad_batches_without_end_stop_the_run(tmp_path):
    lines = []
    with pytest.raises(TrainingError, match=r"up to step 10; lower learning_rate.*step-00000008"):
        train(engine_for(), spoiled(range(5, 99)), SPEC, folder=tmp_path, report=lines.append)
    assert sum("skipped" in line for line in lines) == SPEC.max_bad_steps
    state, _, _ = read_checkpoint(checkpoints(tmp_path)[-1])
    assert all(torch.isfinite(tensor).all() for tensor in state.weights.values())


def test_panels_have_a_rhythm_of_their_own_and_change_nothing(tmp_path):
    panels = []
    spec = SPEC.model_copy(update={"panel_every": 3})
    engine, plain = engine_for(spec), engine_for()
    folder = tmp_path / "a"
    train(engine, batch_at, spec, folder=folder, report=_nothing, on_panel=panels.append)
    train(plain, batch_at, SPEC, folder=tmp_path / "b", report=_nothing)
    assert panels == [3, 6, 9, 12]
    assert largest_difference(engine.state(), plain.state()) == 0


def test_a_checkpoint_that_cannot_be_written_ends_the_run_and_names_the_last_good_one(tmp_path):
    (tmp_path / "step-00000008").write_bytes(b"in the way")
    with pytest.raises(TrainingError, match=r"step 8 could not be written.*step-00000004"):
        train(engine_for(), batch_at, SPEC, folder=tmp_path, report=_nothing)
    (tmp_path / "step-00000008").unlink()
    engine = engine_for()
    assert resume(engine, tmp_path, facts=RunFacts()) == 4


def test_sigterm_checkpoints_and_returns(tmp_path):
    def batch_and_term(step, part):
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_at(step, part)

    handler = signal.getsignal(signal.SIGTERM)
    summary = train(engine_for(), batch_and_term, SPEC, folder=tmp_path, report=_nothing)
    assert (summary.stopped, summary.step) == ("sigterm", 7)
    assert checkpoints(tmp_path)[-1].endswith("step-00000007")
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_outside_the_main_thread_works(tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(
            train(engine_for(), batch_at, SPEC, folder=tmp_path, report=_nothing)
        )
    )
    thread.start()
    thread.join()
    assert done[0].step == 12


def _nothing(line):
    pass
